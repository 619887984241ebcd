"""Conditions as the Kubernetes API conventions define them (meta/v1 Condition), and the reasons the operator gives."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from protoqueue_operator.core.fields import Model


class Condition(Model):
    """One statement about a resource. `message` is for people and names the field at fault."""

    type: str = Field(max_length=316, description="What the condition speaks of, such as Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(max_length=1024, description="Why, as one CamelCase word for programs.")
    message: str = Field("", max_length=32768, description="Why, as a sentence for people.")
    last_transition_time: datetime | None = Field(None, description="When status last changed.")
    observed_generation: int | None = Field(None, ge=0, description="The generation this speaks of.")


Conditions = Annotated[
    tuple[Condition, ...],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


def merge_conditions(old: Conditions, new: Conditions, now: datetime) -> Conditions:
    """`new` over `old` by type; lastTransitionTime moves only when the status does, as the API conventions ask."""
    before = {condition.type: condition for condition in old}
    merged = before | {condition.type: _transition(before.get(condition.type), condition, now) for condition in new}
    return tuple(merged.values())


def _transition(old: Condition | None, new: Condition, now: datetime) -> Condition:
    since = old.last_transition_time if old and old.status == new.status else None
    return new.model_copy(update={"last_transition_time": since or now.replace(microsecond=0)})

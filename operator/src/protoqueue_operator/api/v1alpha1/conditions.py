"""Conditions as the Kubernetes API conventions define them (meta/v1 Condition), and the reasons the operator gives."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from protoqueue.protocol.servers import one_line
from protoqueue_operator.api.v1alpha1.fields import Model

MOST_CONDITIONS = 32
LONGEST_MESSAGE = 2048


def _bounded(message: object) -> object:
    """Messages quote servers and the API: they are put on one line, and cut to a readable length."""
    return one_line(message, LONGEST_MESSAGE) if isinstance(message, str) else message


class Condition(Model):
    """Condition of a resource, as the Kubernetes API conventions define it."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["type", "status", "reason", "message", "lastTransitionTime"]}
    )

    type: str = Field(max_length=316, description="Type of the condition, such as Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Status of the condition: True, False or Unknown.")
    reason: str = Field(max_length=1024, description="Reason in CamelCase, for programs.")
    message: Annotated[str, BeforeValidator(_bounded), Field(max_length=32768, description="Details, for people.")] = ""
    last_transition_time: datetime | None = Field(None, description="When the status last changed.")
    observed_generation: int | None = Field(
        None, ge=0, description="Generation of the resource that the condition is about."
    )


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

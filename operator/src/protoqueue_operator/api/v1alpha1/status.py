"""Status fields, and the smallest patch that sets them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from protoqueue_operator.api.v1alpha1.conditions import Condition, Conditions, merge_conditions
from protoqueue_operator.api.v1alpha1.errors import ForeignAsset, ImmutableField, InvalidSpec, TakenOver
from protoqueue_operator.api.v1alpha1.meta import Meta

Fields = dict[str, Any]


class Status(Protocol):
    """The status of an object, as parsed by its model."""

    @property
    def conditions(self) -> Conditions: ...
    def condition(self, kind: str) -> Condition | None: ...
    def model_dump(self, *, by_alias: bool, mode: str, exclude_none: bool) -> dict[str, Any]: ...


class Resource(Protocol):
    """An object of any kind whose status has conditions."""

    @property
    def meta(self) -> Meta: ...
    @property
    def status(self) -> Status: ...


_MOST_NAMED = 5


_STALLED = frozenset(refusal.reason for refusal in (InvalidSpec, ImmutableField, ForeignAsset, TakenOver))
"""Errors of the resource itself.

One that another resource may resolve a moment later, such as a Queue or Secret that is applied together with it, is
waited for.
"""


def ready(generation: int, message: str, *, paused: bool = False) -> Condition:
    return Condition(
        type="Ready",
        status="True",
        reason="Paused" if paused else "Reconciled",
        message=f"{message}; paused: nothing is delivered" if paused else message,
        observed_generation=generation,
    )


def not_ready(generation: int, reason: str, message: str) -> Condition:
    return Condition(type="Ready", status="False", reason=reason, message=message, observed_generation=generation)


def noted(message: str, unknown: Sequence[str]) -> str:
    """The message, with the resource's `unknown` fields, which have no effect."""
    if not unknown:
        return message
    named = [field[:256] for field in unknown[:_MOST_NAMED]]
    if more := len(unknown) - len(named):
        named.append(f"and {more} more")
    return (
        f"{message}, except for fields that this version of the operator does not know and ignores: "
        f"{', '.join(named)}; upgrade the operator"
    )


def is_ready(resource: Resource) -> bool:
    """Whether the status says that this generation is Ready."""
    condition, generation = resource.status.condition("Ready"), resource.meta.generation
    return condition is not None and condition.status == "True" and condition.observed_generation == generation


def progress(readiness: Condition) -> tuple[Condition, Condition]:
    """Reconciling and Stalled, as kstatus reads them, derived from Ready.

    Stalled ends the wait of rollout tools (Flux, `helm --wait`): nothing will change until the user changes something.
    """
    is_stalled = readiness.status == "False" and readiness.reason in _STALLED
    is_reconciling = readiness.status != "True" and not is_stalled
    return _echo("Reconciling", is_reconciling, readiness), _echo("Stalled", is_stalled, readiness)


def _echo(kind: str, holds: bool, readiness: Condition) -> Condition:
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=readiness.reason,
        message=readiness.message if holds else "",
        observed_generation=readiness.observed_generation,
    )


def tasks(
    waiting: int, in_flight: int, scheduled: int | None = None, dead: int | None = None, stranded: int | None = None
) -> Fields:
    """`status.tasks`; only queues have the last three."""
    counts: Fields = {"waiting": waiting, "inFlight": in_flight}
    if scheduled is not None:
        counts["scheduled"] = scheduled
    if dead is not None:
        counts["dead"] = dead
    if stranded is not None:
        counts["stranded"] = stranded
    return counts


def status_patch(
    resource: Resource, fields: Mapping[str, Any], conditions: Iterable[Condition], now: datetime
) -> Fields:
    """The merge patch of the status; empty if it already has all of this. A None among `fields` removes the field."""
    old = resource.status.model_dump(by_alias=True, mode="json", exclude_none=True)
    merged = merge_conditions(resource.status.conditions, tuple(conditions), now)
    wanted = dict(fields)
    if merged != resource.status.conditions:
        wanted["conditions"] = [
            condition.model_dump(by_alias=True, mode="json", exclude_none=True) for condition in merged
        ]
    return {name: value for name, value in wanted.items() if old.get(name) != value}


def changed_conditions(old: Conditions, new: Iterable[Condition]) -> list[tuple[Condition | None, Condition]]:
    """Pairs of before and after that are worth an Event: another status or reason, or what is said of a new generation.

    A message alone changes with the numbers in it, such as those of tasks that are left.
    """
    before = {condition.type: condition for condition in old}
    return [
        (before.get(condition.type), condition)
        for condition in new
        if (was := before.get(condition.type)) is None
        or (was.status, was.reason) != (condition.status, condition.reason)
        or (was.message != condition.message and was.observed_generation != condition.observed_generation)
    ]

"""Conditions of a resource's status. Pure."""

from dataclasses import dataclass

from protoqueue_gateway.kubernetes.client import Json

_NOTICES = ("TasksLost", "Contended", "Throttled", "ClockChange")
"""Conditions that need attention, if true, although the resource is Ready."""


@dataclass(frozen=True)
class Notice:
    """A condition that holds and should not, or not for long."""

    type: str
    message: str


def notices_of(body: Json) -> tuple[Notice, ...]:
    found = {kind: condition_of(body, kind) for kind in _NOTICES}
    return tuple(
        Notice(kind, str(condition.get("message", "")))
        for kind, condition in found.items()
        if condition.get("status") == "True"
    )


def ready_condition(body: Json) -> Json:
    """The Ready condition at the present generation, or an empty one."""
    return condition_of(body, "Ready")


def condition_of(body: Json, kind: str) -> Json:
    """A condition, where it is about the present generation; else an empty one."""
    generation = body["metadata"].get("generation")
    for condition in (body.get("status") or {}).get("conditions") or []:
        if condition["type"] == kind and condition.get("observedGeneration", generation) == generation:
            return dict(condition)
    return {}

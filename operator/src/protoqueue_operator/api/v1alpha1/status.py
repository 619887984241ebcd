"""Status fields, and the smallest patch that brings a status there."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from protoqueue.durations import format_duration
from protoqueue_operator.core.conditions import Condition, Conditions, merge_conditions
from protoqueue_operator.core.plan import Action, CreateStream
from protoqueue_operator.core.resources import Group, Queue
from protoqueue_operator.core.wording import counted

Fields = dict[str, Any]


def ready(generation: int, message: str) -> Condition:
    return Condition(type="Ready", status="True", reason="Reconciled", message=message, observed_generation=generation)


def not_ready(generation: int, reason: str, message: str) -> Condition:
    return Condition(type="Ready", status="False", reason=reason, message=message, observed_generation=generation)


def is_ready(resource: Queue | Group) -> bool:
    """Whether the status says that this generation is Ready."""
    condition, generation = resource.status.condition("Ready"), resource.meta.generation
    return condition is not None and condition.status == "True" and condition.observed_generation == generation


def loss_conditions(queue: Queue, plan: Iterable[Action]) -> list[Condition]:
    """TasksLost, where a stream has to be made anew that held tasks; it stands until the next generation."""
    generation, held = queue.meta.generation, queue.status.tasks
    anew = {action.stream.name for action in plan if isinstance(action, CreateStream)}
    lost = {
        queue.name.stream: held.ready + held.in_flight if held else 0,
        queue.name.later_stream: held.scheduled if held else 0,
        queue.name.dead_letter_stream: held.dead if held else 0,
    }
    gone = [f"{name} with {counted(count, 'task')}" for name, count in lost.items() if name in anew and count]
    before = queue.status.condition("TasksLost")
    if gone:
        message = f"what was stored is lost, and its place was made anew, empty: {', '.join(gone)}"
        status: Literal["True", "False"] = "True"
    elif before and before.status == "True" and before.observed_generation != generation:
        message, status = "", "False"
    else:
        return []
    return [
        Condition(type="TasksLost", status=status, reason="StreamGone", message=message, observed_generation=generation)
    ]


def scaling(generation: int, reason: str, message: str) -> Condition:
    """True while the size follows the backlog, Unknown while the backlog is unknown, False where nothing scales."""
    status = {"Disabled": "False", "TargetNotFound": "False", "BacklogUnknown": "Unknown"}.get(reason, "True")
    return Condition.model_validate(
        {
            "type": "Scaling",
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
        }
    )


def tasks(ready: int, in_flight: int, scheduled: int | None = None, dead: int | None = None) -> Fields:
    """`status.tasks`; the last two only a queue has."""
    counts: Fields = {"ready": ready, "inFlight": in_flight}
    if scheduled is not None:
        counts["scheduled"] = scheduled
    if dead is not None:
        counts["dead"] = dead
    return counts


def oldest_age(seconds: int | None) -> str | None:
    return None if seconds is None else format_duration(timedelta(seconds=seconds))


def status_patch(
    resource: Queue | Group, fields: Mapping[str, Any], conditions: Iterable[Condition], now: datetime
) -> Fields:
    """The merge patch of the status; empty where it already says all of this. A None among `fields` removes one."""
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

"""Conditions of a Queue about its streams and schedules."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from protoqueue.protocol.v1.config_pb2 import QueueConfig
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.status import Fields
from protoqueue_operator.api.v1alpha1.text import counted
from protoqueue_operator.jetstream.diff import Action, CreateStream

_MOST_NOTES = 20


def loss_conditions(queue: Queue, plan: Iterable[Action], told: QueueConfig | None) -> list[Condition]:
    """TasksLost, if a stream that held tasks has to be recreated; it stays until the next generation.

    `told` is what clients knew of the streams before.
    """
    generation, held = queue.meta.generation, queue.status.tasks
    anew = {action.stream.name for action in plan if isinstance(action, CreateStream)}
    lost: Counter[str] = Counter()
    if held:
        lost[told.stream if told else queue.name.stream] += held.waiting + held.in_flight
        lost[told.later_stream if told else queue.name.stream] += held.scheduled
        lost[queue.name.dead_letter_stream] += held.dead
    gone = [f"{name} with {counted(count, 'task')}" for name, count in lost.items() if name in anew and count]
    before = queue.status.condition("TasksLost")
    if gone:
        message = f"streams were deleted with their tasks and were created again, empty: {', '.join(gone)}"
        status: Literal["True", "False"] = "True"
    elif before and before.status == "True" and before.observed_generation != generation:
        message, status = "", "False"
    else:
        return []
    return [
        Condition(type="TasksLost", status=status, reason="StreamGone", message=message, observed_generation=generation)
    ]


def clock_change_conditions(queue: Queue, notes: Sequence[str]) -> list[Condition]:
    """ClockChange, if schedules have a time that their zone skips or repeats within thirteen months."""
    generation, before = queue.meta.generation, queue.status.condition("ClockChange")
    if notes:
        named = list(notes[:_MOST_NOTES])
        if more := len(notes) - len(named):
            named.append(f"and {more} more")
        message = f"{'; '.join(named)}; choose another time, or UTC, where that matters"
        return [
            Condition(
                type="ClockChange", status="True", reason="TimeSkippedOrRepeated", message=message,
                observed_generation=generation,
            )
        ]  # fmt: skip
    if before and before.status == "True":
        message = "no schedule has a time that its zone skips or repeats"
        return [
            Condition(
                type="ClockChange", status="False", reason="NoTimeAffected", message=message,
                observed_generation=generation,
            )
        ]  # fmt: skip
    return []


def schedule_fields(firings: Mapping[str, datetime]) -> Fields:
    """`status.schedules` and the first of their times."""
    times = {name: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for name, moment in firings.items()}
    stated = [{"name": name, "nextTime": text} for name, text in times.items()]
    return {"schedules": stated or None, "nextScheduleTime": min(times.values(), default=None)}

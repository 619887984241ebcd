"""Recurring tasks as JetStream schedules: one message each, which the server repeats at its times."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from math import ceil

from protoqueue.protocol.cron import parse_cron
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.recurring import EVERY, SKIP
from protoqueue.protocol.subjects import level_of, partition_of, schedule_unique_key
from protoqueue.protocol.v1.task_pb2 import Task, TaskMetadata
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.schedule import Schedule

TIME_ZONE_HEADER = "Nats-Schedule-Time-Zone"
_HEADERS = (
    Header.SCHEDULE, Header.SCHEDULE_TARGET, Header.RECURS, Header.OVERLAP, Header.UNIQUE, Header.JITTER,
    Header.EXPIRES_AFTER, TIME_ZONE_HEADER, Header.SCHEDULE_TTL,
)  # fmt: skip


@dataclass(frozen=True)
class Recurring:
    """The message of one schedule."""

    name: str
    subject: str
    headers: tuple[tuple[str, str], ...]
    data: bytes


def recurring_tasks(queue: QueueName, spec: QueueSpec) -> tuple[Recurring, ...]:
    return tuple(_recurring(queue, spec, schedule) for schedule in spec.active_schedules)


def observed_recurring(name: str, message: Mapping[str, str]) -> Recurring:
    """Parse the answer of `STREAM.MSG.GET`; headers that the server added are ignored."""
    lines = base64.b64decode(message.get("hdrs", "")).decode(errors="replace").split("\r\n")[1:]
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    headers = tuple((header, found[header]) for header in _HEADERS if header in found)
    return Recurring(name, message["subject"], headers, base64.b64decode(message.get("data", "")))


def next_firings(spec: QueueSpec, zones: Mapping[str, tzinfo], now: datetime) -> dict[str, datetime]:
    """The next firing by schedule; an interval's times are known to the server only, and zones may be unknown here."""
    return {
        schedule.name: moment
        for schedule in spec.active_schedules
        if schedule.cron and (zone := zones.get(schedule.time_zone or "UTC"))
        if (moment := parse_cron(schedule.cron).after(now, zone))
    }


def superfluous(queue: QueueName, spec: QueueSpec, subjects: Iterable[str]) -> tuple[str, ...]:
    """The subjects of stored schedules that are to be deleted."""
    wanted = {queue.cron(schedule.name) for schedule in spec.active_schedules}
    return tuple(sorted(set(subjects) - wanted))


def _recurring(queue: QueueName, spec: QueueSpec, schedule: Schedule) -> Recurring:
    if spec.ordering:
        target = queue.ordered(partition_of(schedule.name, spec.ordering.partitions))
    else:
        target = queue.task(level_of(schedule.priority, spec.effective_priority_levels))
    # JetStream reads Go's durations, which have no days.
    if schedule.every is None:
        when = parse_cron(schedule.cron or "").text
    else:
        when = f"{EVERY}{_milliseconds(schedule.every)}ms"
    headers = [
        (Header.SCHEDULE, when),
        (Header.SCHEDULE_TARGET, queue.due(target)),
        (Header.RECURS, f"{schedule.time_zone or 'UTC'} {when}"),
    ]
    if schedule.overlap == SKIP:
        headers += [(Header.OVERLAP, SKIP), (Header.UNIQUE, schedule_unique_key(schedule.name))]
    if schedule.jitter is not None:
        headers.append((Header.JITTER, _milliseconds(schedule.jitter)))
    if schedule.expires is not None:
        headers.append((Header.EXPIRES_AFTER, _milliseconds(schedule.expires)))
    if schedule.time_zone:
        headers.append((TIME_ZONE_HEADER, schedule.time_zone))
    if spec.limits.max_age and not spec.ordering:
        headers.append((Header.SCHEDULE_TTL, f"{ceil(spec.limits.max_age.total_seconds())}s"))
    task = Task(
        id=schedule.name,
        data=schedule.payload.encode(),
        metadata=TaskMetadata(priority=schedule.priority),
        type=schedule.type,
        content_type="application/json",
        ordering_key=schedule.name if spec.ordering else "",
    )
    return Recurring(
        schedule.name, queue.cron(schedule.name), tuple(headers), task.SerializeToString(deterministic=True)
    )


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))

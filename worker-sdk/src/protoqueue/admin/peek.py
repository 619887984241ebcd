"""Looking at tasks without consuming them."""

from dataclasses import dataclass
from datetime import datetime

from protoqueue.admin.places import Place, first_messages, stored_messages
from protoqueue.broker import Broker, StoredMessage
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.schedule_header import due_at
from protoqueue.protocol.task_codec import read_task
from protoqueue.task import Task


async def oldest_tasks(broker: Broker, queue: QueueSettings, limit: int, timeout_s: float) -> list[Task]:
    """The `limit` oldest waiting or running tasks of a queue; the age of a delayed task counts from when it was due.

    Bytes that are not a task appear as the `data` of a task without a type.
    """
    tasks: list[Task] = []
    firsts: dict[Place, StoredMessage] = await first_messages(broker, dict.fromkeys(queue.waiting, 1), timeout_s)
    while firsts and len(tasks) < limit:
        place = min(firsts, key=lambda each: firsts[each].stored_at)
        message = firsts.pop(place)
        tasks.append(read_task(message.data, message.headers, message.sequence, message.stream))
        if len(tasks) < limit:
            firsts |= await first_messages(broker, {place: message.sequence + 1}, timeout_s)
    return tasks


@dataclass(frozen=True)
class ScheduledTask:
    """A task that is not due yet: delayed, or waiting for its next attempt."""

    task: Task
    due_at: datetime | None
    """None if another producer wrote a time that cannot be parsed."""


async def scheduled_tasks(broker: Broker, queue: QueueSettings, limit: int, timeout_s: float) -> list[ScheduledTask]:
    """The `limit` tasks that were stored first among those not yet due, the earliest due first."""
    found: list[ScheduledTask] = []
    for stream in queue.streams:
        async for message in stored_messages(broker, (stream, queue.name.all_scheduled), 1, timeout_s):
            if len(found) >= limit:
                break
            task = read_task(message.data, message.headers, message.sequence, message.stream)
            found.append(ScheduledTask(task, due_at(message.headers)))
    return sorted(found, key=lambda one: (one.due_at is None, one.due_at))

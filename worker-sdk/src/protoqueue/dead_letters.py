"""Dead letters: look at them, put them back, delete them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from protoqueue import naming
from protoqueue.codec import count_of
from protoqueue.connection import Broker, Message, StoredMessage
from protoqueue.errors import GroupNotFound
from protoqueue.naming import GroupName, Header, level_of, partition_of
from protoqueue.peek import task_of
from protoqueue.settings import QueueSettings, parse_group
from protoqueue.task import Task
from protoqueue.watch import read_settings

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class DeadLetter:
    """A task that was given up. `reason` is MaxAttempts, Rejected, Undecodable, Crashed or Expired."""

    task: Task
    reason: str
    error: str
    error_type: str
    attempts: int
    group: str
    worker: str
    failed_at: datetime | None
    sequence: int
    redrives: int
    _message: StoredMessage = field(repr=False)
    _broker: Broker = field(repr=False)
    _queue: QueueSettings = field(repr=False)

    def matches(self, task_type: str | None, reason: str | None) -> bool:
        return (task_type is None or self.task.type == task_type) and (reason is None or self.reason == reason)

    async def redrive(self) -> None:
        """Put the task back to the group that gave it up, with fresh attempts.

        Raises QueueFull and Unavailable, and in a Broadcast queue GroupNotFound where that group is no more: nobody
        would take the task, so it stays here.
        """
        if self._queue.broadcast:
            key = GroupName(self._queue.name, self.group).config_key
            if await read_settings(self._broker, key, parse_group) is None:
                raise GroupNotFound(
                    f"the group {self.group} that gave the task up is gone: make it anew, or delete this"
                )
        await self._broker.publish(redriven(self._message, self.task, self.group, self._queue), _TIMEOUT_S)
        await self.delete()

    async def delete(self) -> bool:
        """Forget the task; False when another client already had."""
        return await self._broker.delete_message(self._queue.dead_letter_stream, self.sequence, _TIMEOUT_S)


async def stored_letters(
    broker: Broker, queue: QueueSettings, group: str | None, timeout_s: float
) -> AsyncIterator[DeadLetter]:
    """What lies in the dead letters now, oldest first; what dies meanwhile is not among them."""
    state = await broker.stream_state(queue.dead_letter_stream, timeout_s)
    sequence = state.first_sequence if state else 1
    subject = queue.name.dead_letter(group or "*")
    while state and sequence <= state.last_sequence:
        message = await broker.next_message(queue.dead_letter_stream, sequence, subject, timeout_s)
        if message is None or message.sequence > state.last_sequence:
            return
        yield parse_letter(broker, queue, message)
        sequence = message.sequence + 1


def parse_letter(broker: Broker, queue: QueueSettings, message: StoredMessage) -> DeadLetter:
    headers = message.headers
    return DeadLetter(
        task=task_of(message),
        reason=headers.get(Header.REASON, ""),
        error=headers.get(Header.ERROR, ""),
        error_type=headers.get(Header.ERROR_TYPE, ""),
        attempts=count_of(headers.get(Header.ATTEMPTS)),
        group=message.subject.rpartition(".")[2],
        worker=headers.get(Header.WORKER, ""),
        failed_at=_parse_time(headers.get(Header.FAILED_AT, "")),
        sequence=message.sequence,
        redrives=count_of(headers.get(Header.REDRIVES)),
        _message=message,
        _broker=broker,
        _queue=queue,
    )


def redriven(message: StoredMessage, task: Task, group: str, queue: QueueSettings) -> Message:
    """The message that puts a dead letter back. An ordered task joins the end of its partition: its turn has passed."""
    if queue.partitions:
        number = partition_of(task.ordering_key, queue.partitions)
    else:
        priority = task.priority if naming.MIN_PRIORITY <= task.priority <= naming.MAX_PRIORITY else 0
        number = level_of(priority, queue.priority_levels)
    headers = {
        name: text
        for name, text in message.headers.items()
        if not name.startswith(("Nats-", "Pq-")) and naming.is_header_name(name)
    }
    headers |= {
        Header.MSG_ID: naming.redrive_message_id(task.id, group, message.sequence),
        Header.ATTEMPT: "1",
        Header.REDRIVES: str(1 + count_of(message.headers.get(Header.REDRIVES))),
    }
    return Message(queue.name.retry(group, number), message.data, headers)


async def redrive_letters(
    letters: AsyncIterator[DeadLetter], limit: int | None, rate: float | None, wanted: Callable[[DeadLetter], bool]
) -> int:
    """Redrive the wanted ones at an even pace; returns how many."""
    count, started = 0, time.monotonic()
    async for letter in letters:
        if limit is not None and count >= limit:
            break
        if not wanted(letter):
            continue
        if rate:
            await asyncio.sleep(max(0.0, started + count / rate - time.monotonic()))
        await letter.redrive()
        count += 1
    return count


def _parse_time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""Dead letters: read, redrive and delete them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from protoqueue.admin.letter import Letter
from protoqueue.admin.places import MOST_AT_ONCE, MOST_BYTES, stored_messages
from protoqueue.broker import Broker, DuplicateInBatch, Message, StoredMessage
from protoqueue.broker.config_watch import read_settings
from protoqueue.errors import GroupNotFound, InvalidTask, ProtoQueueError, UndecodableTask
from protoqueue.protocol.config import QueueSettings, parse_group
from protoqueue.protocol.dead_letters import Shape, failed_at, redriven_headers, redriven_subject
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.task_codec import count_of, is_task, read_task, with_payload
from protoqueue.settlement.letter_tasks import letter_task, parse_text
from protoqueue.settlement.message_seal import Seals
from protoqueue.task import Task

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class DeadLetter(Letter):
    """A task that was given up. `reason` is one of `Reason`.

    `task.max_attempts` is how many attempts it might have had, where the letter says it.
    """

    _message: StoredMessage = field(repr=False)
    _broker: Broker = field(repr=False)
    _queue: QueueSettings = field(repr=False)
    _seals: Seals = field(repr=False)

    async def redrive(self, payload: bytes | None = None) -> None:
        """Put the task back to the group that gave it up, with fresh attempts, and with another payload if given.

        The payload is encoded as the old one was, in `task.content_type`. Raises InvalidTask where there is no task
        whose payload it could be, PayloadTooLarge, QueueFull and Unavailable, and in a Broadcast queue GroupNotFound
        where that group is no more: no worker would take the task, so it stays here.
        """
        if self._queue.broadcast and not await _exists(self._broker, self._queue, self.group):
            raise GroupNotFound(
                f"consumer group {self.group} does not exist any more: create it again, or delete the dead letter"
            )
        message = self._message if payload is None else self._with_payload(payload)
        await self._broker.publish(await self._put_back(message), _TIMEOUT_S)
        await self.delete()

    def _with_payload(self, payload: bytes) -> StoredMessage:
        try:
            return replace(self._message, data=with_payload(self._message.data, payload))
        except UndecodableTask as error:
            raise InvalidTask(f"the dead letter is not a task, so it has no payload to change: {error}") from error

    async def to_be_redriven(self) -> Message:
        """The message that puts it back, with a message id that no producer can use first."""
        return await self._put_back(self._message)

    async def _put_back(self, stored: StoredMessage) -> Message:
        message = redriven(stored, self.task, self.group, self._queue)
        return await self._seals.seal(message, GroupName(self._queue.name, self.group), _TIMEOUT_S)

    async def to_be_forwarded(self, queue: QueueSettings) -> Message | None:
        """The message that makes it a task of another queue; None where it is not a task at all."""
        message, group = self._message, GroupName(self._queue.name, self.group)
        if not is_task(message.data):
            return None
        # If a worker has already forwarded this letter without learning of it, this one is its duplicate.
        place = message.headers.get(Header.STREAM_SEQUENCE) or f"letter-{self.sequence}"
        letter = Message(message.subject, message.data, message.headers)
        return await self._seals.seal(letter_task(letter, self.task, group, place, queue), group, _TIMEOUT_S)

    async def delete(self) -> bool:
        """Delete the letter; False when another client already had."""
        return await self._broker.delete_message(self._queue.dead_letter_stream, self.sequence, _TIMEOUT_S)


async def stored_letters(
    broker: Broker, queue: QueueSettings, group: str | None, timeout_s: float, after: int = 0
) -> AsyncIterator[DeadLetter]:
    """The dead letters stored now, after a sequence, oldest first; tasks that die meanwhile are not included."""
    state, seals = await broker.stream_state(queue.dead_letter_stream, timeout_s), Seals(broker)
    sequence = max(state.first_sequence if state else 1, after + 1)
    subject = queue.name.dead_letter(group or "*")
    place = (queue.dead_letter_stream, subject)
    async for message in stored_messages(broker, place, sequence, timeout_s, state.last_sequence if state else 0):
        yield parse_letter(broker, queue, message, seals)


def parse_letter(broker: Broker, queue: QueueSettings, message: StoredMessage, seals: Seals) -> DeadLetter:
    headers = message.headers
    return DeadLetter(
        task=read_task(
            message.data, headers, message.sequence, max_attempts=count_of(headers.get(Header.MAX_ATTEMPTS)) or None
        ),
        reason=headers.get(Header.REASON, ""),
        error=headers.get(Header.ERROR, ""),
        error_type=headers.get(Header.ERROR_TYPE, ""),
        attempts=count_of(headers.get(Header.ATTEMPTS)),
        group=message.subject.rpartition(".")[2],
        worker=headers.get(Header.WORKER, ""),
        failed_at=failed_at(headers),
        sequence=message.sequence,
        redrives=count_of(headers.get(Header.REDRIVES)),
        traceback=parse_text(headers.get(Header.TRACEBACK, "")),
        _message=message,
        _broker=broker,
        _queue=queue,
        _seals=seals,
    )


def redriven(message: StoredMessage, task: Task, group: str, queue: QueueSettings) -> Message:
    """The message that puts a dead letter back. An ordered task joins the end of its partition: its turn has passed."""
    shape = Shape(queue.priority_levels, queue.partitions, queue.lanes)
    subject = redriven_subject(queue.name, group, task.priority, task.ordering_key, task.fairness_key, shape)
    redrives = count_of(message.headers.get(Header.REDRIVES))
    headers = redriven_headers(message.headers.items(), redrives, task.id, group, message.sequence)
    return Message(subject, message.data, headers)


async def redrive_letters(
    broker: Broker,
    queue: QueueSettings,
    group: str | None,
    letters: AsyncIterator[DeadLetter],
    limit: int | None,
    wanted: Callable[[DeadLetter], bool],
) -> int:
    """Redrive the wanted letters as fast as the broker takes them; returns how many. Raises what `redrive` raises."""
    count, passed_over = 0, False
    chunk: list[DeadLetter] = []
    async for letter in letters:
        if limit is not None and count + len(chunk) >= limit:
            break
        if not wanted(letter):
            passed_over = True
            continue
        chunk.append(letter)
        if len(chunk) >= MOST_AT_ONCE or sum(len(one.task.data) for one in chunk) >= MOST_BYTES:
            count += await _redrive_chunk(broker, queue, group, chunk, passed_over)
            chunk = []
    return count + await _redrive_chunk(broker, queue, group, chunk, passed_over)


async def _redrive_chunk(
    broker: Broker, queue: QueueSettings, group: str | None, chunk: Sequence[DeadLetter], passed_over: bool
) -> int:
    """Store all in one batch and delete them; if the batch is refused, one by one up to the letter that caused it."""
    if not await _redriven_together(broker, queue, chunk):
        for letter in chunk:
            await letter.redrive()
        return len(chunk)
    if passed_over:
        await asyncio.gather(*(letter.delete() for letter in chunk))
    else:  # everything before has been redriven too
        subject = queue.name.dead_letter(group or "*")
        await broker.purge(queue.dead_letter_stream, subject, _TIMEOUT_S, before=chunk[-1].sequence + 1)
    return len(chunk)


async def _redriven_together(broker: Broker, queue: QueueSettings, chunk: Sequence[DeadLetter]) -> bool:
    """Whether one batch has stored them all: not if some are already back, a group is gone, or it is too full."""
    groups = {letter.group for letter in chunk} if queue.broadcast else set()
    if len(chunk) < 2 or not all([await _exists(broker, queue, group) for group in groups]):
        return False
    messages = [await letter.to_be_redriven() for letter in chunk]
    try:
        await broker.publish_atomic(messages, _TIMEOUT_S, _at_once)
    except (DuplicateInBatch, ProtoQueueError):
        return False
    return True


async def _exists(broker: Broker, queue: QueueSettings, group: str) -> bool:
    return await read_settings(broker, GroupName(queue.name, group).config_key, parse_group) is not None


async def _at_once() -> None:
    """Batches do not wait for each other here."""


async def redrive_slowly(
    letters: AsyncIterator[DeadLetter], limit: int | None, rate: float, wanted: Callable[[DeadLetter], bool]
) -> int:
    """Redrive the wanted letters at an even pace; returns how many."""
    count, started = 0, time.monotonic()
    async for letter in letters:
        if limit is not None and count >= limit:
            break
        if not wanted(letter):
            continue
        await asyncio.sleep(max(0.0, started + count / rate - time.monotonic()))
        await letter.redrive()
        count += 1
    return count

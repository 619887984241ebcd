"""From what a producer asks for to the message that does it. Pure: id and time are arguments."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protoqueue import naming
from protoqueue.codec import encode_payload, encode_task
from protoqueue.connection import Message, Published
from protoqueue.durations import LONGEST, to_timedelta
from protoqueue.errors import InvalidTask, PayloadTooLarge
from protoqueue.naming import Header, level_of, partition_of
from protoqueue.settings import QueueSettings
from protoqueue.task import Outgoing, Receipt

HEADROOM = 4096
"""Bytes kept free of the server's limit, so that a task that fits also fits as a retry and as a dead letter."""

_MAX_DEDUP_ID = 256

_KINDS: dict[str, type] = {
    "type": str, "priority": int, "at": datetime, "dedup_id": str, "ordering_key": str, "metadata": Mapping,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Message):
    """A new task's message, and the stream it goes to."""

    task_id: str
    stream: str

    def receipt(self, published: Published) -> Receipt:
        """What its producer gets; a duplicate of a task's own id is this task, of which an earlier try was stored."""
        return Receipt(self.task_id, published.duplicate and self.headers[Header.MSG_ID] != self.task_id)


def prepare(
    payload: Any, outgoing: Outgoing, task_id: str, now: datetime, queue: QueueSettings, max_payload: int,
    trace: Mapping[str, str],
) -> Prepared:  # fmt: skip
    """The message of a new task, with the headers of its `trace`; raises InvalidTask and PayloadTooLarge.

    `payload` is what is sent, whatever that of `outgoing` is.
    """
    data, content_type = encode_payload(payload)
    encoded = encode_task(
        task_id, data, outgoing.type, content_type, outgoing.priority, now, outgoing.ordering_key, outgoing.metadata
    )
    subject, stream = _subject(outgoing, queue), queue.stream
    headers = {Header.MSG_ID: _dedup_id(outgoing) or task_id, **trace}
    due = _due(outgoing, now)
    if due is not None:
        headers |= {Header.SCHEDULE: naming.schedule_at(due), Header.SCHEDULE_TARGET: queue.name.due(subject)}
        subject, stream = queue.name.scheduled(task_id), queue.later_stream
    headers |= _expiry(outgoing, now, due, queue)
    prepared = Prepared(subject, encoded, headers, task_id=task_id, stream=stream)
    _check_size(prepared, queue, max_payload)
    return prepared


def wrong_argument(outgoing: Outgoing) -> str | None:
    """Which of the options is of a type that it cannot be: looked at when one has led to an error, and not before."""
    for name, kind in _KINDS.items():
        value = getattr(outgoing, name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            return f"{name} is of type {kind.__name__}, not {type(value).__name__}: {value!r}"
    return None


def _subject(outgoing: Outgoing, queue: QueueSettings) -> str:
    if not queue.partitions:
        if outgoing.ordering_key:
            raise InvalidTask(f"queue {queue.name} has no spec.ordering: leave ordering_key out, or add ordering to it")
        return queue.name.task(level_of(outgoing.priority, queue.priority_levels))
    level_of(outgoing.priority, 1)
    if not outgoing.ordering_key:
        raise InvalidTask(f"queue {queue.name} is ordered: say with ordering_key which tasks must keep their order")
    return queue.name.ordered(partition_of(outgoing.ordering_key, queue.partitions))


def _due(outgoing: Outgoing, now: datetime) -> datetime | None:
    """When the task is due; None for at once."""
    if outgoing.delay is not None and outgoing.at is not None:
        raise InvalidTask("delay or at, not both")
    try:
        if outgoing.at is not None:
            if outgoing.at.tzinfo is None:
                raise InvalidTask(f"at={outgoing.at} has no time zone: write datetime(..., tzinfo=...)")
            due = _within_reach("at", outgoing.at, now)
        elif outgoing.delay is not None:
            due = now + to_timedelta(outgoing.delay)
        else:
            return None
    except (ValueError, OverflowError) as error:
        raise InvalidTask(f"delay: {error}") from error
    # A moment that has passed is now: a producer that is a little late must not lose its task.
    return due if due > now else None


def _expiry(outgoing: Outgoing, now: datetime, due: datetime | None, queue: QueueSettings) -> dict[str, str]:
    """Headers for `expires`.

    The server deletes an expired task by itself, worker or no worker, unless it is to be kept as a dead letter: then a
    worker must come by it. A delayed task's time to live would count from now and end the schedule, so a worker it is.
    """
    if outgoing.expires is None:
        return {}
    try:
        at = outgoing.expires if isinstance(outgoing.expires, datetime) else now + to_timedelta(outgoing.expires)
    except (ValueError, OverflowError) as error:
        raise InvalidTask(f"expires: {error}") from error
    if at.tzinfo is None:
        raise InvalidTask(f"expires={at} has no time zone: write datetime(..., tzinfo=...)")
    _within_reach("expires", at, now)
    if at <= (due or now):
        raise InvalidTask("the task would expire before it is due")
    headers = {Header.EXPIRES_AT: str(int(at.timestamp() * 1000))}
    if due is None and not queue.dead_letter_expired:
        # Whole seconds are what JetStream counts; rounded up, since a worker sees to the rest.
        headers[Header.TTL] = f"{math.ceil((at - now).total_seconds())}s"
    return headers


def _within_reach(name: str, moment: datetime, now: datetime) -> datetime:
    if moment - now > LONGEST:
        raise InvalidTask(f"{name}={moment} is too far ahead: a century at most")
    return moment


def _dedup_id(outgoing: Outgoing) -> str | None:
    dedup_id = outgoing.dedup_id
    if dedup_id is None:
        return None
    if not dedup_id or len(dedup_id) > _MAX_DEDUP_ID or not dedup_id.isprintable() or dedup_id != dedup_id.strip():
        raise InvalidTask(
            f"dedup_id must be 1 to {_MAX_DEDUP_ID} printable characters without spaces around, not {dedup_id!r}"
        )
    return dedup_id


def _check_size(message: Message, queue: QueueSettings, max_payload: int) -> None:
    size = message.size
    allowed = max_payload - HEADROOM
    if queue.max_task_size:
        allowed = min(allowed, queue.max_task_size)
    if size > allowed:
        raise PayloadTooLarge(
            f"the encoded task has {size} bytes, {allowed} are allowed: "
            "keep large payloads elsewhere and enqueue a reference"
        )

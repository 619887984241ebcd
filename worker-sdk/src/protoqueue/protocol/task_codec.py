"""The task on the wire: `protoqueue.v1.Task`, whose field numbers 1-3 are those of the original schema."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from protoqueue.errors import UndecodableTask
from protoqueue.protocol.dead_letter_header import read_dead_letter
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.metadata import read_metadata, write_metadata
from protoqueue.protocol.recurring import scheduled_for
from protoqueue.protocol.retries import read_retries, write_retries
from protoqueue.protocol.task_ids import anonymous_id, recurring_id
from protoqueue.protocol.v1 import task_pb2
from protoqueue.task import DEFAULT_PRIORITY, Retries, Task

_MOST_DIGITS = 18


def encode_task(
    task_id: str, data: bytes, task_type: str = "", content_type: str = "", priority: int = DEFAULT_PRIORITY,
    enqueued_at: datetime | None = None, ordering_key: str = "", metadata: Mapping[str, Any] | None = None,
    retry: Retries | None = None, fairness_key: str = "",
) -> bytes:  # fmt: skip
    """The bytes of a task that is enqueued now; raises InvalidTask for metadata that JSON cannot hold, and ValueError.

    It takes the parts: building each `Task` first would cost as much as encoding it.
    """
    timestamp = 0 if enqueued_at is None else int(enqueued_at.timestamp() * 1000)
    if metadata:
        wire = task_pb2.TaskMetadata(priority=priority, timestamp=timestamp)
        write_metadata(wire, metadata)
        rest = _encode_rest(wire, task_type, content_type, ordering_key, retry)
    else:
        rest = _encode_plain_rest(priority, timestamp, task_type, content_type, ordering_key, retry)
    if fairness_key:
        rest += task_pb2.Task(fairness_key=fairness_key).SerializeToString()
    # Concatenated protobuf messages are one message with the fields of both, here in the order of their numbers.
    return task_pb2.Task(id=task_id, data=data).SerializeToString() + rest


@lru_cache(maxsize=256, typed=True)  # 5.0 equals 5, but is not a valid priority
def _encode_plain_rest(
    priority: int, timestamp: int, task_type: str, content_type: str, ordering_key: str, retry: Retries | None
) -> bytes:
    """The fields that most tasks of a batch share: encoding them once halves the cost of a batch."""
    metadata = task_pb2.TaskMetadata(priority=priority, timestamp=timestamp)
    return _encode_rest(metadata, task_type, content_type, ordering_key, retry)


def _encode_rest(
    metadata: task_pb2.TaskMetadata, task_type: str, content_type: str, ordering_key: str, retry: Retries | None
) -> bytes:
    return task_pb2.Task(
        metadata=metadata, type=task_type, content_type=content_type, ordering_key=ordering_key,
        retry=None if retry is None else write_retries(retry),
    ).SerializeToString()  # fmt: skip


def decode_task(
    data: bytes, headers: Mapping[str, str], sequence: int, stream: str = "", max_attempts: int | None = None
) -> Task:
    """Read a task from its message at a sequence of a stream; raises UndecodableTask.

    `max_attempts` is how many it may have unless it says so itself.
    """
    try:
        wire = task_pb2.Task.FromString(data)
    except DecodeError as error:
        raise UndecodableTask(f"{len(data)} bytes are not a protoqueue.v1.Task: {error}") from error
    metadata = wire.metadata
    letter = read_dead_letter(headers)
    # A producer's retry settings are about its task, not about the handling of its dead letter.
    retries = read_retries(wire.retry) if letter is None and wire.HasField("retry") else None
    if retries is not None and retries.max_attempts is not None:
        max_attempts = retries.max_attempts
    return Task(
        id=recurring_id(headers, sequence, stream) or wire.id or anonymous_id(sequence, stream),
        data=wire.data,
        type=wire.type,
        content_type=wire.content_type,
        attempt=attempt_of(headers),
        priority=metadata.priority or DEFAULT_PRIORITY,
        enqueued_at=_moment(metadata.timestamp) if metadata.timestamp else None,
        ordering_key=wire.ordering_key,
        fairness_key=wire.fairness_key,
        scheduled_for=scheduled_for(headers) if Header.RECURS in headers else None,
        dead_letter=letter,
        metadata=read_metadata(metadata),
        retries=retries,
        max_attempts=max_attempts,
        unique=headers.get(Header.UNIQUE, ""),
    )


def attempt_of(headers: Mapping[str, str]) -> int:
    """The attempt a message stands for, from 1; another producer's invalid value counts as the first."""
    return max(1, count_of(headers.get(Header.ATTEMPT)))


def count_of(text: str | None) -> int:
    """A header's number; 0 for anything else that another producer may have put there."""
    is_count = text and len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()
    return int(text) if text and is_count else 0


def with_id(data: bytes, task_id: str) -> bytes:
    """The same task under another id; bytes that are not a task are returned unchanged."""
    try:
        wire = task_pb2.Task.FromString(data)
    except DecodeError:
        return data
    if wire.id == task_id:
        return data
    wire.id = task_id
    return wire.SerializeToString()


def with_payload(data: bytes, payload: bytes) -> bytes:
    """The same task with another payload; raises UndecodableTask for bytes that are not a task."""
    try:
        wire = task_pb2.Task.FromString(data)
    except DecodeError as error:
        raise UndecodableTask(f"{len(data)} bytes are not a protoqueue.v1.Task: {error}") from error
    wire.data = payload
    return wire.SerializeToString()


def is_task(data: bytes) -> bool:
    """Whether these bytes are a task."""
    try:
        task_pb2.Task.FromString(data)
    except DecodeError:
        return False
    return True


def _moment(timestamp_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # not a valid date: that does not invalidate the task itself
        return None


def read_task(
    data: bytes, headers: Mapping[str, str], sequence: int, stream: str = "", max_attempts: int | None = None
) -> Task:
    """The task a stored message holds; bytes that are not a task appear as `data` of one without a type."""
    try:
        return decode_task(data, headers, sequence, stream, max_attempts)
    except UndecodableTask:
        return Task(id=anonymous_id(sequence, stream), data=data)

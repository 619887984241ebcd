"""The task on the wire: `protoqueue.v1.Task`, whose field numbers 1-3 are those of the original schema."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from protoqueue.errors import InvalidTask, UndecodableTask
from protoqueue.ids import anonymous_id, recurring_id
from protoqueue.naming import DEFAULT_PRIORITY, Header
from protoqueue.task import Task
from protoqueue.v1 import task_pb2

_MOST_DIGITS = 18


def encode_task(
    task_id: str, data: bytes, task_type: str = "", content_type: str = "", priority: int = DEFAULT_PRIORITY,
    enqueued_at: datetime | None = None, ordering_key: str = "", metadata: Mapping[str, Any] | None = None,
) -> bytes:  # fmt: skip
    """The bytes of a task that is enqueued now; raises InvalidTask for metadata that JSON cannot hold.

    It takes the parts: to put each `Task` together first would cost as much as encoding it.
    """
    timestamp = 0 if enqueued_at is None else int(enqueued_at.timestamp() * 1000)
    if metadata:
        wire = task_pb2.TaskMetadata(priority=priority, timestamp=timestamp)
        _fill_metadata(wire, metadata)
        rest = _encode_rest(wire, task_type, content_type, ordering_key)
    else:
        rest = _encode_plain_rest(priority, timestamp, task_type, content_type, ordering_key)
    # Messages of protobuf that follow each other are one with the fields of both, here in the order of their numbers.
    return task_pb2.Task(id=task_id, data=data).SerializeToString() + rest


@lru_cache(maxsize=256, typed=True)  # 5.0 equals 5, and is no priority
def _encode_plain_rest(priority: int, timestamp: int, task_type: str, content_type: str, ordering_key: str) -> bytes:
    """What the tasks of a batch mostly have in common: encoded once, it halves the cost of putting one together."""
    metadata = task_pb2.TaskMetadata(priority=priority, timestamp=timestamp)
    return _encode_rest(metadata, task_type, content_type, ordering_key)


def _encode_rest(metadata: task_pb2.TaskMetadata, task_type: str, content_type: str, ordering_key: str) -> bytes:
    return task_pb2.Task(
        metadata=metadata, type=task_type, content_type=content_type, ordering_key=ordering_key
    ).SerializeToString()


def decode_task(data: bytes, headers: Mapping[str, str], sequence: int) -> Task:
    """Read a task from its message in the queue's stream; raises UndecodableTask."""
    try:
        wire = task_pb2.Task.FromString(data)
    except DecodeError as error:
        raise UndecodableTask(f"{len(data)} bytes that are no protoqueue.v1.Task: {error}") from error
    metadata = wire.metadata
    return Task(
        id=recurring_id(headers, sequence) or wire.id or anonymous_id(sequence),
        data=wire.data,
        type=wire.type,
        content_type=wire.content_type,
        attempt=attempt_of(headers),
        priority=metadata.priority or DEFAULT_PRIORITY,
        enqueued_at=_moment(metadata.timestamp) if metadata.timestamp else None,
        ordering_key=wire.ordering_key,
        metadata=_read_metadata(metadata) if metadata.HasField("custom_metadata") else {},
    )


def attempt_of(headers: Mapping[str, str]) -> int:
    """The attempt a message stands for, from 1; another producer's nonsense counts as the first."""
    return max(1, count_of(headers.get(Header.ATTEMPT)))


def count_of(text: str | None) -> int:
    """The number a header holds; 0 for anything else that another producer may have put there."""
    is_count = text and len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()
    return int(text) if text and is_count else 0


def with_id(data: bytes, task_id: str) -> bytes:
    """The same task under another id; bytes that are no task come back as they are."""
    try:
        wire = task_pb2.Task.FromString(data)
    except DecodeError:
        return data
    wire.id = task_id
    return wire.SerializeToString()


def _moment(timestamp_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # no moment that a calendar has: it says nothing about the task itself
        return None


def _read_metadata(metadata: task_pb2.TaskMetadata) -> dict[str, Any]:
    try:
        return json_format.MessageToDict(metadata.custom_metadata)
    except (ValueError, json_format.Error) as error:
        raise UndecodableTask(f"the task's metadata is no JSON: {error}") from error


def _fill_metadata(into: task_pb2.TaskMetadata, metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(metadata, allow_nan=False)  # protobuf takes infinity, and fails where it is read
        into.custom_metadata.update(metadata)
    except (ValueError, TypeError) as error:
        raise InvalidTask(f"metadata must be what JSON can hold: {error}") from error

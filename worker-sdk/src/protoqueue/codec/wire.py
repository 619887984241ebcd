"""The task on the wire: `protoqueue.v1.Task`, whose field numbers 1-3 are those of the original schema."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from protoqueue.errors import InvalidTask, UndecodableTask
from protoqueue.naming import DEFAULT_PRIORITY, Header, anonymous_id, recurring_id
from protoqueue.task import Task
from protoqueue.v1 import task_pb2


def encode_task(task: Task) -> bytes:
    """The bytes of a task that is enqueued now; raises InvalidTask for metadata that JSON cannot hold."""
    metadata = task_pb2.TaskMetadata(priority=task.priority)
    if task.enqueued_at is not None:
        metadata.timestamp = int(task.enqueued_at.timestamp() * 1000)
    if task.metadata:
        _fill_metadata(metadata, task.metadata)
    return task_pb2.Task(
        id=task.id,
        data=task.data,
        metadata=metadata,
        type=task.type,
        content_type=task.content_type,
        ordering_key=task.ordering_key,
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
        enqueued_at=datetime.fromtimestamp(metadata.timestamp / 1000, UTC) if metadata.timestamp else None,
        ordering_key=wire.ordering_key,
        metadata=json_format.MessageToDict(metadata.custom_metadata) if metadata.HasField("custom_metadata") else {},
    )


def attempt_of(headers: Mapping[str, str]) -> int:
    """The attempt a message stands for, from 1; another producer's nonsense counts as the first."""
    text = headers.get(Header.ATTEMPT)
    return max(1, int(text)) if text and text.isascii() and text.isdigit() else 1


def with_id(data: bytes, task_id: str) -> bytes:
    """The same task under another id; bytes that are no task come back as they are."""
    try:
        wire = task_pb2.Task.FromString(data)
    except DecodeError:
        return data
    wire.id = task_id
    return wire.SerializeToString()


def _fill_metadata(into: task_pb2.TaskMetadata, metadata: Mapping[str, Any]) -> None:
    try:
        into.custom_metadata.update(metadata)
    except (ValueError, TypeError) as error:
        raise InvalidTask(f"metadata must be what JSON can hold: {error}") from error

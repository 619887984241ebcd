"""A task's metadata: JSON in a protobuf Struct, which keeps every number as a float."""

import json
from collections.abc import Iterator, Mapping, Set
from typing import Any

from google.protobuf import json_format

from protoqueue.errors import InvalidTask, UndecodableTask
from protoqueue.protocol.v1 import task_pb2

_EXACT = 2**53
"""Up to here a float represents every integer exactly."""


def write_metadata(into: task_pb2.TaskMetadata, metadata: Mapping[str, Any]) -> None:
    """Raises InvalidTask for what JSON cannot hold, and for integers that would lose digits."""
    try:
        json.dumps(metadata, allow_nan=False)  # protobuf accepts infinity, and fails when it is read
        into.whole_floats.extend(_whole_floats(metadata, ""))
        into.custom_metadata.update(metadata)
    except InvalidTask:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidTask(f"metadata must be JSON-serializable: {error}") from error


def read_metadata(metadata: task_pb2.TaskMetadata) -> dict[str, Any]:
    """Raises UndecodableTask for another producer's infinity."""
    if not metadata.HasField("custom_metadata"):
        return {}
    try:
        read = json_format.MessageToDict(metadata.custom_metadata)
    except (ValueError, json_format.Error) as error:
        raise UndecodableTask(f"the task's metadata is not valid JSON: {error}") from error
    floats = frozenset(metadata.whole_floats)
    return {key: _with_integers(inner, f"/{_escaped(key)}", floats) for key, inner in read.items()}


def _whole_floats(value: Any, pointer: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _whole_floats(inner, f"{pointer}/{_escaped(str(key))}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _whole_floats(inner, f"{pointer}/{number}")
    elif isinstance(value, float):
        if value.is_integer() and abs(value) <= _EXACT:
            yield pointer
    elif isinstance(value, int) and abs(value) > _EXACT:
        raise InvalidTask(
            f"metadata{pointer} is an integer beyond 2**53, which JSON cannot carry exactly: send it as text"
        )


def _with_integers(value: Any, pointer: str, floats: Set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_integers(inner, f"{pointer}/{_escaped(key)}", floats) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_integers(inner, f"{pointer}/{number}", floats) for number, inner in enumerate(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT and pointer not in floats:
        return int(value)
    return value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")

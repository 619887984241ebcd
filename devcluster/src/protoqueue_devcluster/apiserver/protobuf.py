"""The few built-in objects that Go clients send as protobuf and will not send otherwise.

helm keeps its releases so, and `kubectl create namespace|configmap|secret|serviceaccount` sends what it makes.

The numbers are those of Kubernetes' generated.proto files. Fields that are not listed are left out; a kind that is not
listed is refused as a server without protobuf would refuse it.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .statuses import bad_request, unsupported_media_type

MAGIC = b"k8s\0"
JSON_TYPES = ["application/json", "application/yaml"]

Scalar = int | bytes
Convert = Callable[[Scalar], Any]


@dataclass(frozen=True)
class Field:
    """A field's JSON name and how its wire value becomes JSON; `many` make a list, map `entries` an object."""

    name: str
    convert: Convert
    many: bool = False
    entries: bool = False


Message = Mapping[int, Field]


def parse_protobuf(raw: bytes) -> dict[str, Any]:
    """The object in a protobuf request. Raises ApiError: 400 for a body that is none, 415 for an unlisted kind."""
    if not raw.startswith(MAGIC):
        raise bad_request("the provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = _read(_UNKNOWN, raw[len(MAGIC) :])
        identity = envelope.get("typeMeta", {})
        message = _MESSAGES.get(identity.get("kind", ""))
        if message is None:
            raise unsupported_media_type(JSON_TYPES)
        return {**identity, **_read(message, envelope.get("raw", b""))}
    except (IndexError, UnicodeDecodeError) as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None


def _read(message: Message, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _wire(data):
        field = message.get(number)
        if field is None:
            continue
        if field.entries:
            entry = dict(_wire(_bytes(value)))
            found.setdefault(field.name, {})[_text(entry.get(1, b""))] = field.convert(entry.get(2, b""))
        elif field.many:
            found.setdefault(field.name, []).append(field.convert(value))
        else:
            found[field.name] = field.convert(value)
    return found


def _wire(data: bytes) -> Iterator[tuple[int, Scalar]]:
    """Field numbers and values. Raises IndexError where the data end early or hold a type Kubernetes never uses."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        value, position = _varint(data, position)
        if wire_type == 0:
            yield number, value
        elif wire_type == 2 and position + value <= len(data):
            yield number, data[position : position + value]
            position += value
        else:
            raise IndexError(f"field {number} is cut off or of wire type {wire_type}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _bytes(value: Scalar) -> bytes:
    if not isinstance(value, bytes):
        raise IndexError("a number where bytes are expected")
    return value


def _text(value: Scalar) -> str:
    return _bytes(value).decode()


def _base64(value: Scalar) -> str:
    return base64.b64encode(_bytes(value)).decode()


def _nested(message: Message) -> Convert:
    return lambda value: _read(message, _bytes(value))


def _time(value: Scalar) -> str | None:
    """RFC 3339; the zero time, which is how Go writes "none", is null."""
    fields = dict(_wire(_bytes(value)))
    seconds = fields.get(1, 0)
    if not isinstance(seconds, int) or not 0 < seconds < 2**40:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_TYPE_META: Message = {1: Field("apiVersion", _text), 2: Field("kind", _text)}
_UNKNOWN: Message = {1: Field("typeMeta", _nested(_TYPE_META)), 2: Field("raw", _bytes)}
_OWNER: Message = {
    1: Field("kind", _text),
    3: Field("name", _text),
    4: Field("uid", _text),
    5: Field("apiVersion", _text),
    6: Field("controller", bool),
    7: Field("blockOwnerDeletion", bool),
}
_META: Message = {
    1: Field("name", _text),
    2: Field("generateName", _text),
    3: Field("namespace", _text),
    5: Field("uid", _text),
    6: Field("resourceVersion", _text),
    8: Field("creationTimestamp", _time),
    11: Field("labels", _text, entries=True),
    12: Field("annotations", _text, entries=True),
    13: Field("ownerReferences", _nested(_OWNER), many=True),
    14: Field("finalizers", _text, many=True),
}
_PRECONDITIONS: Message = {1: Field("uid", _text), 2: Field("resourceVersion", _text)}
_MESSAGES: Mapping[str, Message] = {
    "Secret": {
        1: Field("metadata", _nested(_META)),
        2: Field("data", _base64, entries=True),
        3: Field("type", _text),
        4: Field("stringData", _text, entries=True),
        5: Field("immutable", bool),
    },
    "ConfigMap": {
        1: Field("metadata", _nested(_META)),
        2: Field("data", _text, entries=True),
        3: Field("binaryData", _base64, entries=True),
        4: Field("immutable", bool),
    },
    "Namespace": {1: Field("metadata", _nested(_META))},
    "ServiceAccount": {1: Field("metadata", _nested(_META))},
    "DeleteOptions": {
        1: Field("gracePeriodSeconds", int),
        2: Field("preconditions", _nested(_PRECONDITIONS)),
        3: Field("orphanDependents", bool),
        4: Field("propagationPolicy", _text),
        5: Field("dryRun", _text, many=True),
    },
}

"""Reading protobuf messages by tables of their fields, as far as Kubernetes uses the format."""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Scalar = int | bytes
Convert = Callable[[Scalar], Any]


class NotListed(Exception):
    """An exact message holds a field that its table does not know."""


@dataclass(frozen=True)
class Field:
    """A field's JSON name and how its wire value becomes JSON; `many` make a list, map `entries` an object."""

    name: str
    convert: Convert
    many: bool = False
    entries: bool = False


@dataclass(frozen=True)
class Message:
    """The fields known of a type, by number. What is not listed is left out, of an `exact` message only if empty."""

    fields: Mapping[int, Field]
    exact: bool = False


def read(message: Message, data: bytes) -> dict[str, Any]:
    """The message as JSON. Raises IndexError and UnicodeDecodeError for what is no such message, and NotListed."""
    found: dict[str, Any] = {}
    for number, value in _wire(data):
        field = message.fields.get(number)
        if field is None:
            if message.exact and not _is_empty(value):
                raise NotListed(f"field {number}")
        elif field.entries:
            entry = dict(_wire(as_bytes(value)))
            found.setdefault(field.name, {})[text(entry.get(1, b""))] = field.convert(entry.get(2, b""))
        elif field.many:
            found.setdefault(field.name, []).append(field.convert(value))
        elif (converted := field.convert(value)) != "":  # Go writes every string, also those that are not set
            found[field.name] = converted
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


def _is_empty(value: Scalar) -> bool:
    """Whether a value is zero, or a message of nothing but empty values: so Go writes a struct that is not set."""
    if not value or isinstance(value, int):
        return not value
    try:
        return all(_is_empty(each) for _, each in _wire(value))
    except IndexError:
        return False


def as_bytes(value: Scalar) -> bytes:
    if not isinstance(value, bytes):
        raise IndexError("a number where bytes are expected")
    return value


def text(value: Scalar) -> str:
    return as_bytes(value).decode()


def as_base64(value: Scalar) -> str:
    return base64.b64encode(as_bytes(value)).decode()


def nested(message: Message) -> Convert:
    return lambda value: read(message, as_bytes(value))


def time(value: Scalar) -> str | None:
    """RFC 3339; the zero time, which is how Go writes "none", is null."""
    fields = dict(_wire(as_bytes(value)))
    seconds = fields.get(1, 0)
    if not isinstance(seconds, int) or not 0 < seconds < 2**40:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def int_or_string(value: Scalar) -> int | str:
    fields = dict(_wire(as_bytes(value)))
    return text(fields.get(3, b"")) if fields.get(1) else int(fields.get(2, 0))

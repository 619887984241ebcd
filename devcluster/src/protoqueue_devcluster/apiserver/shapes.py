"""Checking the shape of objects against their schema, with the error texts of a real API server.

What an update leaves equal is not checked again (ratcheting): it was valid when written.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .schema import MISSING, Bounds, Node
from .statuses import Cause, duplicate, invalid_value, not_supported, required

FORMATS = {
    "date": re.compile(r"\d{4}-\d\d-\d\d\Z"),
    "duration": re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+\Z|0\Z"),
    "uuid": re.compile(r"(?i)[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\Z"),
    "email": re.compile(r"[^@\s]+@[^@\s]+\Z"),
}


def type_name(value: Any) -> str:
    """The JSON type as OpenAPI calls it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(actual: str, value: Any, node: Node) -> bool:
    if node.int_or_string:
        return actual in {"integer", "string"}
    if not node.type or actual == node.type:
        return True
    if actual == "null":
        return node.nullable
    return (node.type == "number" and actual == "integer") or (
        node.type == "integer" and actual == "number" and float(value).is_integer()
    )


def shape(value: Any, old: Any, node: Node, path: str) -> Iterator[Cause]:
    if old is not MISSING and value == old:
        return
    actual = type_name(value)
    if not _fits(actual, value, node):
        wanted = "integer,string" if node.int_or_string else node.type
        text = f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"'
        yield Cause("FieldValueTypeInvalid", text, path or "<nil>")
        return
    if node.bounds.enum and not any(value == each and type_name(value) == type_name(each) for each in node.bounds.enum):
        yield not_supported(path, value, node.bounds.enum)
    if isinstance(value, dict):
        yield from _shape_of_map(value, old, node, path)
    elif isinstance(value, list):
        yield from _shape_of_list(value, old, node, path)
    elif value is not None:
        yield from _scalar(value, node.bounds, path)
    yield from _junctors(value, node, path)


def _shape_of_map(value: dict[str, Any], old: Any, node: Node, path: str) -> Iterator[Cause]:
    was = old if isinstance(old, dict) else {}
    prefix = f"{path}." if path else ""
    for name in node.required_names:
        if name not in value:
            yield required(prefix + name)
    properties = node.properties or {}
    for name in sorted(value):
        child = properties.get(name) or node.additional
        if child is not None:
            yield from shape(value[name], was.get(name, MISSING), child, prefix + name)
    bounds = node.bounds
    if bounds.min_properties is not None and len(value) < bounds.min_properties:
        yield invalid_value(path, len(value), f"{path} in body should have at least {bounds.min_properties} properties")
    if bounds.max_properties is not None and len(value) > bounds.max_properties:
        yield _too_many(path, len(value), bounds.max_properties)


def _shape_of_list(value: list[Any], old: Any, node: Node, path: str) -> Iterator[Cause]:
    if node.items is not None:
        pairs = paired(value, old, node)
        for index, (each, was) in enumerate(pairs):
            yield from shape(each, was, node.items, f"{path}[{index}]")
    bounds = node.bounds
    if bounds.min_items is not None and len(value) < bounds.min_items:
        yield invalid_value(path, len(value), f"{path} in body should have at least {bounds.min_items} items")
    if bounds.max_items is not None and len(value) > bounds.max_items:
        yield _too_many(path, len(value), bounds.max_items)
    if node.list_type in {"set", "map"}:
        seen: list[Any] = []
        for index, each in enumerate(value):
            key = item_key(each, node)
            if key in seen:
                yield duplicate(f"{path}[{index}]", key)
            seen.append(key)


def item_key(item: Any, node: Node) -> Any:
    """What identifies an item of a set or map list; absent keys count with their defaults."""
    if node.list_type != "map" or not isinstance(item, dict):
        return item
    key = {}
    for name in node.list_keys:
        child = node.items.child(name) if node.items is not None else None
        fallback = child.default if child is not None and child.default is not MISSING else MISSING
        found = item.get(name, fallback)
        if found is not MISSING:
            key[name] = found
    return key


def paired(value: list[Any], old: Any, node: Node) -> list[tuple[Any, Any]]:
    """Each item with the old one of the same key; only map lists correlate."""
    if node.list_type != "map" or not isinstance(old, list):
        return [(each, MISSING) for each in value]
    result = []
    for each in value:
        key = item_key(each, node)
        result.append((each, next((was for was in old if item_key(was, node) == key), MISSING)))
    return result


def _too_many(path: str, actual: int, most: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {most} items", path)


def _scalar(value: Any, bounds: Bounds, path: str) -> Iterator[Cause]:
    if isinstance(value, str):
        yield from _text(value, bounds, path)
    elif not isinstance(value, bool):
        yield from _number(value, bounds, path)


def _text(value: str, bounds: Bounds, path: str) -> Iterator[Cause]:
    if bounds.max_length is not None and len(value) > bounds.max_length:
        text = f"Too long: may not be more than {bounds.max_length} bytes"
        yield Cause("FieldValueTooLong", text, path)
    if bounds.min_length is not None and len(value) < bounds.min_length:
        yield invalid_value(path, value, f"{path} in body should be at least {bounds.min_length} chars long")
    if bounds.pattern is not None and not bounds.pattern.search(value):
        yield invalid_value(path, value, f"{path} in body should match '{bounds.pattern_text}'")
    if bounds.format and not _well_formed(value, bounds.format):
        yield invalid_value(path, value, f'{path} in body must be of type {bounds.format}: "{value}"')


def _well_formed(value: str, form: str) -> bool:
    if form == "date-time":
        try:
            return datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            return False
    pattern = FORMATS.get(form)
    return pattern is None or bool(pattern.match(value))


def _number(value: float, bounds: Bounds, path: str) -> Iterator[Cause]:
    low, high, step = bounds.minimum, bounds.maximum, bounds.multiple_of
    if low is not None and (value < low or (bounds.exclusive_minimum and value == low)):
        word = "greater than" if bounds.exclusive_minimum else "greater than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {word} {_plain(low)}")
    if high is not None and (value > high or (bounds.exclusive_maximum and value == high)):
        word = "less than" if bounds.exclusive_maximum else "less than or equal to"
        yield invalid_value(path, value, f"{path} in body should be {word} {_plain(high)}")
    if step and abs(value / step - round(value / step)) > 1e-9:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {_plain(step)}")


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _junctors(value: Any, node: Node, path: str) -> Iterator[Cause]:
    for word, options in node.junctors:
        fitting = sum(not list(shape(value, MISSING, option, path)) for option in options)
        text = ""
        if word == "allOf" and fitting < len(options):
            for option in options:
                yield from shape(value, MISSING, option, path)
        elif word == "anyOf" and not fitting:
            text = "must validate at least one schema (anyOf)"
        elif word == "oneOf" and fitting != 1:
            found = f"Found {fitting} valid alternatives" if fitting else "Found none valid"
            text = f"must validate one and only one schema (oneOf). {found}"
        elif word == "not" and fitting:
            text = "must not validate the schema (not)"
        if text:
            yield Cause("FieldValueInvalid", f'Invalid value: "{path}" {text}', path or "<nil>")

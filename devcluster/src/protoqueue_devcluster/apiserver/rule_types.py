"""The types that rules see of a schema, and how large a value of each can be in one request.

What a schema does not bound is as large as fits into a request: a string of its size, a list of as many of the smallest
items as it holds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .rules import escaped_name

Schema = Mapping[str, Any]
MAX_REQUEST = 3 * 1024 * 1024
"""Bytes. A real server's estimates assume this whatever its own limit is."""
MAX_DATE, MAX_TIME, MAX_DURATION = 12, 32, 32
"""Lengths as JSON, quotes included."""
SMALLEST_STRING, SMALLEST_DURATION, SMALLEST_TIME, SMALLEST_BOOL = 2, 3, 21, 4
TEXT = {"type": "string"}
RESOURCE_FIELDS: Schema = {
    "apiVersion": TEXT,
    "kind": TEXT,
    "metadata": {"type": "object", "properties": {"name": TEXT, "generateName": TEXT}},
}


@dataclass(frozen=True, eq=False)
class Type:
    """`most` is the largest `size()`, and 0 for what has none; `least` the fewest bytes of one value as JSON."""

    kind: str
    most: int = 0
    least: int = 1
    element: "Type | None" = None
    """Of lists, the values of maps, and optionals."""
    fields: Mapping[str, "Type"] = field(default_factory=dict)

    def at(self, path: Iterable[str]) -> "Type | None":
        """What lies below: fields by name, `@items`, `@values` and `@keys` for what a list or map holds."""
        found: Type | None = self
        for name in path:
            if found is None:
                return None
            if name in {"@items", "@values"}:
                found = found.element
            elif name == "@keys":
                found = KEY if found.kind == "map" else None
            else:
                found = found.fields.get(name)
        return found


KEY = Type("string", least=SMALLEST_STRING)
ANY = Type("dyn")


def declared(schema: Schema, resource: bool = False) -> Type | None:
    """The type of a schema's values; None where rules see nothing of them. `resource` is at the root, and embedded."""
    if schema.get("x-kubernetes-int-or-string"):
        return Type("dyn", 4 * schema["maxLength"] if "maxLength" in schema else MAX_REQUEST - 2)
    resource = resource or bool(schema.get("x-kubernetes-embedded-resource"))
    kind = "object" if resource else schema.get("type")
    if kind == "object":
        return _object(schema, resource)
    if kind == "array":
        items = declared(schema["items"]) if isinstance(schema.get("items"), Mapping) else None
        if items is None:
            return None
        return Type("list", _bound(schema, "maxItems", (MAX_REQUEST - 2) // (items.least + 1)), 2, items)
    if kind == "string":
        return _string(schema)
    if kind == "boolean":
        return Type("bool", least=SMALLEST_BOOL)
    return {"number": Type("double"), "integer": Type("int")}.get(str(kind))


def _bound(schema: Schema, word: str, otherwise: int) -> int:
    return max(0, int(schema[word])) if schema.get(word) is not None else otherwise


def _object(schema: Schema, resource: bool) -> Type | None:
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        value = declared(values)
        if value is None:
            return None
        return Type("map", _bound(schema, "maxProperties", (MAX_REQUEST - 2) // (value.least + 6)), 2, value)
    properties = schema.get("properties") or {}
    if resource:
        names = (properties.get("metadata") or {}).get("properties") or {}
        bounded = {"metadata": properties["metadata"]} if {"name", "generateName"} <= names.keys() else {}
        properties = {**properties, **RESOURCE_FIELDS, **bounded}
    fields, least = {}, 2
    for name, each in properties.items():
        found = declared(each)
        if found is None:
            continue
        fields[escaped_name(name)] = found
        if name in schema.get("required", ()) and each.get("default") is None:
            least += len(name) + found.least + 4
    return Type("object", least=least, fields=fields)


def _string(schema: Schema) -> Type:
    form = schema.get("format")
    if form == "byte":
        return Type("bytes", _bound(schema, "maxLength", MAX_REQUEST - 2), SMALLEST_STRING)
    if form == "duration":
        return Type("duration", MAX_DURATION, SMALLEST_DURATION)
    if form == "date":
        return Type("timestamp", MAX_DATE, MAX_DATE)
    if form == "date-time":
        return Type("timestamp", MAX_TIME, SMALLEST_TIME)
    if schema.get("maxLength") is not None:
        return Type("string", 4 * _bound(schema, "maxLength", 0), SMALLEST_STRING)  # a character has up to 4 bytes
    if schema.get("enum"):
        longest = max(len(each.encode()) if isinstance(each, str) else 0 for each in schema["enum"])
        return Type("string", longest, SMALLEST_STRING)
    return Type("string", MAX_REQUEST - 2, SMALLEST_STRING)

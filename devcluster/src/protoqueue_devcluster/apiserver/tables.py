"""`kubectl get`: objects as rows, in the columns the real server prints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import columns
from .kinds import Column, Kind
from .shapes import type_name
from .statuses import bad_request
from .storage import Item

Object = dict[str, Any]
INCLUDES = frozenset({"None", "Metadata", "Object"})
NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


@dataclass(frozen=True)
class Layout:
    """The columns of a kind and what a row of them holds."""

    definitions: tuple[Object, ...]
    cells: Callable[[Object, datetime], list[Any]]


def layout(kind: Kind) -> Layout:
    if kind.custom:
        return _custom_layout(kind)
    printed = columns.BUILT_IN.get(kind.storage_key, columns.PLAIN)
    definitions = tuple(
        definition(each.name, each.type, "name" if index == 0 else "", each.description, each.priority)
        for index, each in enumerate(printed)
    )
    return Layout(definitions, lambda obj, now: [each.cell(columns.Row(obj, now)) for each in printed])


def definition(name: str, type_name: str, form: str, description: str, priority: int) -> Object:
    return {"name": name, "type": type_name, "format": form, "description": description, "priority": priority}


def _custom_layout(kind: Kind) -> Layout:
    definitions = [definition("Name", "string", "name", NAME_TEXT, 0)]
    for column in kind.columns:
        text = column.description or f"Custom resource definition column (in JSONPath format): {column.path}"
        if column.path == ".metadata.creationTimestamp" and kind.columns == (column,):
            text = columns.CREATION_TEXT
        definitions.append(definition(column.name, column.type, column.format, text, column.priority))

    def cells(obj: Object, now: datetime) -> list[Any]:
        return [obj["metadata"]["name"], *(_custom_cell(obj, column, now) for column in kind.columns)]

    return Layout(tuple(definitions), cells)


def _custom_cell(obj: Object, column: Column, now: datetime) -> Any:
    found = columns.found(obj, column.path)
    if not found:
        return None
    value = found[0]
    if column.type == "date":
        return columns.age(value, now)
    if column.type == "string":
        texts = [columns.text(each) for each in found]
        return texts[0] if len(texts) == 1 else ",".join(texts)
    fits = {"integer": {"integer"}, "number": {"integer", "number"}, "boolean": {"boolean"}}.get(column.type)
    return value if fits is None or type_name(value) in fits else None


def table(kind: Kind, items: Sequence[Item], metadata: Object, include: str, header: bool = True) -> Object:
    """A Table of some objects; `include` says what each row carries besides its cells. Raises ApiError 400."""
    wanted = include or "Metadata"
    if wanted not in INCLUDES:
        raise bad_request(f"unsupported includeObject: {wanted}")
    printed, now = layout(kind), datetime.now(UTC)
    rows = [{"cells": printed.cells(item.object, now), **_row_object(item.object, wanted)} for item in items]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": list(printed.definitions) if header else [],
        "rows": rows,
    }


def _row_object(obj: Object, include: str) -> Object:
    if include == "None":
        return {"object": None}
    return {"object": obj if include == "Object" else partial(obj)}


def partial(obj: Object) -> Object:
    """Only the metadata, as metadata-only clients ask for it."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}

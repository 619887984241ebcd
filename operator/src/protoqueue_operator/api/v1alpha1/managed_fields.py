"""Which fields a manager owns according to `metadata.managedFields`: whoever changes another's field takes ownership.

So an applied object is unchanged if its manager still owns all of it. Comparing values instead would require knowing
every default that the API server or a webhook adds.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAMED = ("apiVersion", "kind", "name", "namespace")
"""Fields that identify an object have no owner."""

_NOTHING: tuple[object, ...] = (None, {}, [])
"""Fields that may be stated without leaving a trace."""


def applied_fields(metadata: Mapping[str, Any], manager: str) -> str:
    """The `fieldsV1` of what the manager applied, as JSON: objects of one make share one text."""
    for entry in metadata.get("managedFields") or ():
        if (entry.get("manager"), entry.get("operation")) == (manager, "Apply") and not entry.get("subresource"):
            return sys.intern(json.dumps(entry.get("fieldsV1") or {}, separators=(",", ":"), sort_keys=True))
    return "{}"


def last_writer(metadata: Mapping[str, Any], *path: str) -> str | None:
    """The manager that wrote a field last, such as ("spec", "replicas"); None if none did, or that is unknown."""
    found: tuple[str, str] | None = None
    for entry in metadata.get("managedFields") or ():
        held: Any = entry.get("fieldsV1") or {}
        for name in path:
            held = held.get(f"f:{name}") if isinstance(held, Mapping) else None
        if held is not None:
            found = max(found or ("", ""), (entry.get("time", ""), entry.get("manager", "")))
    return found[1] if found else None


def holds_all(fields: str, configuration: Mapping[str, Any]) -> bool:
    """Whether `fields`, from `applied_fields`, have everything that this apply configuration states."""
    return next(lost_fields(fields, configuration), None) is None


def lost_fields(fields: str, configuration: Mapping[str, Any]) -> Iterator[str]:
    """Paths of what they do not have, such as spec.template.spec.containers[worker].image."""
    stated = {name: value for name, value in configuration.items() if name not in _NAMED}
    stated["metadata"] = {name: value for name, value in stated["metadata"].items() if name not in _NAMED}
    held = json.loads(fields)
    yield from _lost(held, stated, "") if held else stated


def _lost(held: Mapping[str, Any], stated: object, path: str) -> Iterator[str]:
    """`held` is a node of `fieldsV1`; without children it stands for all that is below it."""
    if not held:
        return
    if isinstance(stated, Mapping):
        for name, value in stated.items():
            below = f"{path}.{name}" if path else name
            if value in _NOTHING:
                continue
            if f"f:{name}" in held:
                yield from _lost(held[f"f:{name}"], value, below)
            else:
                yield below
    elif isinstance(stated, Sequence) and not isinstance(stated, str):
        for item in stated:
            yield from _lost_of_item(held, item, f"{path}[{_named(item)}]")


def _lost_of_item(held: Mapping[str, Any], item: object, path: str) -> Iterator[str]:
    """A list item is found by its value, or by its keys, some of which may be left to their defaults."""
    for name, below in held.items():
        kind, _, text = name.partition(":")
        if kind == "v" and json.loads(text) == item:
            return
        if kind == "k" and isinstance(item, Mapping):
            keys = json.loads(text)
            if all(item.get(key, value) == value for key, value in keys.items()):
                yield from _lost(below, item, path)
                return
    yield path


def _named(item: object) -> object:
    return item.get("name") or next(iter(item.values()), "") if isinstance(item, Mapping) else item

"""Which fields a manager holds, as `metadata.managedFields` says: whoever changes one of another's takes it over.

So what was applied is still as it was applied where the manager holds all of it. Comparing values instead would mean
to know every default that the API server, or a webhook, puts in.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_NAMED = ("apiVersion", "kind", "name", "namespace")
"""What identifies an object is nobody's."""

_NOTHING: tuple[object, ...] = (None, {}, [])
"""What may be stated and leave no trace."""


def applied_fields(metadata: Mapping[str, Any], manager: str) -> str:
    """The `fieldsV1` of what the manager applied, as JSON: objects of one make share one text."""
    for entry in metadata.get("managedFields") or ():
        if (entry.get("manager"), entry.get("operation")) == (manager, "Apply") and not entry.get("subresource"):
            return sys.intern(json.dumps(entry.get("fieldsV1") or {}, separators=(",", ":"), sort_keys=True))
    return "{}"


def holds_all(fields: str, configuration: Mapping[str, Any]) -> bool:
    """Whether `fields`, from `applied_fields`, have everything that this apply configuration states."""
    stated = {name: value for name, value in configuration.items() if name not in _NAMED}
    stated["metadata"] = {name: value for name, value in stated["metadata"].items() if name not in _NAMED}
    held = json.loads(fields)
    return bool(held) and _has(held, stated)


def _has(held: Mapping[str, Any], stated: object) -> bool:
    """`held` is a node of `fieldsV1`; without children it stands for all that is below it."""
    if not held:
        return True
    if isinstance(stated, Mapping):
        return all(
            value in _NOTHING or (f"f:{name}" in held and _has(held[f"f:{name}"], value))
            for name, value in stated.items()
        )
    if isinstance(stated, Sequence) and not isinstance(stated, str):
        return all(_has_item(held, item) for item in stated)
    return True


def _has_item(held: Mapping[str, Any], item: object) -> bool:
    """An item of a list is found by its value, or by its keys, of which some may be left to their defaults."""
    for name, below in held.items():
        kind, _, text = name.partition(":")
        if kind == "v" and json.loads(text) == item:
            return True
        if kind == "k" and isinstance(item, Mapping):
            keys = json.loads(text)
            if all(item.get(key, value) == value for key, value in keys.items()):
                return _has(below, item)
    return False

"""Sets of field paths: what of an object a manager owns, and their `FieldsV1` form.

A path is a tuple of elements in the notation of FieldsV1: `f:name` a field, `k:{…}` a list item by key, `v:…` a set's
value. Rules: https://github.com/kubernetes-sigs/structured-merge-diff.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .schema import MISSING, Node
from .shapes import item_key

Path = tuple[str, ...]
Paths = frozenset[Path]
NOTHING: Paths = frozenset()
DEEPEST = 100
"""What lies deeper is owned as a whole: a path for each level would take room with the square of their number."""


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def element(item: Any, node: Node) -> str:
    """The path element of a set's or map list's item."""
    if node.list_type == "map":
        return "k:" + _compact(item_key(item, node))
    return "v:" + _compact(item)


def granular(value: Any, node: Node | None, path: Path = ()) -> bool:
    """Whether a value is owned part by part rather than as a whole."""
    if len(path) >= DEEPEST:
        return False
    if isinstance(value, dict):
        return node is None or not node.atomic
    return isinstance(value, list) and node is not None and node.list_type in {"map", "set"}


def below(value: Any, node: Node | None) -> Iterator[tuple[str, Any, Node | None]]:
    """The parts of a granular value: path element, value and schema of each."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"f:{name}", each, node.child(name) if node is not None else None
    elif node is not None:
        for each in value:
            yield element(each, node), each, node.items


def leaves(value: Any, node: Node | None, path: Path = ()) -> Iterator[Path]:
    """What an applied configuration owns: leaves, and every list item it names."""
    if not granular(value, node, path) or not value:
        yield path
        return
    for part, each, child in below(value, node):
        if part[0] == "k":
            yield (*path, part)
        if part[0] == "v":
            yield (*path, part)
        else:
            yield from leaves(each, child, (*path, part))


def members(value: Any, node: Node | None, path: Path, bare: bool) -> Iterator[Path]:
    """What appears with `value`: itself and all below. `bare` says it is part of an empty object's skeleton."""
    whole = granular(value, node, path)
    hidden = bare and node is not None and node.bare and (whole or value in (None, ""))
    if not hidden:
        yield path
    if whole:
        for part, each, child in below(value, node):
            yield from members(each, child, (*path, part), hidden)


@dataclass
class Difference:
    """Paths by what happened to them between two states of an object."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)


def compare(old: Any, new: Any, node: Node | None) -> Difference:
    difference = Difference()
    _compare(old, new, node, (), True, difference)
    return difference


def _compare(old: Any, new: Any, node: Node | None, path: Path, bare: bool, out: Difference) -> None:
    if old is MISSING or (old is None and granular(new, node)):
        out.added.update(members(new, node, path, bare))
    elif new is MISSING or (new is None and granular(old, node)):
        out.removed.update(members(old, node, path, bare))
    elif old == new:
        return
    elif type(old) is not type(new) or not (granular(old, node, path) and granular(new, node, path)):
        out.modified.add(path)
    else:
        skeleton = bare and node is not None and node.bare
        before = {part: (each, child) for part, each, child in below(old, node)}
        after = {part: (each, child) for part, each, child in below(new, node)}
        for part, (was, child) in before.items():
            now = after.get(part, (MISSING, None))[0]
            _compare(was, now, child, (*path, part), skeleton, out)
        for part, (now, child) in after.items():
            if part not in before:
                _compare(MISSING, now, child, (*path, part), skeleton, out)


def with_parents(paths: Paths) -> Paths:
    """The paths and the named fields they lie in."""
    found = set(paths)
    for path in paths:
        for length in range(len(path) - 1, 0, -1):
            parent = path[:length]
            if parent[-1][0] == "f":
                if parent in found:
                    continue
                found.add(parent)
    return frozenset(found)


def decode(tree: Any) -> Paths:
    """The paths of a FieldsV1 tree."""
    return frozenset(_decoded(tree, ())) if isinstance(tree, dict) else NOTHING


def _decoded(tree: dict[str, Any], path: Path) -> Iterator[Path]:
    for part, inner in tree.items():
        if part == ".":
            yield path
        elif inner:
            yield from _decoded(inner, (*path, part))
        else:
            yield (*path, part)


def encode(paths: Paths) -> dict[str, Any]:
    """The FieldsV1 tree of some paths."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        tree = root
        for index, part in enumerate(path[:-1]):
            inner = tree.get(part)
            if inner is None:
                inner = tree[part] = {}
            elif not inner and path[: index + 1] in paths:
                inner["."] = {}
            tree = inner
        tree.setdefault(path[-1], {})
    return root


def remove_path(value: Any, node: Node | None, path: Path) -> Any:
    """`value` without what `path` names; the same object where there is nothing of the kind."""
    part, rest = path[0], path[1:]
    if part[0] == "f" and isinstance(value, dict):
        name = part[2:]
        if name not in value:
            return value
        if not rest:
            return {key: each for key, each in value.items() if key != name}
        inner = remove_path(value[name], node.child(name) if node is not None else None, rest)
        return value if inner is value[name] else {**value, name: inner}
    if isinstance(value, list) and node is not None and node.list_type in {"map", "set"}:
        result = []
        for each in value:
            if element(each, node) != part:
                result.append(each)
            elif rest:
                result.append(remove_path(each, node.items, rest))
        return result
    return value

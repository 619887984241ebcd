"""Strategic merge patch: lists merge by key as the schema says, with directives inside the patch.

Rules: https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from typing import Any

from ..schema import Node
from ..statuses import bad_request

Map = dict[str, Any]
DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
ORDER = "$setElementOrder/"
DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"


def apply_strategic(target: Map, patch: Map, node: Node | None) -> Map:
    """`target` with `patch` merged in. Changes neither; raises ApiError 400 for a malformed directive."""
    match patch.get(DIRECTIVE):
        case "replace":
            return {name: value for name, value in patch.items() if name != DIRECTIVE}
        case "delete":
            return {}
    merged = dict(target)
    if RETAIN in patch:
        merged = {name: value for name, value in merged.items() if name in patch[RETAIN]}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        child = node.child(name) if node is not None else None
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            old = merged.get(name)
            merged[name] = apply_strategic(old if isinstance(old, dict) else {}, value, child)
        elif isinstance(value, list):
            merged[name] = _merged_list(merged.get(name), value, child, patch.get(ORDER + name))
        else:
            merged[name] = value
    _apply_list_directives(merged, patch, node)
    return merged


def _apply_list_directives(merged: Map, patch: Map, node: Node | None) -> None:
    for name, value in patch.items():
        if name.startswith(DELETE_PRIMITIVES):
            field = name.removeprefix(DELETE_PRIMITIVES)
            if field in merged:
                merged[field] = [each for each in merged[field] if each not in value]
        elif name.startswith(ORDER):
            field = name.removeprefix(ORDER)
            child = node.child(field) if node is not None else None
            if isinstance(merged.get(field), list):
                merged[field] = _ordered(merged[field], value, child.patch_key if child is not None else "")


def _merged_list(old: Any, patch: list[Any], node: Node | None, order: list[Any] | None) -> list[Any]:
    current = old if isinstance(old, list) else []
    mergeable = node is not None and "merge" in node.patch_strategy
    if not mergeable or node is None:
        return [each for each in patch if not (isinstance(each, dict) and DIRECTIVE in each)]
    if not node.patch_key:
        merged = [*current, *(each for each in patch if each not in current)]
        return merged if order is None else _ordered(merged, order, "")
    if any(isinstance(each, dict) and each.get(DIRECTIVE) == "replace" for each in patch):
        return [each for each in patch if each.get(DIRECTIVE) != "replace"]
    return _merged_by_key(current, patch, node)


def _merged_by_key(current: list[Any], patch: list[Any], node: Node) -> list[Any]:
    key, merged = node.patch_key, list(current)
    for each in patch:
        if not isinstance(each, dict) or key not in each:
            raise bad_request(f"map: {each} does not contain declared merge key: {key}")
        position = next((index for index, old in enumerate(merged) if old.get(key) == each[key]), None)
        if each.get(DIRECTIVE) == "delete":
            merged = [old for old in merged if old.get(key) != each[key]]
        elif position is None:
            merged.append(apply_strategic({}, each, node.items))
        else:
            merged[position] = apply_strategic(merged[position], each, node.items)
    return merged


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items in the order given; those it does not name keep their place after their former neighbour."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(each) for each in order]
    named = sorted((each for each in items if identity(each) in wanted), key=lambda each: wanted.index(identity(each)))
    result = list(named)
    for index, each in enumerate(items):
        if identity(each) not in wanted:
            before = next((was for was in reversed(items[:index]) if was in result), None)
            result.insert(result.index(before) + 1 if before is not None else 0, each)
    return result

"""Server-side apply: merge a configuration into an object, dropping what its manager no longer names."""

from typing import Any

from ..fieldsets import NOTHING, Paths, element, leaves, remove_path, with_parents
from ..managed_fields import Managers, Writer, is_applier
from ..schema import Node

Object = dict[str, Any]


def apply_configuration(
    live: Object, configuration: Object, node: Node, managers: Managers, writer: Writer
) -> tuple[Object, Paths]:
    """The merged object and the paths `writer` owns from now on (both without identity: see `ownable`)."""
    owned = frozenset(leaves(configuration, node)) - {()}
    merged = merge(live, configuration, node)
    before = next((each.paths for each in managers if is_applier(each, writer)), NOTHING)
    others = frozenset().union(*(each.paths for each in managers if not is_applier(each, writer)))
    dropped = with_parents(before) - with_parents(owned | others)
    for path in sorted(dropped, key=len):
        merged = remove_path(merged, node, path)
    return merged, owned


def merge(live: Any, configuration: Any, node: Node | None) -> Any:
    """`configuration` laid over `live`: maps and keyed lists part by part, all else as a whole."""
    if isinstance(configuration, dict) and isinstance(live, dict) and (node is None or not node.atomic):
        merged = dict(live)
        for name, value in configuration.items():
            child = node.child(name) if node is not None else None
            merged[name] = merge(live[name], value, child) if name in live else value
        return merged
    if isinstance(configuration, list) and isinstance(live, list) and node and node.list_type in {"map", "set"}:
        return _merged_list(live, configuration, node)
    return configuration


def _merged_list(live: list[Any], configuration: list[Any], node: Node) -> list[Any]:
    """Items known to both in the configuration's order, in the places live has them; new ones after their neighbour."""
    known = {element(each, node): each for each in live}
    merged = {
        element(each, node): merge(known[element(each, node)], each, node.items)
        if element(each, node) in known
        else each
        for each in configuration
    }
    shared = iter([key for key in merged if key in known])
    order = [next(shared) if key in merged else key for key in known]
    previous = None
    for key in merged:
        if key not in known:
            order.insert(order.index(previous) + 1 if previous in order else len(order), key)
        previous = key
    return [merged.get(key, known.get(key)) for key in order]

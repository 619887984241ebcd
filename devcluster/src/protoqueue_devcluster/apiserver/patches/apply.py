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
    """Items in the configuration's order; those only live has keep their place before the next one both have."""
    known = {element(each, node): each for each in live}
    wanted = {element(each, node): each for each in configuration}
    waiting = iter(known.items())
    result: list[Any] = []
    done: set[str] = set()
    shared = None  # the next item of live that the configuration has too, while its turn has not come
    for key, each in wanted.items():
        while shared is None and (passed := next(waiting, None)) is not None:
            if passed[0] not in wanted:
                result.append(passed[1])
            elif passed[0] not in done:
                shared = passed[0]
        result.append(merge(known[key], each, node.items) if key in known else each)
        done.add(key)
        shared = None if key == shared else shared
    return [*result, *(old for key, old in waiting if key not in wanted)]

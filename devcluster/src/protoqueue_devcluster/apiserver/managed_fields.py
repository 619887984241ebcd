"""Who owns which field of an object: `metadata.managedFields`.

An update owns what it changes and takes it from all others; an apply owns what it names, and clashes with others that
own the same with another value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .fieldsets import NOTHING, Paths, compare, decode, encode
from .schema import Node
from .statuses import ApiError, Cause

Object = dict[str, Any]
UNOWNED_METADATA = frozenset(
    {
        "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "name",
        "namespace", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Manager:
    """One entry: name and operation (Apply or Update) of who owns `paths`, and through which subresource."""

    name: str
    operation: str
    version: str
    subresource: str
    time: str
    paths: Paths
    tree: Object | None = field(default=None, compare=False)
    """`paths` as FieldsV1, where that is known."""

    def owning(self, paths: Paths) -> "Manager":
        """The same manager with other paths."""
        return self if paths == self.paths else replace(self, paths=paths, tree=None)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.name, self.operation, self.version, self.subresource

    def body(self) -> Object:
        entry: Object = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encode(self.paths) if self.tree is None else self.tree,
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


Managers = tuple[Manager, ...]


@dataclass(frozen=True)
class Writer:
    """Who writes now: the field manager, the API version spoken, the subresource, the time."""

    name: str
    version: str
    subresource: str
    time: str


def read_managers(obj: Object) -> Managers:
    """The managers an object records."""
    return tuple(
        Manager(
            name=entry.get("manager", ""),
            operation=entry.get("operation", "Update"),
            version=entry.get("apiVersion", ""),
            subresource=entry.get("subresource", ""),
            time=entry.get("time", ""),
            paths=decode(entry.get("fieldsV1")),
            tree=entry.get("fieldsV1"),
        )
        for entry in obj["metadata"].get("managedFields") or ()
    )


def with_managers(obj: Object, managers: Managers) -> Object:
    """`obj` recording these managers: appliers first, then by time and name, as the real server sorts them."""
    order = sorted(managers, key=lambda each: (each.operation, each.time, each.name, each.version, each.subresource))
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    if order:
        metadata["managedFields"] = [manager.body() for manager in order]
    return {**obj, "metadata": metadata}


def ownable(obj: Object, subresource: str, has_status: bool, custom: bool) -> Object:
    """The part of an object that a write through this subresource can come to own."""
    result = {name: value for name, value in obj.items() if name not in {"apiVersion", "kind", "metadata"}}
    metadata = {name: value for name, value in obj["metadata"].items() if name not in UNOWNED_METADATA}
    if subresource == "status":
        result.pop("spec", None)
        metadata = {} if custom else {name: each for name, each in metadata.items() if name != "labels"}
    elif has_status:
        result.pop("status", None)
    return {**result, "metadata": metadata} if metadata else result


def updated(managers: Managers, old: Object, new: Object, node: Node, writer: Writer) -> Managers:
    """Ownership after an update from `old` to `new` (both as `ownable` gives them)."""
    difference = compare(old, new, node)
    changed, gone = difference.added | difference.modified, difference.removed
    if not changed and not gone:
        return managers
    result, own = [], NOTHING
    for manager in managers:
        if (manager.name, manager.operation, manager.version, manager.subresource) == (
            writer.name,
            "Update",
            writer.version,
            writer.subresource,
        ):
            own = manager.paths
            continue
        result.append(manager.owning(manager.paths - changed - gone))
    own = (own - gone) | changed
    result.append(Manager(writer.name, "Update", writer.version, writer.subresource, writer.time, own))
    return tuple(manager for manager in result if manager.paths)


def applied(
    managers: Managers,
    old: Object,
    new: Object,
    node: Node,
    writer: Writer,
    paths: Paths,
    allowed: Paths | None = NOTHING,
) -> Managers:
    """Ownership after `writer` applied a configuration naming `paths`.

    Raises ApiError 409 on conflicts, except over the `allowed` paths; None allows all (a forced apply).
    """
    difference = compare(old, new, node)
    changed, gone = difference.added | difference.modified, difference.removed
    others = [each for each in managers if not is_applier(each, writer)]
    if allowed is not None:
        clashes = [(manager, (manager.paths & changed) - allowed) for manager in others]
        if any(clash for _, clash in clashes):
            raise conflict_error([(manager, clash) for manager, clash in clashes if clash])
    kept = [manager.owning(manager.paths - changed - gone) for manager in others]
    previous = next((each for each in managers if is_applier(each, writer)), None)
    time = previous.time if previous is not None and previous.paths == paths else writer.time
    own = Manager(writer.name, "Apply", writer.version, writer.subresource, time, paths)
    return tuple(manager for manager in [*kept, own] if manager.paths)


def is_applier(manager: Manager, writer: Writer) -> bool:
    """Whether this is the writer's own entry of earlier applies."""
    return (manager.name, manager.operation, manager.subresource) == (writer.name, "Apply", writer.subresource)


def conflict_error(clashes: Sequence[tuple[Manager, Paths]]) -> ApiError:
    named = sorted((_described(manager), dotted(path)) for manager, paths in clashes for path in paths)
    causes = [Cause("FieldManagerConflict", f"conflict with {who}", path).body() for who, path in named]
    if len(named) == 1:
        text = f"1 conflict: conflict with {named[0][0]}: {named[0][1]}"
    else:
        grouped: dict[str, list[str]] = {}
        for who, path in named:
            grouped.setdefault(who, []).append(path)
        lines = ["\n- ".join([f"conflicts with {who}:", *paths]) for who, paths in grouped.items()]
        text = f"{len(named)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", f"Apply failed with {text}", {"causes": causes})


def _described(manager: Manager) -> str:
    via = f" with subresource {_quoted(manager.subresource)}" if manager.subresource else ""
    using = f" using {manager.version}" if manager.operation == "Update" else ""
    return _quoted(manager.name) + via + using


def _quoted(text: str) -> str:
    return f'"{text}"'


def dotted(path: tuple[str, ...]) -> str:
    """A path as conflict messages print it: `.spec.containers[name="c"].image`."""
    text = ""
    for part in path:
        if part.startswith("f:"):
            text += f".{part[2:]}"
        elif part.startswith("k:"):
            inner = part[3:-1].replace('":', "=").replace(',"', ",")
            text += f"[{inner.removeprefix(chr(34))}]"
        else:
            text += f"[={part[2:]}]"
    return text

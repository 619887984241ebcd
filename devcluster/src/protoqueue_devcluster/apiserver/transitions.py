"""From an object as it is to what a write may make of it: pure, the same for every way of writing."""

from dataclasses import dataclass
from typing import Any

from . import statuses
from .kinds import Kind
from .managed_fields import Managers
from .storage import Item

Object = dict[str, Any]
NAMESPACES = ("", "namespaces")
KEPT_METADATA = (
    "name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
    "resourceVersion",
)  # fmt: skip


@dataclass(frozen=True)
class Transition:
    """A write about to be checked and stored: `old` and `new` in the version `kind` speaks, `item` as stored."""

    kind: Kind
    item: Item
    old: Object
    new: Object
    managers: Managers
    subresource: str
    warnings: tuple[str, ...] = ()


def kept_metadata(kind: Kind, given: Object, old: Object) -> Object:
    """The metadata given, with what a client cannot change as it was.

    Raises ApiError 400 for another name or namespace, 409 for a stale version or another uid.
    """
    kept = old["metadata"]
    check_name(given, kept["name"])
    if given.get("namespace", kept.get("namespace")) != kept.get("namespace"):
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise statuses.bad_request(text)
    check_version(kind, given, old)
    if given.get("uid") and given["uid"] != kept["uid"]:
        text = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {kept['uid']}"
        raise statuses.conflict(kind.group, kind.plural, kept["name"], text)
    dropped = {"managedFields", "selfLink", *KEPT_METADATA}
    metadata = {key: value for key, value in given.items() if key not in dropped}
    return metadata | {key: kept[key] for key in KEPT_METADATA if key in kept}


def check_name(given: Object, name: str) -> None:
    """Raises ApiError 400 where the metadata given name another object than the path does."""
    stated = given.get("name", name)
    if stated != name:
        text = f"the name of the object ({stated}) does not match the name on the URL ({name})"
        raise statuses.bad_request(text)


def check_version(kind: Kind, given: Object, old: Object) -> None:
    """Raises ApiError 409 where the metadata given name another resourceVersion than the object has."""
    stated = given.get("resourceVersion")
    if stated and stated != old["metadata"]["resourceVersion"]:
        raise statuses.conflict(kind.group, kind.plural, old["metadata"]["name"])


def limited(kind: Kind, new: Object, old: Object, subresource: str) -> Object:
    """`new` as far as this subresource reaches: `status` changes only the status, nothing else ever does."""
    if subresource == "status":
        return _status_only(kind, new, old)
    if kind.storage_key == NAMESPACES and subresource != "finalize":
        new = {**new, "spec": old.get("spec", {})}
    if not kind.status:
        return new
    rest = {name: value for name, value in new.items() if name != "status"}
    return {**rest, "status": old["status"]} if "status" in old else rest


def _status_only(kind: Kind, new: Object, old: Object) -> Object:
    """Built-in kinds let a status writer annotate too, but not label."""
    result = {name: value for name, value in old.items() if name != "status"}
    if not kind.custom:
        metadata = {name: value for name, value in new["metadata"].items() if name != "labels"}
        labels = {name: value for name, value in old["metadata"].items() if name == "labels"}
        result["metadata"] = {**metadata, **labels}
    return {**result, "status": new["status"]} if "status" in new else result


def with_generation(kind: Kind, new: Object, old: Object) -> Object:
    """A change of anything but metadata and status is a new generation."""
    if not (kind.generation or kind.custom):
        return new
    ignored = {"metadata", "status"} if kind.status else {"metadata"}
    if all(new.get(key) == old.get(key) for key in {*new, *old} - ignored):
        return new
    generation = old["metadata"].get("generation", 0) + 1
    return {**new, "metadata": {**new["metadata"], "generation": generation}}


def rejoined(old: Object, merged: Object, live: Object) -> Object:
    """What an apply made of the ownable part of an object, put back among what cannot be owned."""
    rest = {name: value for name, value in old.items() if name not in live or name == "metadata"}
    owned = set(live.get("metadata", {}))
    kept = {name: value for name, value in old["metadata"].items() if name not in owned}
    return {**rest, **merged, "metadata": {**kept, **merged.get("metadata", {})}}


def check_finalizers(kind: Kind, new: Object, old: Object) -> None:
    """Raises ApiError 422 where a finalizer is added to an object that is being deleted."""
    if not old["metadata"].get("deletionTimestamp"):
        return
    before = set(old["metadata"].get("finalizers", []))
    added = [each for each in new["metadata"].get("finalizers", []) if each not in before]
    if added:
        listed = ", ".join(f'"{each}"' for each in added)
        text = "no new finalizers can be added if the object is being deleted, found new finalizers"
        cause = statuses.forbidden_field("metadata.finalizers", f"{text} []string{{{listed}}}")
        raise statuses.invalid(kind.group, kind.kind, old["metadata"]["name"], [cause])


def ends(obj: Object) -> bool:
    """Whether an object is being deleted and nothing holds it any more."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("deletionGracePeriodSeconds"):
        return False
    return not metadata.get("finalizers") and not (obj.get("spec") or {}).get("finalizers")


def changes_nothing(transition: Transition, before: Managers) -> bool:
    """Whether content and ownership stay as they are; such a write leaves the resourceVersion alone."""
    if _content(transition.new) != _content(transition.old):
        return False
    return _ownership(transition.managers) == _ownership(before)


def _content(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in {"managedFields", "resourceVersion"}}
    return {**obj, "metadata": metadata}


def _ownership(managers: Managers) -> set[Any]:
    return {(manager.identity, manager.paths) for manager in managers}

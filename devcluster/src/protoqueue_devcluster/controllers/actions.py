"""What a plan may ask for: writes to the API server, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue_devcluster.kube.client import Kind, Object


@dataclass(frozen=True)
class Create:
    """POST of a new object, or of a subresource such as `binding` when `name` and `subresource` are given."""

    kind: Kind
    body: Object
    name: str | None = None
    subresource: str = ""


@dataclass(frozen=True)
class Merge:
    """Merge patch of an object or of one of its subresources."""

    kind: Kind
    target: Object
    patch: Object
    subresource: str | None = None


@dataclass(frozen=True)
class Delete:
    """Deletion of exactly this object."""

    kind: Kind
    target: Object


Action = Create | Merge | Delete


@dataclass(frozen=True)
class Plan:
    """Writes in the order in which they are to happen, and when to look again even if nothing changes."""

    actions: tuple[Action, ...] = ()
    look_again_s: float | None = None


def merge_difference(observed: Mapping[str, Any], desired: Mapping[str, Any]) -> Object:
    """The merge patch from `observed` to `desired`, field by field; None in `desired` means absent. Empty if equal."""
    return {field: value for field, value in desired.items() if observed.get(field) != value}


def status_update(kind: Kind, obj: Object, desired: Mapping[str, Any]) -> tuple[Action, ...]:
    """The write that brings the object's status to `desired`, or nothing."""
    difference = merge_difference(obj.get("status") or {}, desired)
    return (Merge(kind, obj, {"status": difference}, "status"),) if difference else ()


def soonest(*delays_s: float | None) -> float | None:
    return min((delay for delay in delays_s if delay is not None), default=None)

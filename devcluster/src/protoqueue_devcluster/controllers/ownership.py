"""Who controls what, which labels select what."""

from collections.abc import Iterable
from typing import Any

from protoqueue_devcluster.kube.client import Kind, Object


def owner_reference(kind: Kind, owner: Object) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller, if there is one."""
    for reference in obj["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def controlled_by(owner: Object, objects: Iterable[Object]) -> list[Object]:
    """Those of `objects` that `owner` controls: by uid, so a predecessor of the same name owns nothing."""
    uid = owner["metadata"]["uid"]
    return [obj for obj in objects if (reference := controller_of(obj)) is not None and reference["uid"] == uid]


def is_leaving(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def matches(selector: Any, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels and matchExpressions) selects these labels; an empty one selects all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Object, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case unknown:
            raise ValueError(f"unknown label selector operator {unknown!r}")

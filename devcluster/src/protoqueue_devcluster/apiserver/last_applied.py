"""Moving from client-side to server-side apply: what the annotation of the former allows the latter.

kubectl's server-side apply may take over, without a conflict, fields that an earlier client-side apply set and that
still have that value. Another field manager's may not: naming one opts out.
"""

import json
from typing import Any

from .fieldsets import NOTHING, Paths, compare, leaves
from .kinds import Kind
from .managed_fields import ownable
from .storage import encoded

Object = dict[str, Any]
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"


def _annotated(part: Object) -> str:
    return str((part.get("metadata", {}).get("annotations") or {}).get(ANNOTATION, ""))


def paths(live: Object, kind: Kind, manager: str) -> Paths:
    """The fields of `live` that are as they were applied; none for other managers or without the annotation."""
    text = _annotated(live) if manager == MANAGER else ""
    if not text:
        return NOTHING
    try:
        configuration = json.loads(text)
        part = ownable(configuration, "", kind.status, kind.custom)
    except (ValueError, KeyError, TypeError, AttributeError):
        return NOTHING  # someone else wrote the annotation
    difference = compare(part, live, kind.schema)
    return frozenset(leaves(part, kind.schema)) - difference.modified - difference.added - difference.removed


def refreshed(part: Object, configuration: Object, manager: str) -> Object:
    """`part` with the annotation, if it has one, saying what is applied now: a later client-side apply needs it."""
    if manager != MANAGER or not _annotated(part):
        return part
    metadata = {key: value for key, value in configuration["metadata"].items() if key != "managedFields"}
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != ANNOTATION}
    body = {**configuration, "metadata": {**metadata, "annotations": kept}}
    annotations = {**part["metadata"]["annotations"], ANNOTATION: encoded(body).decode() + "\n"}
    return {**part, "metadata": {**part["metadata"], "annotations": annotations}}

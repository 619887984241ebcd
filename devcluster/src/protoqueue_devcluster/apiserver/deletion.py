"""Deleting: preconditions, finalizers, grace periods, and what becomes of dependents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from . import statuses
from .decoding import check_shape
from .kinds import Kind
from .options import dry_run_causes
from .registry import Registry, timestamp
from .statuses import bad_request, not_supported
from .storage import Item

Object = dict[str, Any]
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
NAMESPACES = ("", "namespaces")
DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")
POLICIES = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True)
class DeleteOptions:
    """How a delete was asked for; `grace_s` None means the object's own grace period."""

    grace_s: int | None = None
    policy: str = "Background"
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def parse_delete_options(body: Any, query: Mapping[str, str]) -> DeleteOptions:
    """Options from the body, else from the query. Raises ApiError 400, 422."""
    given = check_shape("V1DeleteOptions", body or {})
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    policy = given.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
    orphan = given.get("orphanDependents", query.get("orphanDependents"))
    dry_run = given.get("dryRun") or query.get("dryRun")
    causes = list(dry_run_causes(dry_run))
    if policy not in POLICIES:
        causes.append(not_supported("propagationPolicy", policy, [*POLICIES, "nil"]))
    if causes:
        raise statuses.invalid("meta.k8s.io", "DeleteOptions", "", causes)
    if orphan in {True, "true"}:
        policy = "Orphan"
    preconditions = given.get("preconditions") or {}
    try:
        grace_s = None if grace is None else int(grace)
    except ValueError:
        raise bad_request(f"invalid gracePeriodSeconds: {grace}") from None
    return DeleteOptions(
        grace_s, policy, preconditions.get("uid", ""), preconditions.get("resourceVersion", ""), bool(dry_run)
    )


@dataclass(frozen=True)
class Deleted:
    """What became of it: `gone`, or still there being deleted."""

    object: Object
    gone: bool


class Deletion:
    """Deletes objects on request; see `garbage` for what follows by itself."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store

    def delete(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """Raises ApiError 404, and 409 where a precondition fails."""
        item = self._registry.get(kind, namespace, name)
        self._check_preconditions(kind, item.object, options)
        marked = self._marked(kind, item, options)
        grace = marked["metadata"].get("deletionGracePeriodSeconds", 0)
        held = bool(marked["metadata"].get("finalizers")) or kind.storage_key == NAMESPACES
        if options.dry_run:
            return Deleted(marked, not held and grace == 0)
        if not held and grace == 0:
            gone = self._store.remove(kind.storage_key, namespace, name, item.object)
            return Deleted(gone.object, True)
        if marked != item.object:
            marked = self._store.put(kind.storage_key, namespace, name, marked).object
        return Deleted(marked, False)

    def _check_preconditions(self, kind: Kind, obj: Object, options: DeleteOptions) -> None:
        metadata = obj["metadata"]
        for what, wanted, actual in (
            ("UID", options.uid, metadata["uid"]),
            ("ResourceVersion", options.resource_version, metadata["resourceVersion"]),
        ):
            if wanted and wanted != actual:
                text = (
                    f"the {what} in the precondition ({wanted}) does not match the {what} in record ({actual}). "
                    "The object might have been deleted and then recreated"
                    if what == "UID"
                    else f"the {what} in the precondition ({wanted}) does not match the {what} in record ({actual}). "
                    "The object might have been modified"
                )
                raise statuses.conflict(kind.group, kind.kind if kind.custom else kind.plural, metadata["name"], text)

    def _marked(self, kind: Kind, item: Item, options: DeleteOptions) -> Object:
        """The object as being deleted, with the finalizers its propagation policy asks for."""
        obj = item.object
        metadata = dict(obj["metadata"])
        finalizers = [each for each in metadata.get("finalizers", []) if each not in {ORPHAN, FOREGROUND}]
        if options.policy == "Foreground":
            finalizers.append(FOREGROUND)
        elif options.policy == "Orphan":
            finalizers.append(ORPHAN)
        if kind.storage_key == DEFINITIONS and CLEANUP_FINALIZER not in finalizers:
            finalizers.append(CLEANUP_FINALIZER)
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        grace = _grace_s(kind, obj, options)
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
            if kind.storage_key != NAMESPACES:
                metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata:
                metadata["generation"] += 1
        elif grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = timestamp(datetime.now(UTC) + timedelta(seconds=grace))
            metadata["deletionGracePeriodSeconds"] = grace
        marked = {**obj, "metadata": metadata}
        if kind.storage_key == NAMESPACES:
            marked["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        return marked


def _grace_s(kind: Kind, obj: Object, options: DeleteOptions) -> int:
    """Only pods wait, and only those a node has taken and that still run."""
    if kind.storage_key != ("", "pods"):
        return 0
    spec, status = obj.get("spec", {}), obj.get("status", {})
    if not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
        return 0
    default = int(spec.get("terminationGracePeriodSeconds", 30))
    return default if options.grace_s is None else max(0, options.grace_s)

"""Custom resource definitions: checked, put into the table of kinds, taken out again."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import statuses
from .decoding import as_read
from .definition_checks import definition_causes
from .deletion import CLEANUP_FINALIZER, DeleteOptions, Deletion
from .kinds import METADATA, Column, Kind, Kinds, ScalePaths
from .options import WriteOptions
from .registry import Registry, timestamp
from .rule_costs import costly
from .schema import Node, parse_schema
from .storage import Event, Key
from .strategies import missing_fields

Object = dict[str, Any]
RESOURCE = ("apiextensions.k8s.io", "customresourcedefinitions")
AGE = Column("Age", "date", ".metadata.creationTimestamp")
ANY_FIELD = Node(type="object", fields={"metadata": METADATA}, preserve=True, bare=True)
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


class Definitions:
    """Serves what the stored definitions define, from the moment they are written."""

    def __init__(self, registry: Registry, deletion: Deletion) -> None:
        self._registry = registry
        self._deletion = deletion
        self._kinds: Kinds = registry.kinds
        registry.admission.append(self._admit)
        registry.store.changed.append(self._written)

    def _admit(self, kind: Kind, obj: Object, old: Object | None) -> Object:
        if kind.storage_key != RESOURCE:
            return obj
        if old is None or obj.get("spec") != old.get("spec"):
            causes = missing_fields(obj, kind) or list(definition_causes(obj, old))
            if causes:
                raise statuses.invalid(kind.group, kind.kind, obj["metadata"]["name"], causes)
        if old is None:
            stored = [version["name"] for version in obj["spec"]["versions"] if version.get("storage")]
            blank = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}
            return {**obj, "status": blank}
        return obj

    def _written(self, key: Key, event: Event) -> None:
        if key != RESOURCE:
            if event.type == "DELETED" and self._registry.store.collection(RESOURCE).get("", f"{key[1]}.{key[0]}"):
                asyncio.get_running_loop().call_soon(self._settle, f"{key[1]}.{key[0]}")
            return
        spec = event.item.object["spec"]
        resource = (spec["group"], spec["names"]["plural"])
        if event.type == "DELETED":
            self._kinds.install(*resource, ())
            self._registry.store.drop(resource)
            return
        if event.before is None or event.before.object["spec"] != spec:
            self._kinds.install(*resource, versions_of(event.item.object))
            self._reread(resource)
        asyncio.get_running_loop().call_soon(self._settle, event.item.object["metadata"]["name"])

    def _reread(self, resource: tuple[str, str]) -> None:
        """Real servers prune and complete by the present schema whenever they read from etcd; here that is once."""
        kind = self._kinds.storage(*resource)
        if kind is not None:
            self._registry.store.collection(resource).replace_all(lambda obj: as_read(kind, obj))

    def _settle(self, name: str) -> None:
        """Accept the names; of a definition that is being deleted, delete all objects and then let it go."""
        item = self._registry.store.collection(RESOURCE).get("", name)
        if item is None:
            return
        obj, status = item.object, item.object.get("status", {})
        if obj["metadata"].get("deletionTimestamp"):
            self._clean_up(obj)
            return
        accepted = _accepted(obj, status)
        kind = self._kinds.storage(*RESOURCE)
        if accepted != status and kind is not None:
            options = WriteOptions(manager="kube-apiserver")
            self._registry.update(kind, "", name, lambda old: {**old, "status": accepted}, "status", options)

    def _clean_up(self, obj: Object) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        if CLEANUP_FINALIZER not in finalizers:
            return
        spec = obj["spec"]
        kind = self._kinds.storage(spec["group"], spec["names"]["plural"])
        collection = self._registry.store.collection((spec["group"], spec["names"]["plural"]))
        for item in collection.items() if kind is not None else ():
            metadata = item.object["metadata"]
            if kind is not None and not metadata.get("deletionTimestamp"):
                self._deletion.delete(kind, metadata.get("namespace", ""), metadata["name"], DeleteOptions())
        if collection.items():
            return
        left = [each for each in finalizers if each != CLEANUP_FINALIZER]
        metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
        if left:
            metadata["finalizers"] = left
        self._registry.store.put(RESOURCE, "", obj["metadata"]["name"], {**obj, "metadata": metadata})


def _accepted(obj: Object, status: Object) -> Object:
    now = timestamp()
    established = [
        {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found"},
        {"type": "Established", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"},
    ]
    conditions = [{**condition, "status": "True", "lastTransitionTime": now} for condition in established]
    known = {each["type"] for each in status.get("conditions") or []}
    kept = [*(status.get("conditions") or []), *(each for each in conditions if each["type"] not in known)]
    storage = [version["name"] for version in obj["spec"]["versions"] if version.get("storage")]
    stored = list(dict.fromkeys([*(status.get("storedVersions") or []), *storage]))
    return {"conditions": kept, "acceptedNames": obj["spec"]["names"], "storedVersions": stored}


def versions_of(definition: Object) -> tuple[Kind, ...]:
    """The kinds a definition serves, one per served version."""
    spec = definition["spec"]
    names = spec["names"]
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    made = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        scale = subresources.get("scale")
        raw = (version.get("schema") or {}).get("openAPIV3Schema")
        made.append(
            Kind(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                schema=_parsed(raw) if raw else ANY_FIELD,
                singular=names["singular"],
                list_kind=names["listKind"],
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                verbs=CUSTOM_VERBS,
                status="status" in subresources,
                scale=_scale_paths(scale) if scale else None,
                generation=True,
                custom=True,
                storage_version=storage,
                columns=_columns(version.get("additionalPrinterColumns")),
                selectable=tuple(each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()),
                raw_schema=raw or {},
            )
        )
    return tuple(made)


def _parsed(raw: Mapping[str, Any]) -> Node:
    return replace(parse_schema(raw, METADATA), costly=costly(raw))


def _scale_paths(scale: Mapping[str, str]) -> ScalePaths:
    return ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", ""))


def _columns(raw: Any) -> tuple[Column, ...]:
    if not raw:
        return (AGE,)
    return tuple(
        Column(
            each["name"], each["type"], each["jsonPath"], each.get("description", ""), each.get("format", ""),
            each.get("priority", 0),
        )
        for each in raw
    )  # fmt: skip

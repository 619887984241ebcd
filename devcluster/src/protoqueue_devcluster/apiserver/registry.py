"""Create, update, patch and delete as Kubernetes means them: versions, generations, ownership, finalizers."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import last_applied, names, statuses
from .decoding import decode, fill
from .kinds import Kind, Kinds
from .managed_fields import Managers, Writer, applied, ownable, read_managers, updated, with_managers
from .patches.apply import apply_configuration
from .schema import MISSING
from .statuses import Cause
from .storage import Item, Store
from .strategies import missing_fields, strategy_of
from .validation import validate

Object = dict[str, Any]
Change = Callable[[Object], Object]
KEPT_METADATA = (
    "name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
    "resourceVersion",
)  # fmt: skip
MUST_NAME_VERSION = frozenset({("coordination.k8s.io", "leases")})


@dataclass(frozen=True)
class WriteOptions:
    """How a write was asked for."""

    manager: str = "unknown"
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False


@dataclass(frozen=True)
class Written:
    """The object after a write; `created` tells 201 from 200."""

    object: Object
    warnings: tuple[str, ...] = ()
    created: bool = False


def timestamp(now: datetime | None = None) -> str:
    """RFC 3339 to the second, as metadata holds it."""
    return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Registry:
    """All writes; every check happens before anything is stored.

    `created` hooks may refuse or complete an object before it is validated (namespaces, custom resource definitions).
    """

    def __init__(self, store: Store, kinds: Kinds) -> None:
        self.store = store
        self.kinds = kinds
        self.admission: list[Callable[[Kind, Object, Object | None], Object]] = []

    def get(self, kind: Kind, namespace: str, name: str) -> Item:
        """Raises ApiError 404."""
        item = self.store.collection(kind.storage_key).get(namespace, name)
        if item is None:
            raise statuses.not_found(kind.group, kind.plural, name)
        return item

    # -- create ------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, namespace: str, body: Object, options: WriteOptions) -> Written:
        decoded = decode(kind, body, options.field_validation)
        metadata = self._new_metadata(kind, namespace, decoded.object["metadata"])
        obj = fill(kind, {**decoded.object, "metadata": metadata})
        writer = Writer(options.manager, kind.group_version, "", timestamp())
        new = ownable(obj, "", kind.status, kind.custom)
        managers = updated((), {"metadata": {}}, {"metadata": {}, **new}, kind.schema, writer)
        return self._insert(kind, obj, managers, options, decoded.warnings)

    def _new_metadata(self, kind: Kind, namespace: str, given: Object) -> Object:
        stated = given.get("namespace", "")
        if stated and stated != namespace:
            where = "the namespace of the provided object does not match the namespace sent on the request"
            raise statuses.bad_request(where)
        name = given.get("name") or (names.generated(given["generateName"]) if given.get("generateName") else "")
        if not name:
            cause = statuses.required("metadata.name", "name or generateName is required")
            raise statuses.invalid(kind.group, kind.kind, "", [cause])
        dropped = {"resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"}
        if given.get("resourceVersion"):
            raise statuses.bad_request("resourceVersion should not be set on objects to be created")
        metadata = {key: value for key, value in given.items() if key not in dropped}
        metadata |= {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        if kind.namespaced:
            metadata["namespace"] = namespace
        if kind.generation or kind.custom:
            metadata["generation"] = 1
        return metadata

    def _insert(
        self, kind: Kind, obj: Object, managers: Managers, options: WriteOptions, warnings: list[str]
    ) -> Written:
        if kind.custom and kind.status:
            obj = {name: value for name, value in obj.items() if name != "status"}
        obj = strategy_of(kind).create(obj)
        metadata = obj["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        for admit in self.admission:
            obj = admit(kind, obj, None)
        self._check(kind, obj, None)
        if self.store.collection(kind.storage_key).get(namespace, name) is not None:
            raise statuses.already_exists(kind.group, kind.plural, name)
        obj = with_managers(obj, managers)
        if not options.dry_run:
            stored = self.store.put(kind.storage_key, namespace, name, self._as_stored(kind, obj))
            obj = self.as_version(kind, stored.object)
        return Written(obj, tuple(warnings), created=True)

    def _check(self, kind: Kind, obj: Object, old: Object | None) -> None:
        metadata, name = obj["metadata"], obj["metadata"]["name"]
        causes: list[Cause] = []
        if old is None:
            causes += names.name_causes(kind.storage_key, name)
        if old is None or metadata != old["metadata"]:
            causes += names.metadata_causes(metadata)
        if kind.custom:
            causes += validate(obj, MISSING if old is None else old, kind.schema) if not causes else []
        else:
            causes += missing_fields(obj, kind) if old is None or obj.get("spec") != old.get("spec") else []
            causes += strategy_of(kind).check(obj, old)
        if causes:
            raise statuses.invalid(kind.group, kind.kind, name, causes)

    # -- update ------------------------------------------------------------------------------------------------

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Object, subresource: str, options: WriteOptions
    ) -> Written:
        """PUT. Raises ApiError 404, 409, 422."""
        given = body.get("metadata") or {}
        if given.get("name", name) != name:
            raise statuses.bad_request(
                f"the name of the object ({given.get('name')}) does not match the name on the URL ({name})"
            )
        if (kind.custom or kind.storage_key in MUST_NAME_VERSION) and not given.get("resourceVersion"):
            self.get(kind, namespace, name)
            cause = statuses.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise statuses.invalid(kind.group, kind.kind, name, [cause])
        return self.update(kind, namespace, name, lambda _: body, subresource, options)

    def update(
        self, kind: Kind, namespace: str, name: str, change: Change, subresource: str, options: WriteOptions
    ) -> Written:
        """Write what `change` makes of the current object. Raises what it raises, and ApiError 404, 409, 422."""
        item = self.get(kind, namespace, name)
        old = self.as_version(kind, item.object)
        decoded = decode(kind, change(old), options.field_validation, old)
        kept = self._kept_metadata(kind, decoded.object["metadata"], old)
        new = fill(kind, {**decoded.object, "metadata": kept}, old)
        new = self._limited(kind, new, old, subresource)
        writer = Writer(options.manager, kind.group_version, subresource, timestamp())
        managers = self._stated_managers(decoded.object, item, subresource)
        after = updated(
            managers,
            ownable(old, subresource, kind.status, kind.custom),
            ownable(new, subresource, kind.status, kind.custom),
            kind.schema,
            writer,
        )
        if subresource == "scale":
            after = self._after_scaling(kind, after, new, writer)
        return self._store(kind, item, old, new, after, subresource, options, decoded.warnings)

    def _after_scaling(self, kind: Kind, managers: Managers, new: Object, writer: Writer) -> Managers:
        """Whoever scales takes the replicas from their owner; a custom resource's, or none, stay without one."""
        if not kind.custom and (new.get("spec") or {}).get("replicas"):
            return managers
        own = (writer.name, "Update", writer.version, "scale")
        return tuple(manager for manager in managers if manager.identity != own)

    def _managers(self, item: Item) -> Managers:
        """Reading them takes a while, so an item keeps them."""
        if item.managers is None:
            item.managers = read_managers(item.object)
        managers: Managers = item.managers
        return managers

    def _stated_managers(self, new: Object, item: Item, subresource: str) -> Managers:
        """A client may write managedFields themselves; an empty entry resets them."""
        stated = new["metadata"].get("managedFields")
        if subresource or not stated or stated is item.object["metadata"].get("managedFields"):
            return self._managers(item)
        return () if stated == [{}] else read_managers(new)

    def apply(
        self, kind: Kind, namespace: str, name: str, body: Object, subresource: str, options: WriteOptions
    ) -> Written:
        """Server-side apply: creates what does not exist. Raises ApiError 409 on conflicts with other managers."""
        decoded = decode(kind, body, options.field_validation)
        configuration = decoded.object
        configuration["metadata"] = {**configuration["metadata"], "name": name}
        if configuration["metadata"].get("managedFields"):
            raise statuses.bad_request("metadata.managedFields must be nil")
        writer = Writer(options.manager, kind.group_version, subresource, timestamp())
        item = self.store.collection(kind.storage_key).get(namespace, name)
        part = ownable(configuration, subresource, kind.status, kind.custom)
        if item is None:
            if subresource:
                raise statuses.not_found(kind.group, kind.plural, name)
            metadata = self._new_metadata(kind, namespace, configuration["metadata"])
            obj = fill(kind, {**configuration, "metadata": metadata})
            _, paths = apply_configuration({}, part, kind.schema, (), writer)
            managers = applied((), {}, {}, kind.schema, writer, paths)
            return self._insert(kind, obj, managers, options, decoded.warnings)
        old = self.as_version(kind, item.object)
        stated = configuration["metadata"].get("resourceVersion")
        if stated and stated != old["metadata"]["resourceVersion"]:
            raise statuses.conflict(kind.group, kind.plural, name)
        managers = self._managers(item)
        live = ownable(old, subresource, kind.status, kind.custom)
        merged, paths = apply_configuration(live, part, kind.schema, managers, writer)
        allowed = None if options.force else last_applied.paths(live, kind, options.manager)
        after = applied(managers, live, merged, kind.schema, writer, paths, allowed)
        merged = last_applied.refreshed(merged, configuration, options.manager)
        new = fill(kind, self._rejoined(old, merged, live))
        new = self._limited(kind, new, old, subresource)
        return self._store(kind, item, old, new, after, subresource, options, decoded.warnings)

    def _rejoined(self, old: Object, merged: Object, live: Object) -> Object:
        """The merged part put back among what cannot be owned."""
        rest = {name: value for name, value in old.items() if name not in live or name == "metadata"}
        owned = set(live.get("metadata", {}))
        kept = {name: value for name, value in old["metadata"].items() if name not in owned}
        return {**rest, **merged, "metadata": {**kept, **merged.get("metadata", {})}}

    def _kept_metadata(self, kind: Kind, given: Object, old: Object) -> Object:
        kept = old["metadata"]
        stated = given.get("resourceVersion")
        if stated and stated != kept["resourceVersion"]:
            raise statuses.conflict(kind.group, kind.plural, kept["name"])
        if given.get("uid") and given["uid"] != kept["uid"]:
            text = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {kept['uid']}"
            raise statuses.conflict(kind.group, kind.plural, kept["name"], text)
        metadata = {key: value for key, value in given.items() if key not in {"managedFields", "selfLink"}}
        for key in KEPT_METADATA:
            metadata.pop(key, None)
            if key in kept:
                metadata[key] = kept[key]
        return metadata

    def _limited(self, kind: Kind, new: Object, old: Object, subresource: str) -> Object:
        """Writes through `status` change only the status, writes to the object never do."""
        if subresource == "status":
            if kind.custom:
                limited = dict(old)
            else:
                labels = {"labels": old["metadata"]["labels"]} if "labels" in old["metadata"] else {}
                limited = {**old, "metadata": {**new["metadata"], **labels}}
            if "status" in new:
                return {**limited, "status": new["status"]}
            limited.pop("status", None)
            return limited
        if kind.status:
            limited = {name: value for name, value in new.items() if name != "status"}
            return {**limited, "status": old["status"]} if "status" in old else limited
        return new

    def _store(
        self, kind: Kind, item: Item, old: Object, new: Object, managers: Managers, subresource: str,
        options: WriteOptions, warnings: list[str],
    ) -> Written:  # fmt: skip
        namespace, name = old["metadata"].get("namespace", ""), old["metadata"]["name"]
        for admit in self.admission:
            new = admit(kind, new, old)
        if subresource != "status":
            new = self._with_generation(kind, new, old)
        before = self._managers(item)
        if _content(new) == _content(old) and _ownership(managers) == _ownership(before):
            return Written(old, tuple(warnings))
        self._check(kind, new, old)
        self._check_finalizers(kind, new, old)
        new = with_managers(new, managers)
        if options.dry_run:
            return Written(new, tuple(warnings))
        if new["metadata"].get("deletionTimestamp") and _unheld(new):
            self.store.remove(kind.storage_key, namespace, name, self._as_stored(kind, new))
            return Written(new, tuple(warnings))
        stored = self.store.put(kind.storage_key, namespace, name, self._as_stored(kind, new))
        return Written(self.as_version(kind, stored.object), tuple(warnings))

    def _with_generation(self, kind: Kind, new: Object, old: Object) -> Object:
        if not (kind.generation or kind.custom):
            return new
        ignored = {"metadata", "status"} if kind.status else {"metadata"}
        if all(new.get(key) == old.get(key) for key in {*new, *old} - ignored):
            return new
        generation = old["metadata"].get("generation", 0) + 1
        return {**new, "metadata": {**new["metadata"], "generation": generation}}

    def _check_finalizers(self, kind: Kind, new: Object, old: Object) -> None:
        if not old["metadata"].get("deletionTimestamp"):
            return
        before = set(old["metadata"].get("finalizers", []))
        added = [each for each in new["metadata"].get("finalizers", []) if each not in before]
        if added:
            listed = ", ".join(f'"{each}"' for each in added)
            text = "no new finalizers can be added if the object is being deleted, found new finalizers"
            cause = statuses.forbidden_field("metadata.finalizers", f"{text} []string{{{listed}}}")
            raise statuses.invalid(kind.group, kind.kind, old["metadata"]["name"], [cause])

    def as_version(self, kind: Kind, obj: Object) -> Object:
        """A stored object in the version `kind` speaks: versions differ in name only."""
        if obj["apiVersion"] == kind.group_version:
            return obj
        return {**obj, "apiVersion": kind.group_version}

    def _as_stored(self, kind: Kind, obj: Object) -> Object:
        if not kind.storage_version or kind.version == kind.storage_version:
            return obj
        return {**obj, "apiVersion": f"{kind.group}/{kind.storage_version}"}


def _unheld(obj: Object) -> bool:
    """Whether nothing keeps an object that is being deleted."""
    if obj["metadata"].get("finalizers") or (obj.get("spec") or {}).get("finalizers"):
        return False
    return not obj["metadata"].get("deletionGracePeriodSeconds")


def _content(obj: Object) -> Object:
    """An object without what changes by itself."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in {"managedFields", "resourceVersion"}}
    return {**obj, "metadata": metadata}


def _ownership(managers: Managers) -> set[Any]:
    return {(manager.identity, manager.paths) for manager in managers}

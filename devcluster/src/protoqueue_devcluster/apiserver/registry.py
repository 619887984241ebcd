"""Create, update, patch and delete as Kubernetes means them: versions, generations, ownership, finalizers."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from . import last_applied, names, statuses
from .decoding import decode, decode_configuration, fill
from .kinds import Kind, Kinds
from .managed_fields import Managers, Writer, applied, ownable, read_managers, updated, with_managers
from .options import WriteOptions
from .patches.apply import apply_configuration
from .schema import MISSING
from .statuses import Cause
from .storage import Item, Store
from .strategies import missing_fields, strategy_of
from .transitions import (
    Transition,
    changes_nothing,
    check_finalizers,
    check_name,
    check_version,
    ends,
    kept_metadata,
    limited,
    rejoined,
    with_generation,
)
from .validation import validate

Object = dict[str, Any]
Change = Callable[[Object], Object]
MUST_NAME_VERSION = frozenset({("coordination.k8s.io", "leases")})


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

    The `admission` hooks may refuse or complete an object before it is validated (namespaces, definitions).
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
        self, kind: Kind, obj: Object, managers: Managers, options: WriteOptions, warnings: tuple[str, ...]
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
        return Written(obj, warnings, created=True)

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
        if not given.get("name"):
            undeterminable = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            raise statuses.bad_request(undeterminable)
        check_name(given, name)
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
        kept = kept_metadata(kind, decoded.object["metadata"], old)
        new = fill(kind, {**decoded.object, "metadata": kept}, old)
        new = limited(kind, new, old, subresource)
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
        return self._store(Transition(kind, item, old, new, after, subresource, decoded.warnings), options)

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
        configuration = decode_configuration(kind, body)
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
            return self._insert(kind, obj, managers, options, ())
        old = self.as_version(kind, item.object)
        check_version(kind, configuration["metadata"], old)
        managers = self._managers(item)
        live = ownable(old, subresource, kind.status, kind.custom)
        merged, paths = apply_configuration(live, part, kind.schema, managers, writer)
        allowed = None if options.force else last_applied.paths(live, kind, options.manager)
        after = applied(managers, live, merged, kind.schema, writer, paths, allowed)
        merged = last_applied.refreshed(merged, configuration, options.manager)
        new = fill(kind, rejoined(old, merged, live))
        new = limited(kind, new, old, subresource)
        return self._store(Transition(kind, item, old, new, after, subresource), options)

    def _store(self, transition: Transition, options: WriteOptions) -> Written:
        kind, item, old, new = transition.kind, transition.item, transition.old, transition.new
        for admit in self.admission:
            new = admit(kind, new, old)
        if transition.subresource != "status":
            new = with_generation(kind, new, old)
        transition = replace(transition, new=new)
        if changes_nothing(transition, self._managers(item)):
            return Written(old, transition.warnings)
        self._check(kind, new, old)
        check_finalizers(kind, new, old)
        new = with_managers(new, transition.managers)
        if not options.dry_run:
            namespace, name = old["metadata"].get("namespace", ""), old["metadata"]["name"]
            stored = self._as_stored(kind, new)
            if ends(new):
                self.store.remove(kind.storage_key, namespace, name, stored)
            else:
                new = self.as_version(kind, self.store.put(kind.storage_key, namespace, name, stored).object)
        return Written(new, transition.warnings)

    def as_version(self, kind: Kind, obj: Object) -> Object:
        """A stored object in the version `kind` speaks: versions differ in name only."""
        if obj["apiVersion"] == kind.group_version:
            return obj
        return {**obj, "apiVersion": kind.group_version}

    def _as_stored(self, kind: Kind, obj: Object) -> Object:
        if not kind.storage_version or kind.version == kind.storage_version:
            return obj
        return {**obj, "apiVersion": f"{kind.group}/{kind.storage_version}"}

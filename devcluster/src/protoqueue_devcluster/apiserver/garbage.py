"""What follows from writes by itself: owner references, propagation policies, namespaces that empty.

Runs right after the write that caused it, in the same event loop turn or the next, never inside it.
"""

import asyncio
from collections import defaultdict
from typing import Any

from .deletion import FOREGROUND, ORPHAN, DeleteOptions, Deletion
from .kinds import Kind
from .registry import Registry
from .statuses import ApiError
from .storage import Event, Key

Object = dict[str, Any]
Place = tuple[Key, str, str]
NAMESPACES = ("", "namespaces")


class GarbageCollector:
    """Follows every write through `Store.changed` and deletes what has lost its owners or its namespace."""

    def __init__(self, registry: Registry, deletion: Deletion) -> None:
        self._registry = registry
        self._deletion = deletion
        self._places: dict[str, Place] = {}
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)
        self._queue: list[Place] = []
        self._scheduled = False
        registry.store.changed.append(self._written)

    def _written(self, key: Key, event: Event) -> None:
        metadata = event.item.object["metadata"]
        uid, place = metadata["uid"], (key, event.namespace, metadata["name"])
        for owner in (event.before.object["metadata"].get("ownerReferences") or []) if event.before else []:
            self._forget(owner["uid"], uid)
        if event.type == "DELETED":
            self._places.pop(uid, None)
            for dependent in self._dependents.pop(uid, ()):
                self._look_at(dependent)
            for owner in metadata.get("ownerReferences") or []:
                self._look_at(owner["uid"])
            if event.namespace:
                self._later((NAMESPACES, "", event.namespace))
            return
        self._places[uid] = place
        for owner in metadata.get("ownerReferences") or []:
            self._dependents[owner["uid"]].add(uid)
        if metadata.get("ownerReferences") or metadata.get("deletionTimestamp"):
            self._later(place)

    def _forget(self, owner: str, dependent: str) -> None:
        dependents = self._dependents.get(owner, set())
        dependents.discard(dependent)
        if not dependents:
            self._dependents.pop(owner, None)

    def _look_at(self, uid: str) -> None:
        place = self._places.get(uid)
        if place is not None:
            self._later(place)

    def _later(self, place: Place) -> None:
        self._queue.append(place)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        queue, self._queue = dict.fromkeys(self._queue), []
        for place in queue:
            try:
                self._attend(place)
            except ApiError:
                continue  # gone or changed meanwhile: the change queued it again

    def _attend(self, place: Place) -> None:
        key, namespace, name = place
        kind = self._registry.kinds.storage(*key)
        item = self._registry.store.collection(key).get(namespace, name)
        if kind is None or item is None:
            return
        obj = item.object
        if obj["metadata"].get("deletionTimestamp"):
            self._finish(kind, obj)
        elif self._orphaned(obj):
            self._deletion.delete(kind, namespace, name, DeleteOptions(uid=obj["metadata"]["uid"]))

    def _orphaned(self, obj: Object) -> bool:
        owners = obj["metadata"].get("ownerReferences") or []
        return bool(owners) and not any(owner["uid"] in self._places for owner in owners)

    def _finish(self, kind: Kind, obj: Object) -> None:
        """Advance an object that is being deleted: dependents first where it says so."""
        finalizers = obj["metadata"].get("finalizers") or []
        if ORPHAN in finalizers:
            self._release_dependents(obj["metadata"]["uid"])
            self._drop_finalizer(kind, obj, ORPHAN)
        elif FOREGROUND in finalizers:
            self._delete_dependents(kind, obj)
        elif kind.storage_key == NAMESPACES:
            self._empty_namespace(kind, obj)
        elif not finalizers and obj["metadata"].get("deletionGracePeriodSeconds", 0) == 0:
            namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
            self._registry.store.remove(kind.storage_key, namespace, name, obj)

    def _dependents_of(self, uid: str) -> list[tuple[Kind, Object]]:
        found = []
        for dependent in sorted(self._dependents.get(uid, ())):
            place = self._places.get(dependent)
            kind = self._registry.kinds.storage(*place[0]) if place else None
            item = self._registry.store.collection(place[0]).get(place[1], place[2]) if place else None
            if kind is not None and item is not None:
                found.append((kind, item.object))
        return found

    def _release_dependents(self, uid: str) -> None:
        for kind, obj in self._dependents_of(uid):
            references = [each for each in obj["metadata"]["ownerReferences"] if each["uid"] != uid]
            metadata = {**obj["metadata"], "ownerReferences": references}
            if not references:
                del metadata["ownerReferences"]
            self._put(kind, {**obj, "metadata": metadata})

    def _delete_dependents(self, kind: Kind, obj: Object) -> None:
        uid, blocked = obj["metadata"]["uid"], False
        for each, dependent in self._dependents_of(uid):
            metadata = dependent["metadata"]
            reference = next(owner for owner in metadata["ownerReferences"] if owner["uid"] == uid)
            blocked = blocked or bool(reference.get("blockOwnerDeletion"))
            if not metadata.get("deletionTimestamp"):
                options = DeleteOptions(policy="Foreground", uid=metadata["uid"])
                self._deletion.delete(each, metadata.get("namespace", ""), metadata["name"], options)
        if not blocked:
            self._drop_finalizer(kind, obj, FOREGROUND)

    def _drop_finalizer(self, kind: Kind, obj: Object, finalizer: str) -> None:
        left = [each for each in obj["metadata"].get("finalizers") or [] if each != finalizer]
        metadata = {**obj["metadata"], "finalizers": left}
        if not left:
            del metadata["finalizers"]
        self._put(kind, {**obj, "metadata": metadata})

    def _put(self, kind: Kind, obj: Object) -> None:
        metadata = obj["metadata"]
        self._registry.store.put(kind.storage_key, metadata.get("namespace", ""), metadata["name"], obj)

    def _empty_namespace(self, kind: Kind, obj: Object) -> None:
        """Delete what a terminating namespace holds; once it is empty, the namespace itself."""
        name, left = obj["metadata"]["name"], 0
        for each in self._registry.kinds.stored():
            if not each.namespaced:
                continue
            collection = self._registry.store.collection(each.storage_key)
            for item in collection.items(name):
                metadata = item.object["metadata"]
                if not metadata.get("deletionTimestamp"):
                    self._deletion.delete(each, name, metadata["name"], DeleteOptions(uid=metadata["uid"]))
            left += collection.count(name)
        if left:
            return
        if (obj.get("spec") or {}).get("finalizers"):
            obj = {**obj, "spec": {key: value for key, value in obj["spec"].items() if key != "finalizers"}}
            self._put(kind, obj)
        if not obj["metadata"].get("finalizers"):
            self._registry.store.remove(kind.storage_key, "", name, obj)

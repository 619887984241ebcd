"""Objects, their history and who watches: everything in memory, every write one step of a global counter.

Stored objects are never changed in place, so reads share them; an object's JSON is made once and serves every reader.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

from .statuses import expired

Object = dict[str, Any]
Key = tuple[str, str]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
WINDOW = 10_000
SLOW_WATCHER = 20_000
EPOCH = 1_750_000_000

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def encoded(value: Any) -> bytes:
    """Compact JSON."""
    return _encode(value).encode()


class Item:
    """One object at one resourceVersion; `managers` are those it records, once someone has read them."""

    __slots__ = ("_json", "managers", "object", "version")

    def __init__(self, obj: Object, version: int) -> None:
        self.object = obj
        self.version = version
        self.managers: Any = None
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        if self._json is None:
            self._json = encoded(self.object)
        return self._json


class Event:
    """A change: the item it left (or, for a deletion, took away) and the one before."""

    __slots__ = ("before", "item", "namespace", "type")

    def __init__(self, kind: EventType, namespace: str, item: Item, before: Item | None) -> None:
        self.type = kind
        self.namespace = namespace
        self.item = item
        self.before = before


class Watcher:
    """Events waiting for one client; `closed` once it fell too far behind or the collection went away."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.pending: deque[Event] = deque()
        self.closed = False
        self._wake = asyncio.Event()

    def offer(self, event: Event) -> None:
        if self.namespace and event.namespace != self.namespace:
            return
        if len(self.pending) >= SLOW_WATCHER:
            self.close()
            return
        self.pending.append(event)
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def wait(self, timeout_s: float) -> bool:
        """True once something is pending or the watcher closed; False after `timeout_s` seconds."""
        if not self.pending and not self.closed:
            self._wake.clear()
            try:
                async with asyncio.timeout(max(timeout_s, 0)):
                    await self._wake.wait()
            except TimeoutError:
                return False
        return True


class Collection:
    """All objects of one resource with their last `WINDOW` changes."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.log: deque[Event] = deque()
        self.watchers: set[Watcher] = set()
        self._namespaces: dict[str, dict[str, Item]] = {}

    def get(self, namespace: str, name: str) -> Item | None:
        return self._namespaces.get(namespace, {}).get(name)

    def items(self, namespace: str = "") -> list[Item]:
        """Sorted by namespace and name, as etcd's keys are."""
        chosen = [namespace] if namespace else sorted(self._namespaces)
        held = (self._namespaces.get(each, {}) for each in chosen)
        return [objects[name] for objects in held for name in sorted(objects)]

    def count(self, namespace: str) -> int:
        return len(self._namespaces.get(namespace, {}))

    def put(self, namespace: str, name: str, item: Item) -> Event:
        held = self._namespaces.setdefault(namespace, {})
        before = held.get(name)
        held[name] = item
        return self._record(Event("MODIFIED" if before else "ADDED", namespace, item, before))

    def remove(self, namespace: str, name: str, last: Item) -> Event:
        held = self._namespaces[namespace]
        before = held.pop(name)
        if not held:
            del self._namespaces[namespace]
        return self._record(Event("DELETED", namespace, last, before))

    def replace_all(self, change: Callable[[Object], Object]) -> None:
        """See the objects otherwise from now on: nothing is written, so their versions stay and nobody is told."""
        for held in self._namespaces.values():
            for name, item in held.items():
                changed = change(item.object)
                if changed is not item.object:
                    held[name] = Item(changed, item.version)

    def _record(self, event: Event) -> Event:
        self.log.append(event)
        if len(self.log) > WINDOW:
            self.floor = self.log.popleft().item.version
        for watcher in self.watchers:
            watcher.offer(event)
        return event

    def since(self, version: int, namespace: str) -> Iterator[Event]:
        """Changes after `version`. Raises ApiError 410 where they are no longer all known."""
        self.check(version)
        fresh: list[Event] = []
        for event in reversed(self.log):
            if event.item.version <= version:
                break
            if not namespace or event.namespace == namespace:
                fresh.append(event)
        return reversed(fresh)

    def check(self, version: int) -> None:
        if version < self.floor:
            raise expired(f"too old resource version: {version} ({self.floor})")

    def close(self) -> None:
        for watcher in list(self.watchers):
            watcher.close()


class Store:
    """Collections by group and plural, and the counter they share.

    Counting starts at the time in milliseconds: versions of an earlier run are always too old rather than, by accident,
    current, and clients that outlive a restart list anew. `changed` is called after every write.
    """

    def __init__(self, start: int | None = None) -> None:
        self.version = int((time.time() - EPOCH) * 1000) if start is None else start
        self.changed: list[Callable[[Key, Event], None]] = []
        self._collections: dict[Key, Collection] = {}

    def collection(self, key: Key) -> Collection:
        found = self._collections.get(key)
        if found is None:
            found = self._collections[key] = Collection(self.version)
        return found

    def put(self, key: Key, namespace: str, name: str, obj: Object) -> Item:
        """Store `obj` under the next resourceVersion, which is written into its metadata."""
        item = self._stamped(obj)
        self._tell(key, self.collection(key).put(namespace, name, item))
        return item

    def remove(self, key: Key, namespace: str, name: str, obj: Object) -> Item:
        """Take an object away; watchers see `obj` as its last state."""
        item = self._stamped(obj)
        self._tell(key, self.collection(key).remove(namespace, name, item))
        return item

    def drop(self, key: Key) -> None:
        """Forget a whole collection; its watchers end."""
        collection = self._collections.pop(key, None)
        if collection is not None:
            collection.close()

    def close(self) -> None:
        """End all watches."""
        for collection in self._collections.values():
            collection.close()

    def _stamped(self, obj: Object) -> Item:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        return Item({**obj, "metadata": metadata}, self.version)

    def _tell(self, key: Key, event: Event) -> None:
        for listener in self.changed:
            listener(key, event)

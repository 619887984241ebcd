"""The last known state of the objects of one kind, by key, and indexes over them."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from protoqueue_operator.api.v1alpha1.meta import Key, Kind, Meta, is_older

Body = Mapping[str, Any]


class Object(Protocol):
    """Anything parsed from an object of the Kubernetes API."""

    @property
    def meta(self) -> Meta: ...


Obj = TypeVar("Obj", bound=Object)
By = TypeVar("By", bound=Hashable)


class Cache(Mapping[Key, Obj], Generic[Obj]):
    """Never goes back: of two versions of an object the newer is kept, whichever arrives first."""

    def __init__(self, kind: Kind, parse: Callable[[Body, Obj | None], Obj]) -> None:
        """`parse` reads a version; it is given the previous one, whose unchanged parts it may reuse."""
        self.kind = kind
        self._parse = parse
        self._objects: dict[Key, Obj] = {}
        self._indexes: list[Index[Obj, Any]] = []

    def index(self, by: Callable[[Obj], By | None]) -> "Index[Obj, By]":
        """Objects by the result of `by`; those for which it is None are left out."""
        index = Index(self._objects, by)
        for each in self._objects.values():
            index.move(None, each)
        self._indexes.append(index)
        return index

    def observe(self, body: Body) -> Obj:
        """Store a version; returns the newest known."""
        key = key_of(self.kind, body)
        known = self._objects.get(key)
        if known and _is_stale(body, known):
            return known
        return self.put(self._parse(body, known))

    def observe_answer(self, key: Key, body: Body) -> None:
        """Store the answer to a write of our own.

        The watch may have seen the object deleted before the answer arrives. It must not come back then: its deletion
        would not be reported again.
        """
        known = self._objects.get(key)
        if known is not None and known.meta.uid == body["metadata"]["uid"]:
            self.observe(body)

    def put(self, known: Obj) -> Obj:
        """Store what is known of an object from a source other than its body."""
        before = self._objects.get(known.meta.key)
        self._objects[known.meta.key] = known
        self._move(before, known)
        return known

    def remove(self, key: Key, uid: str) -> None:
        """Forget exactly this object; a later one of the same name stays."""
        known = self._objects.get(key)
        if known is not None and known.meta.uid == uid:
            del self._objects[key]
            self._move(known, None)

    def __getitem__(self, key: Key) -> Obj:
        return self._objects[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def _move(self, before: Obj | None, after: Obj | None) -> None:
        for index in self._indexes:
            index.move(before, after)


class Index(Generic[Obj, By]):
    """An index over one cache, by a value of each object."""

    def __init__(self, objects: Mapping[Key, Obj], by: Callable[[Obj], By | None]) -> None:
        self._objects = objects
        self._by = by
        self._keys: dict[By, set[Key]] = {}

    def get(self, by: By) -> list[Obj]:
        """The oldest first."""
        return sorted((self._objects[key] for key in self._keys.get(by, ())), key=seniority)

    def move(self, before: Obj | None, after: Obj | None) -> None:
        """An object appeared, changed, or disappeared: one of the two may be None."""
        was, now = (self._by(each) if each else None for each in (before, after))
        if before and was is not None and was != now:
            self._keys[was].discard(before.meta.key)
            if not self._keys[was]:
                del self._keys[was]
        if after and now is not None:
            self._keys.setdefault(now, set()).add(after.meta.key)

    def __len__(self) -> int:
        return len(self._keys)


def key_of(kind: Kind, body: Body) -> Key:
    return Key(kind.name, body["metadata"]["namespace"], body["metadata"]["name"])


def seniority(each: Object) -> tuple[datetime, str]:
    """Sorts the oldest first; objects of the same second by name."""
    return each.meta.created, each.meta.name


def _is_stale(body: Body, known: Object) -> bool:
    meta = body["metadata"]
    return meta["uid"] == known.meta.uid and is_older(meta.get("resourceVersion", ""), known.meta.resource_version)

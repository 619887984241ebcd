"""Watches: a stream of changes, in whatever representation the client asked for."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import tables
from .kinds import Kind
from .listing import parse_version, selector_of
from .options import check_list_options
from .selectors import Selector
from .statuses import ApiError, bad_request
from .storage import Collection, Event, Item, Store, Watcher, encoded

Object = dict[str, Any]
DEFAULT_TIMEOUT_S = 1800.0
BOOKMARK_EVERY_S = 60.0
LAST_BOOKMARK_S = 2.0
BATCH = 500
Represent = Callable[[Item], bytes]


def frame(event_type: str, body: bytes) -> bytes:
    return b'{"type":"' + event_type.encode() + b'","object":' + body + b"}\n"


@dataclass(frozen=True)
class WatchRequest:
    """What a client wants to see; `initial` says whether all existing objects come first, as ADDED."""

    namespace: str
    selector: Selector
    version: int
    initial: bool
    bookmarks: bool
    timeout_s: float


def parse_watch(kind: Kind, namespace: str, name: str, query: Mapping[str, str]) -> WatchRequest:
    """Raises ApiError 400, 422."""
    check_list_options(query, watch=True)
    fields = {**query}
    if name:
        fields["fieldSelector"] = ",".join(filter(None, [query.get("fieldSelector", ""), f"metadata.name={name}"]))
    version = parse_version(query.get("resourceVersion", ""))
    send_initial = query.get("sendInitialEvents")
    try:
        timeout_s = float(query.get("timeoutSeconds") or DEFAULT_TIMEOUT_S)
    except ValueError:
        raise bad_request(f"invalid timeoutSeconds: {query.get('timeoutSeconds')}") from None
    return WatchRequest(
        namespace=namespace,
        selector=selector_of(kind, fields),
        version=version,
        initial=send_initial == "true" or (send_initial is None and version == 0),
        bookmarks=query.get("allowWatchBookmarks") in {"true", "1"},
        timeout_s=timeout_s,
    )


class Watch:
    """One client's watch; iterate `chunks` and write what comes."""

    def __init__(self, store: Store, kind: Kind, request: WatchRequest, represent: Represent) -> None:
        self._store = store
        self._kind = kind
        self._request = request
        self._represent = represent
        self._collection: Collection = store.collection(kind.storage_key)
        self._told = 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Frames, several at once where several are due. Ends at the timeout or when the collection goes away."""
        request, watcher = self._request, Watcher(self._request.namespace)
        self._collection.watchers.add(watcher)
        try:
            try:
                yield b"".join(self._beginning())
            except ApiError as error:
                yield frame("ERROR", encoded(error.body()))
                return
            deadline = time.monotonic() + request.timeout_s
            bookmark_at = _next_bookmark(deadline)
            while (now := time.monotonic()) < deadline and not watcher.closed:
                if not await watcher.wait(min(deadline, bookmark_at) - now):
                    if request.bookmarks and self._told < self._store.version:
                        yield self._bookmark()
                    bookmark_at = _next_bookmark(deadline)
                    continue
                chunk = self._drained(watcher)
                if chunk:
                    yield chunk
        finally:
            self._collection.watchers.discard(watcher)

    def _beginning(self) -> list[bytes]:
        """What precedes live events; those from here on wait in the watcher, since nothing awaits in between."""
        request = self._request
        frames: list[bytes] = []
        if request.initial:
            items = self._collection.items(request.namespace)
            chosen = (item for item in items if request.selector.matches(item.object))
            frames.extend(frame("ADDED", self._represent(item)) for item in chosen)
            if request.bookmarks:
                frames.append(self._bookmark({"annotations": {"k8s.io/initial-events-end": "true"}}))
        elif request.version:
            frames.extend(map(self._framed, self._collection.since(request.version, request.namespace)))
        return frames

    def _drained(self, watcher: Watcher) -> bytes:
        frames: list[bytes] = []
        while watcher.pending and len(frames) < BATCH:
            event = watcher.pending.popleft()
            frames.append(self._framed(event))
        return b"".join(frames)

    def _framed(self, event: Event) -> bytes:
        """The event as this watch sees it: objects that start or stop matching come and go."""
        selector, kind = self._request.selector, event.type
        if not selector.everything:
            was = event.before is not None and selector.matches(event.before.object)
            fits = kind != "DELETED" and selector.matches(event.item.object)
            if not was and not fits:
                return b""
            kind = "MODIFIED" if was and fits else "ADDED" if fits else "DELETED"
            if kind == "DELETED" and event.type != "DELETED" and event.before is not None:
                metadata = {**event.before.object["metadata"], "resourceVersion": str(event.item.version)}
                last = Item({**event.before.object, "metadata": metadata}, event.item.version)
                return frame(kind, self._represent(last))
        return frame(kind, self._represent(event.item))

    def _bookmark(self, more: Object | None = None) -> bytes:
        # Sent only with nothing pending, so this watch has seen everything up to now.
        self._told = self._store.version
        metadata = {"resourceVersion": str(self._told), **(more or {})}
        body = {"apiVersion": self._kind.group_version, "kind": self._kind.kind, "metadata": metadata}
        return frame("BOOKMARK", encoded(body))


def _next_bookmark(deadline: float) -> float:
    """Every minute, and shortly before the end: so a client that comes back at once has missed nothing."""
    now = time.monotonic()
    last = deadline - LAST_BOOKMARK_S
    return min(now + BOOKMARK_EVERY_S, last) if now < last else now + BOOKMARK_EVERY_S


def representation(kind: Kind, form: str, include: str) -> Represent:
    """How a watch shows objects: `Table`, `PartialObjectMetadata`, or as they are."""
    if form == "PartialObjectMetadata":
        return lambda item: encoded(tables.partial(item.object))
    if form != "Table":
        return lambda item: versioned_json(kind, item)
    headed = False

    def row(item: Item) -> bytes:
        nonlocal headed
        header, headed = not headed, True
        version = item.object["metadata"]["resourceVersion"]
        return encoded(tables.table(kind, [item], {"resourceVersion": version}, include, header))

    return row


def versioned_json(kind: Kind, item: Item) -> bytes:
    """An item's JSON in the version `kind` speaks."""
    if item.object["apiVersion"] == kind.group_version:
        return item.json
    return encoded({**item.object, "apiVersion": kind.group_version})

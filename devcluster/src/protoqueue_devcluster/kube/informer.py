"""A local, always current copy of one kind of object: list, watch, and list again when the watch is too old."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import aiohttp

from protoqueue_devcluster.kube.client import ApiError, Kind, KubeClient, Object

log = logging.getLogger(__name__)

_BETWEEN_WATCHES_S = 0.05
"""A server that ends every watch at once, as one does that is going down, is not asked in a hot loop."""

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

Listener = Callable[[Object], None]
"""Called with the object after every change, and with its last state after it is gone."""


def key_of(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def version_of(obj: Object) -> int:
    """The resourceVersion as a number: API servers keep them ordered per kind, which makes echoes recognisable."""
    return int(obj["metadata"].get("resourceVersion") or 0)


class Informer:
    """Objects of one kind by key.

    What a controller writes is recorded at once (`record`), so its next decision already sees it; the watch's later
    echo of the same or an older version changes nothing. Without that, a controller would create everything twice.
    """

    def __init__(self, client: KubeClient, kind: Kind, namespace: str | None = None, **selectors: str) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self._client, self._namespace, self._selectors = client, namespace, selectors
        self._objects: dict[Key, Object] = {}
        self._gone: dict[str, int] = {}  # uid → version at which it went, until the watch has caught up
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def record(self, obj: Object) -> None:
        """Take note of an object's new state, from the watch or from the answer to an own write."""
        known = self._objects.get(key_of(obj))
        if obj["metadata"]["uid"] in self._gone or (known is not None and version_of(known) >= version_of(obj)):
            return
        self._objects[key_of(obj)] = obj
        self._notify(obj)

    def forget(self, obj: Object) -> None:
        """Take note that this very object (by uid) is gone."""
        self._gone[obj["metadata"]["uid"]] = version_of(obj)
        known = self._objects.get(key_of(obj))
        if known is not None and known["metadata"]["uid"] == obj["metadata"]["uid"]:
            del self._objects[key_of(obj)]
            self._notify(obj)

    async def run(self) -> None:
        """Follow the API server until cancelled, through restarts, network trouble and expired watches."""
        delay_s = 0.1
        while True:
            try:
                await self._list_and_watch()
                delay_s = 0.1
            except ApiError as error:
                if error.code != 410:  # Gone is ordinary: the window of past events is bounded
                    log.warning("watch refused kind=%s error=%s", self.kind.plural, error)
                    delay_s = min(delay_s * 2, 10)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.warning("watch broken, trying again kind=%s error=%r", self.kind.plural, error)
                delay_s = min(delay_s * 2, 10)
            await asyncio.sleep(delay_s)

    async def _list_and_watch(self) -> None:
        """List once, then watch for as long as the server keeps the version known."""
        listing = await self._client.list(self.kind, self._namespace, **self._selectors)
        version: str = listing["metadata"]["resourceVersion"]
        self._replace(listing["items"] or [], int(version))
        self.synced.set()
        while True:
            async for event in self._client.watch(self.kind, version, self._namespace, **self._selectors):
                obj = event["object"]
                version = obj["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self.forget(obj)
                    self._gone.pop(obj["metadata"]["uid"], None)  # no event of this uid can follow
                elif event["type"] != "BOOKMARK":
                    self.record(obj)
            await asyncio.sleep(_BETWEEN_WATCHES_S)

    def _replace(self, items: list[Object], version: int) -> None:
        """Adopt a full listing, except where an own write is already newer than it."""
        self._gone = {uid: at for uid, at in self._gone.items() if at > version}
        for obj in items:  # a list's items come without kind and apiVersion
            self.record({"apiVersion": self.kind.api_version, "kind": self.kind.name, **obj})
        listed = {key_of(obj) for obj in items}
        for key, known in list(self._objects.items()):
            if key not in listed and version_of(known) <= version:
                del self._objects[key]
                self._notify(known)

    def _notify(self, obj: Object) -> None:
        for listener in self._listeners:
            listener(obj)

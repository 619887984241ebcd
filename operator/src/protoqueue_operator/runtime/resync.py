"""Holds what the watches bring against what the API server lists: the safety net under them, and their pulse.

A watch that hangs says nothing of it, and what is deleted while one is broken, and its place in the history forgotten
(410), nobody reports: kopf lists anew what there is, not what there is no more.
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from protoqueue_operator.adapters.kubernetes import ApiError, Kubernetes
from protoqueue_operator.core.deployment import GROUP_LABEL
from protoqueue_operator.core.resources import Key, is_older

logger = logging.getLogger(__name__)

Body = Mapping[str, Any]

SELECTORS = {"Queue": "", "ConsumerGroup": "", "Deployment": GROUP_LABEL}
"""What is watched, and which of each kind."""

UNDERWAY_S = 5.0
"""How long news may be on their way before the watch counts as behind."""

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "labels")


class Listener(Protocol):
    def object_seen(self, kind: str, event: str | None, body: Body) -> None: ...


class Watches:
    """Tells the listener of what the watches bring, and, later, of what they should have brought."""

    def __init__(self, kubernetes: Kubernetes, namespaces: Sequence[str], listener: Listener) -> None:
        """No namespaces: all of them."""
        self._kubernetes = kubernetes
        self._namespaces = namespaces or (None,)
        self._listener = listener
        self._brought: dict[Key, Body] = {}
        """The last of each object, without its content."""
        self._owed: dict[Key, tuple[float, Body]] = {}
        """What the API server holds in a newer version: since when that is known, in monotonic seconds, and which."""
        self._deleted: set[str] = set()
        """By uid, what the watches have reported as deleted since the last listing began."""

    def bring(self, kind: str, event: str | None, body: Body) -> None:
        """An object as a watch reports it; `event` as in the Kubernetes API, None from a listing."""
        key = _key(kind, body)
        if event == "DELETED":
            self._brought.pop(key, None)
            self._deleted.add(_uid(body))
        else:
            self._brought[key] = _outline(body)
        if key in self._owed and (event == "DELETED" or not is_older(_version(body), _version(self._owed[key][1]))):
            del self._owed[key]
        self._listener.object_seen(kind, event, body)

    def behind_for_s(self) -> float:
        """Seconds for which the watches have owed the oldest of what they owe; 0 while they owe nothing."""
        return time.monotonic() - min(since for since, _ in self._owed.values()) if self._owed else 0.0

    async def run(self, every_s: float) -> None:
        """Compare until cancelled."""
        while True:
            await asyncio.sleep(every_s * random.uniform(0.9, 1.1))  # noqa: S311 -- keeps replicas out of step
            try:
                await self.compare()
            except ApiError as error:
                logger.warning("watches not compared: error=%s; they will be the next time", error)

    async def compare(self, underway_s: float = UNDERWAY_S) -> None:
        """List everything, wait for what may be underway, and tell what is still missing then. Raises ApiError."""
        missed: dict[Key, tuple[str, Body]] = {}
        self._deleted.clear()
        for kind in SELECTORS:
            for namespace in self._namespaces:
                missed |= await self._missed(kind, namespace)
        if not missed:
            return
        known_at = time.monotonic()
        await asyncio.sleep(underway_s)
        for key, (event, body) in missed.items():
            if not self._is_missed(key, event, body):
                continue
            logger.warning("not brought by the watch: object=%s event=%s; told by a listing", key, event)
            if event == "DELETED":
                self._brought.pop(key, None)
                self._owed.pop(key, None)
            else:
                # It stays owed until the watch brings it: that tells a dead watch from one that had a gap.
                since, _ = self._owed.get(key, (known_at, body))
                self._owed[key] = since, _outline(body)
            self._listener.object_seen(key.kind, event, body)

    async def _missed(self, kind: str, namespace: str | None) -> dict[Key, tuple[str, Body]]:
        missed: dict[Key, tuple[str, Body]] = {}
        listed, version = set(), ""
        async for page in self._kubernetes.pages(kind, namespace, SELECTORS[kind]):
            version = page["metadata"]["resourceVersion"]
            for body in page["items"]:
                key = _key(kind, body)
                listed.add(key)
                if self._is_missed(key, "MODIFIED", body):
                    missed[key] = "MODIFIED", body
        for key in {*self._brought, *self._owed} - listed:
            body = self._known(key)
            is_asked_for = key.kind == kind and namespace in (None, key.namespace)
            # What is newer than the list may well not be on it.
            if body and is_asked_for and not is_older(version, _version(body)):
                missed[key] = "DELETED", body
        return missed

    def _known(self, key: Key) -> Body | None:
        """What there is as far as anybody has told, the watches or a listing."""
        return self._brought.get(key) or (self._owed[key][1] if key in self._owed else None)

    def _is_missed(self, key: Key, event: str, body: Body) -> bool:
        if event == "DELETED":
            return self._known(key) == body
        if _uid(body) in self._deleted:
            return False
        known = self._brought.get(key)
        return known is None or _uid(known) != _uid(body) or is_older(_version(known), _version(body))


def _key(kind: str, body: Body) -> Key:
    return Key(kind, body["metadata"]["namespace"], body["metadata"]["name"])


def _outline(body: Body) -> Body:
    return {"metadata": {name: value for name, value in body["metadata"].items() if name in _KEPT}}


def _uid(body: Body) -> str:
    uid: str = body["metadata"]["uid"]
    return uid


def _version(body: Body) -> str:
    version: str = body["metadata"]["resourceVersion"]
    return version

"""Compares what the watches report with what the API server lists: finds what they missed, and whether they still run.

A hanging watch reports nothing, and a deletion while a watch is broken and its place in the history is forgotten (410)
is lost: kopf then lists existing objects, not deleted ones.
"""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from protoqueue_operator.api.v1alpha1.meta import Key, Kind, is_older
from protoqueue_operator.runtime.client import ApiError, Kubernetes

logger = logging.getLogger(__name__)

Body = Mapping[str, Any]

_FORBIDDEN = 403

UNDERWAY_S = 5.0
"""How long an event may be on its way before the watch counts as behind."""

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "labels")


async def refused_namespaces(
    kubernetes: Kubernetes, kinds: Collection[Kind], namespaces: Sequence[str]
) -> dict[str, str]:
    """Of these, in which the API server forbids to list the kinds, and what it says. Raises nothing.

    Where it says something else, or nothing, who watches finds out.
    """
    errors = await asyncio.gather(*(_listing_error(kubernetes, kinds, each) for each in namespaces))
    pairs = zip(namespaces, errors, strict=True)
    return {namespace: str(error) for namespace, error in pairs if error and error.status == _FORBIDDEN}


async def granted_namespaces(kubernetes: Kubernetes, kinds: Collection[Kind], namespaces: Sequence[str]) -> list[str]:
    """Of these, in which all of the kinds were listed just now. Raises nothing."""
    errors = await asyncio.gather(*(_listing_error(kubernetes, kinds, each) for each in namespaces))
    return [namespace for namespace, error in zip(namespaces, errors, strict=True) if error is None]


async def _listing_error(kubernetes: Kubernetes, kinds: Collection[Kind], namespace: str) -> ApiError | None:
    try:
        for kind in kinds:
            await kubernetes.first_page(kind.name, namespace, kind.selector)
    except ApiError as error:
        return error
    return None


class Listener(Protocol):
    def object_seen(self, kind: str, event: str | None, body: Body) -> None: ...


class Resync:
    """Notifies the listener of what the watches report, and later of what they have missed."""

    def __init__(
        self, kubernetes: Kubernetes, kinds: Collection[Kind], namespaces: Sequence[str], listener: Listener
    ) -> None:
        """No namespaces: all of them."""
        self._kubernetes = kubernetes
        self._kinds = kinds
        self._namespaces = namespaces or (None,)
        self._listener = listener
        self._brought: dict[Key, Body] = {}
        """The last of each object, without its content."""
        self._behind: dict[Key, tuple[float, Body]] = {}
        """Newer versions in the API server: since when they are known, in monotonic seconds, and which."""
        self._deleted: set[str] = set()
        """By uid, what the watches have reported as deleted since the last listing began."""

    def observe(self, kind: str, event: str | None, body: Body) -> None:
        """An object as a watch reports it; `event` as in the Kubernetes API, None from a listing."""
        key = _key(kind, body)
        if event == "DELETED":
            self._brought.pop(key, None)
            self._deleted.add(_uid(body))
        else:
            self._brought[key] = _outline(body)
        if key in self._behind and (event == "DELETED" or not is_older(_version(body), _version(self._behind[key][1]))):
            del self._behind[key]
        self._tell(kind, event, body)

    def behind_for_s(self) -> float:
        """The age of the oldest event that the watches owe, in seconds; 0 if they owe none."""
        return time.monotonic() - min(since for since, _ in self._behind.values()) if self._behind else 0.0

    async def run(self, every_s: float) -> None:
        """Compare until cancelled."""
        while True:
            await asyncio.sleep(every_s * random.uniform(0.9, 1.1))  # noqa: S311 -- keeps replicas out of step
            try:
                await self.compare()
            except ApiError as error:
                logger.warning("resync failed: error=%s; retrying at the next period", error)

    async def compare(self, underway_s: float = UNDERWAY_S) -> None:
        """List everything, wait for events that may be on their way, and report what is still missing then.

        Raises ApiError.
        """
        missed: dict[Key, tuple[str, Body]] = {}
        self._deleted.clear()
        for kind in self._kinds:
            for namespace in self._namespaces:
                missed |= await self._missed(kind, namespace)
        if not missed:
            return
        known_at = time.monotonic()
        await asyncio.sleep(underway_s)
        for key, (event, body) in missed.items():
            if not self._is_missed(key, event, body):
                continue
            logger.warning("missed by the watch: object=%s event=%s; found by resync", key, event)
            if event == "DELETED":
                self._brought.pop(key, None)
                self._behind.pop(key, None)
            else:
                # It stays owed until the watch reports it: that distinguishes a dead watch from one with a gap.
                since, _ = self._behind.get(key, (known_at, body))
                self._behind[key] = since, _outline(body)
            self._tell(key.kind, event, body)

    def _tell(self, kind: str, event: str | None, body: Body) -> None:
        """One object that cannot be processed must not block the others."""
        try:
            self._listener.object_seen(kind, event, body)
        except Exception:
            logger.exception("object not read: object=%s; please report this", _key(kind, body))

    async def _missed(self, kind: Kind, namespace: str | None) -> dict[Key, tuple[str, Body]]:
        missed: dict[Key, tuple[str, Body]] = {}
        listed, version = set(), ""
        async for page in self._kubernetes.pages(kind.name, namespace, kind.selector):
            version = page["metadata"]["resourceVersion"]
            for body in page["items"]:
                key = _key(kind.name, body)
                listed.add(key)
                if self._is_missed(key, "MODIFIED", body):
                    missed[key] = "MODIFIED", body
        for key in {*self._brought, *self._behind} - listed:
            body = self._known(key)
            is_asked_for = key.kind == kind.name and namespace in (None, key.namespace)
            # An object newer than the list may be missing in it.
            if body and is_asked_for and not is_older(version, _version(body)):
                missed[key] = "DELETED", body
        return missed

    def _known(self, key: Key) -> Body | None:
        """The known objects, from watches or a listing."""
        return self._brought.get(key) or (self._behind[key][1] if key in self._behind else None)

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

"""Events as in client-go's recorder: repeated ones are counted, similar ones combined, and floods are limited.

Otherwise one object that changes all the time would fill etcd and hide other Events.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from protoqueue_operator.api.v1alpha1.labels import FIELD_MANAGER
from protoqueue_operator.api.v1alpha1.meta import Meta

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SIMILAR = 10
"""How many Events of one object, type and reason with different messages are kept separate."""
SIMILAR_WITHIN = timedelta(minutes=10)
"""Within this time of the last one they count as similar."""
BURST = 25
REFILL = timedelta(minutes=5)
"""An object may have BURST Events at once, and one more in each REFILL."""

_KEPT = 4096
_LONGEST_MESSAGE = 1024
_COMBINED = "(combined from similar events): "


@dataclass(frozen=True)
class Event:
    """An Event about an object."""

    meta: Meta
    kind: str
    reason: str
    message: str
    at: datetime
    api_version: str
    """Of the object."""


@dataclass(frozen=True)
class Post:
    """What to send: a new Event, or (`name`) the changes of an existing one."""

    body: dict[str, Any]
    name: str | None = None


@dataclass
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: datetime | None = None


@dataclass
class _Posted:
    count: int
    first: datetime
    name: str | None = None


@dataclass
class _Tokens:
    left: float
    at: datetime


class Correlator:
    """Decides what to do with an Event. Its state is bounded, and can be lost without harm."""

    def __init__(self) -> None:
        self._similar: _Recent[tuple[str, ...], _Similar] = _Recent(_Similar)
        self._posted: _Recent[tuple[str, ...], _Posted | None] = _Recent(lambda: None)
        self._tokens: _Recent[str, _Tokens | None] = _Recent(lambda: None)

    def correlate(self, event: Event) -> tuple[Post | None, tuple[str, ...]]:
        """What to send, None for nothing; and the key with which to call `posted` after the answer."""
        message = self._message(event)
        key = (event.meta.uid, event.kind, event.reason, message)
        if message.startswith(_COMBINED):
            key = (*key[:3], _COMBINED)
        if not self._may(event):
            return None, key
        before = self._posted.get(key)
        if before and before.name and event.at - before.first < timedelta(hours=1):  # Events are kept for an hour
            before.count += 1
            body = {"count": before.count, "lastTimestamp": _moment(event.at), "message": message}
            return Post(body, before.name), key
        self._posted.put(key, _Posted(1, event.at))
        return Post(_body(event, message)), key

    def posted(self, key: tuple[str, ...], name: str) -> None:
        """The Event was stored under this name; empty if it no longer exists."""
        if known := self._posted.get(key):
            known.name = name or None

    def _message(self, event: Event) -> str:
        similar = self._similar.get((event.meta.uid, event.kind, event.reason))
        assert similar
        if similar.last is None or event.at - similar.last > SIMILAR_WITHIN:
            similar.messages.clear()
        similar.last = event.at
        text = event.message[:_LONGEST_MESSAGE]
        if text not in similar.messages and len(similar.messages) >= SIMILAR:
            return (_COMBINED + text)[:_LONGEST_MESSAGE]
        similar.messages.add(text)
        return text

    def _may(self, event: Event) -> bool:
        tokens = self._tokens.get(event.meta.uid)
        left = BURST if tokens is None else min(BURST, tokens.left + (event.at - tokens.at) / REFILL)
        self._tokens.put(event.meta.uid, _Tokens(left - 1 if left >= 1 else left, event.at))
        return left >= 1


class _Recent(Generic[K, V]):
    """Keeps the most recently used entries."""

    def __init__(self, fresh: Callable[[], V]) -> None:
        self._fresh = fresh
        self._held: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V:
        """The entry, created if missing."""
        if key not in self._held:
            self.put(key, self._fresh())
        self._held.move_to_end(key)
        return self._held[key]

    def put(self, key: K, value: V) -> None:
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > _KEPT:
            self._held.popitem(last=False)


def _body(event: Event, message: str) -> dict[str, Any]:
    meta, moment = event.meta, _moment(event.at)
    return {
        "metadata": {"generateName": f"{meta.name[:200]}.", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": event.api_version,
            "kind": meta.key.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "type": event.kind,
        "reason": event.reason,
        "message": message,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")

"""What the operator says about an object: its status, in as few writes as possible, and Events worth reading."""

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from protoqueue_operator.adapters.kubernetes import ApiError, Gone, Kubernetes
from protoqueue_operator.core.conditions import Condition
from protoqueue_operator.core.crds import API_VERSION
from protoqueue_operator.core.deployment import FIELD_MANAGER
from protoqueue_operator.core.resources import Group, Key, Meta, Queue
from protoqueue_operator.core.status import changed_conditions, status_patch
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.work import Again, WorkQueue

logger = logging.getLogger(__name__)

COUNTER_INTERVAL_S = 5.5
"""A changing backlog costs at most one write per object in 5 s, also in the eyes of a watcher who hears unevenly."""

_EVENT_BACKLOG = 1000
_NO_NEWS = ("QueueNotReady", "LevelsGrowing")
"""What passes within moments, as when a Queue and its group are created together."""


@dataclass
class _Wanted:
    uid: str
    fields: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    urgent: set[str] = field(default_factory=set)
    """Names of fields and types of conditions that do not wait."""
    counted_at: datetime | None = None
    """When something that is not urgent was last on its way."""


class Reporter:
    """Statuses by key; each is written by one worker at a time, and only when it would change."""

    def __init__(self, kubernetes: Kubernetes, cache: Cache, now: Callable[[], datetime], workers: int = 8) -> None:
        self._kubernetes = kubernetes
        self._cache = cache
        self._now = now
        self._wanted: dict[Key, _Wanted] = {}
        self._writes: WorkQueue[Key] = WorkQueue(self._write, workers)
        self._events: WorkQueue[_Event] = WorkQueue(self._post, 2)

    def report(
        self,
        resource: Queue | Group,
        fields: Mapping[str, Any],
        conditions: Iterable[Condition] = (),
        *,
        urgent: bool = True,
    ) -> None:
        """Bring these fields and conditions into the status.

        What is not urgent waits until COUNTER_INTERVAL_S have passed since such was last written; or it goes along with
        what is urgent, and the time begins anew.
        """
        key, uid = resource.meta.key, resource.meta.uid
        known = self._cache.get(key)
        if known is None or known.meta.uid != uid:  # it went while it was looked at
            return
        wanted = self._wanted.get(key)
        if wanted is None or wanted.uid != uid:
            wanted = self._wanted[key] = _Wanted(uid)
        news = {condition.type: condition for condition in conditions}
        wanted.fields |= fields
        wanted.conditions |= news
        # What is on its way may say something else than what is known, which the answer will bring.
        if not (self._writes.is_serving(key) or status_patch(known, fields, news.values(), self._now())):
            return
        if urgent:
            wanted.urgent |= {*fields, *news}
        wait_s = 0.0 if urgent else self._wait_s(wanted)
        if wait_s <= 0:
            self._writes.add(key)
        else:
            self._writes.add_later(key, wait_s)

    def event(self, meta: Meta, kind: str, reason: str, message: str) -> None:
        """An Event about the object; `kind` is Normal or Warning. Dropped, with a log line, under a flood of them."""
        if len(self._events) < _EVENT_BACKLOG:
            self._events.add(_Event(meta, kind, reason, message, self._now()))
        else:
            logger.warning("event dropped: object=%s reason=%s message=%s", meta.key, reason, message)

    def drift(self, meta: Meta, how: Literal["changed", "deleted"], what: str) -> None:
        """Something that was as the resource specifies, was touched by others, and is as specified again."""
        self.event(meta, "Warning", "DriftRepaired", f"was {how} by somebody else: {what}")

    def forget(self, key: Key) -> None:
        self._wanted.pop(key, None)
        self._writes.forget(key)

    def start(self) -> None:
        self._writes.start()
        self._events.start()

    def cancel(self) -> None:
        self._writes.cancel()
        self._events.cancel()

    async def stop(self) -> None:
        await self._writes.stop()
        await self._events.stop()

    async def _write(self, key: Key) -> Again | None:
        resource, wanted = self._cache.get(key), self._wanted.get(key)
        if resource is None or wanted is None or resource.meta.uid != wanted.uid:
            return None
        urgent, wanted.urgent = wanted.urgent, set()
        patch = self._patch(resource, wanted)
        if not patch:
            return None
        pressing = self._patch(resource, wanted, urgent)
        if not pressing and (wait_s := self._wait_s(wanted)) > 0:
            return Again(wait_s)
        counts = patch != pressing
        if counts:
            wanted.counted_at = self._now()
        said = tuple(wanted.conditions.values())  # what is reported meanwhile is announced once it is written
        try:
            body = await self._kubernetes.patch_status(key, wanted.uid, patch)
        except Gone:
            return None
        except ApiError as error:
            wanted.urgent |= urgent
            logger.warning("status not written: object=%s error=%s; it will be tried again", key, error)
            return Again()
        if counts:
            wanted.counted_at = self._now()
        self._announce(resource, said)
        self._cache.observe_answer(key, body)
        return None

    def _patch(self, resource: Queue | Group, wanted: _Wanted, names: Container[str] | None = None) -> dict[str, Any]:
        """Of all that is wanted, or of what is named."""
        fields = {name: value for name, value in wanted.fields.items() if names is None or name in names}
        conditions = [each for each in wanted.conditions.values() if names is None or each.type in names]
        return status_patch(resource, fields, conditions, self._now())

    def _announce(self, resource: Queue | Group, said: Iterable[Condition]) -> None:
        """Ready going wrong, or right again, is an Event; becoming ready for the first time is no news."""
        for before, after in changed_conditions(resource.status.conditions, said):
            if after.type != "Ready" or after.reason in _NO_NEWS:
                continue
            if after.status != "True":
                self.event(resource.meta, "Warning", after.reason, after.message)
            elif before and before.status != "True" and before.reason not in _NO_NEWS:
                self.event(resource.meta, "Normal", after.reason, after.message)

    def _wait_s(self, wanted: _Wanted) -> float:
        """How long what is not urgent has to wait yet."""
        if wanted.counted_at is None:
            return 0.0
        return COUNTER_INTERVAL_S - (self._now() - wanted.counted_at).total_seconds()

    async def _post(self, event: "_Event") -> Again | None:
        try:
            await self._kubernetes.create_event(event.meta.namespace, event.body())
        except Gone:
            return None
        except ApiError as error:
            if error.status == 0 or error.status >= 500:
                return Again()
            # A namespace on its way out takes no Events.
            logger.info("event refused: object=%s reason=%s error=%s", event.meta.key, event.reason, error)
        return None


@dataclass(frozen=True)
class _Event:
    meta: Meta
    kind: str
    reason: str
    message: str
    at: datetime

    def body(self) -> dict[str, Any]:
        moment = self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "metadata": {"generateName": f"{self.meta.name[:200]}.", "namespace": self.meta.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": self.meta.key.kind,
                "namespace": self.meta.namespace,
                "name": self.meta.name,
                "uid": self.meta.uid,
            },
            "type": self.kind,
            "reason": self.reason,
            "message": self.message[:1024],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }

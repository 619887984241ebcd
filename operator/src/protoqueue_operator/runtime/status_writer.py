"""Writes the status of objects, in as few requests as possible, and records an Event when Ready has changed."""

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.status import Resource, changed_conditions, progress, status_patch
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Gone, Kubernetes
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.workqueue import Observer, Requeue, WorkQueue

logger = logging.getLogger(__name__)

COUNTER_INTERVAL_S = 5.5
"""A changing backlog costs at most one write per object in 5 s, also as seen by a watcher with jitter."""

COUNTER_WRITES_PER_S = 10.0
"""The budget of all objects. If more have changing backlogs, each is written less often, in turn."""
_COUNTER_BURST = 20


@dataclass
class _Wanted:
    uid: str
    fields: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    urgent: set[str] = field(default_factory=set)
    """Names of fields and types of conditions that are urgent."""
    counted_at: datetime | None = None
    """When a non-urgent write was last sent."""
    turn: datetime | None = None
    """When its next non-urgent write may be sent, by the common budget."""


class StatusWriter:
    """Statuses by key; each is written by one worker at a time, and only when it would change."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        caches: Mapping[str, Cache[Any]],
        events: EventRecorder,
        now: Callable[[], datetime],
        workers: int = 8,
        observer: Observer | None = None,
        not_worth_an_event: Container[str] = (),
    ) -> None:
        """`not_worth_an_event` are reasons of Ready that pass within moments."""
        self._kubernetes = kubernetes
        self._caches = caches
        self._events = events
        self._not_worth_an_event = not_worth_an_event
        self._now = now
        self._wanted: dict[Key, _Wanted] = {}
        self._next_turn: datetime | None = None
        self.writes: WorkQueue[Key] = WorkQueue(self._write, workers, observer)

    def report(
        self,
        resource: Resource,
        fields: Mapping[str, Any],
        conditions: Iterable[Condition] = (),
        *,
        urgent: bool = True,
    ) -> None:
        """Bring these fields and conditions into the status.

        Non-urgent changes wait until COUNTER_INTERVAL_S after the last such write; or they are sent with an urgent one,
        and the interval starts again.
        """
        key, uid = resource.meta.key, resource.meta.uid
        known = self._known(key)
        if known is None or known.meta.uid != uid:  # it was deleted while it was reconciled
            return
        wanted = self._wanted.get(key)
        if wanted is None or wanted.uid != uid:
            wanted = self._wanted[key] = _Wanted(uid)
        news = {condition.type: condition for condition in conditions}
        if readiness := news.get("Ready"):
            news |= {condition.type: condition for condition in progress(readiness)}
        wanted.fields |= fields
        wanted.conditions |= news
        # A write in progress may differ from what is known; its answer will update that.
        if not (self.writes.is_serving(key) or status_patch(known, fields, news.values(), self._now())):
            return
        if urgent:
            wanted.urgent |= {*fields, *news}
        wait_s = 0.0 if urgent else self._wait_s(wanted)
        if wait_s <= 0:
            self.writes.add(key)
        else:
            self.writes.add_later(key, wait_s)

    def compare(self, resource: Resource) -> None:
        """A version of the object has been seen: if its status differs, as after a manual edit, it is corrected."""
        wanted = self._wanted.get(resource.meta.key)
        if wanted and wanted.uid == resource.meta.uid and self._patch(resource, wanted):
            self.writes.add_later(resource.meta.key, 0.0)

    def fields_of(self, resource: Resource) -> dict[str, Any]:
        """The newest fields of the status, those that have not been written yet included."""
        written = resource.status.model_dump(by_alias=True, mode="json", exclude_none=True)
        wanted = self._wanted.get(resource.meta.key)
        return written | wanted.fields if wanted and wanted.uid == resource.meta.uid else written

    def forget(self, key: Key) -> None:
        self._wanted.pop(key, None)
        self.writes.forget(key)

    def start(self) -> None:
        self.writes.start()

    def cancel(self) -> None:
        self.writes.cancel()

    async def stop(self) -> None:
        await self.writes.stop()

    async def _write(self, key: Key) -> Requeue | None:
        resource, wanted = self._known(key), self._wanted.get(key)
        if resource is None or wanted is None or resource.meta.uid != wanted.uid:
            return None
        urgent, wanted.urgent = wanted.urgent, set()
        patch = self._patch(resource, wanted)
        if not patch:
            return None
        pressing = self._patch(resource, wanted, urgent)
        if not pressing and (wait_s := self._wait_s(wanted) or self._turn_s(wanted)) > 0:
            return Requeue(wait_s)
        wanted.turn = None
        counts = patch != pressing
        if counts:
            wanted.counted_at = self._now()
        said = tuple(wanted.conditions.values())  # changes reported meanwhile are announced once they are written
        try:
            body = await self._kubernetes.patch_status(key, wanted.uid, patch)
        except Gone:
            return None
        except ApiError as error:
            wanted.urgent |= urgent
            logger.warning("status not written: object=%s error=%s; retrying", key, error)
            return Requeue()
        if counts:
            wanted.counted_at = self._now()
        self._announce(resource, said)
        self._caches[key.kind].observe_answer(key, body)
        return None

    def _known(self, key: Key) -> Resource | None:
        return self._caches[key.kind].get(key)

    def _patch(self, resource: Resource, wanted: _Wanted, names: Container[str] | None = None) -> dict[str, Any]:
        """Of all wanted changes, or of the named ones."""
        fields = {name: value for name, value in wanted.fields.items() if names is None or name in names}
        conditions = [each for each in wanted.conditions.values() if names is None or each.type in names]
        return status_patch(resource, fields, conditions, self._now())

    def _announce(self, resource: Resource, said: Iterable[Condition]) -> None:
        """Ready becoming false, or true again, is an Event; becoming ready for the first time is not."""
        for before, after in changed_conditions(resource.status.conditions, said):
            if after.type != "Ready" or after.reason in self._not_worth_an_event:
                continue
            if after.status != "True":
                self._events.event(resource.meta, "Warning", after.reason, after.message)
            elif before and before.status != "True" and before.reason not in self._not_worth_an_event:
                self._events.event(resource.meta, "Normal", after.reason, after.message)

    def _wait_s(self, wanted: _Wanted) -> float:
        """How long non-urgent changes still have to wait."""
        if wanted.counted_at is None:
            return 0.0
        return max(0.0, COUNTER_INTERVAL_S - (self._now() - wanted.counted_at).total_seconds())

    def _turn_s(self, wanted: _Wanted) -> float:
        """How long it still has to wait for the common budget; it keeps its place meanwhile."""
        now = self._now()
        if wanted.turn is None:
            earliest = now - timedelta(seconds=_COUNTER_BURST / COUNTER_WRITES_PER_S)
            self._next_turn = max(self._next_turn or earliest, earliest) + timedelta(seconds=1 / COUNTER_WRITES_PER_S)
            wanted.turn = self._next_turn
        return max(0.0, (wanted.turn - now).total_seconds())

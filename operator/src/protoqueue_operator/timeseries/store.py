"""The measurements of all queues, whichever NATS they live in."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from protoqueue.protocol.samples import FINE
from protoqueue.protocol.v1 import samples_pb2 as pb
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.timeseries.series import MOST_CHANGES, Series


@dataclass(frozen=True)
class Resized:
    """A change of a group's number of workers, and why."""

    group: Group
    before: int
    after: int
    reason: str
    message: str


class SeriesStore:
    """By queue, in any NATS; a new one for a Queue that was recreated under the same name."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._series: dict[str, Series] = {}
        """By uid, which is a faster lookup than by key: every sample of a queue gets here."""
        self._uids: dict[Key, str] = {}
        self._early: dict[Key, list[pb.WorkerChange]] = {}
        """Changes of queues that have no series yet: a first task may bring workers before all counts are known."""

    def now(self) -> float:
        """In seconds since the epoch."""
        return self._clock()

    def find(self, queue: Queue) -> Series | None:
        """None if there is none yet, or only an earlier Queue's."""
        return self._series.get(queue.meta.uid)

    def begin(self, queue: Queue) -> Series:
        """Create one, replacing that of an earlier Queue of the name."""
        key, uid = queue.meta.key, queue.meta.uid
        self._series.pop(self._uids.get(key, ""), None)
        series = Series(uid, self.now(), queue.meta.created.timestamp())
        for change in self._early.pop(key, ()):
            series.change_workers(change)
        self._uids[key], self._series[uid] = uid, series
        return series

    def resized(self, change: Resized) -> None:
        """Record it with the queue."""
        key = change.group.queue_key
        told = pb.WorkerChange(
            at=int(self.now()),
            group=change.group.meta.name,
            before=change.before,
            after=change.after,
            reason=change.reason,
            message=change.message,
        )
        if uid := self._uids.get(key):
            self._series[uid].change_workers(told)
        else:
            self._early[key] = [*self._early.get(key, ()), told][-MOST_CHANGES[FINE] :]

    def keep_only(self, queues: Collection[Key]) -> None:
        """Forget queues that are gone."""
        for key in self._uids.keys() - set(queues):
            del self._series[self._uids.pop(key)]
        for key in self._early.keys() - set(queues):
            del self._early[key]

"""One look at one object, whatever the occasion: created, changed, resumed, drifted, or something it depends on did."""

import logging

from protoqueue_operator.adapters.kubernetes import ApiError, Conflict, Gone
from protoqueue_operator.core.refusals import (
    BrokerRefused,
    BrokerUnavailable,
    ForeignAsset,
    LevelsGrowing,
    Moving,
    QueueNotFound,
    QueueNotReady,
    Refusal,
    ScaleTargetTaken,
    TakenOver,
)
from protoqueue_operator.core.resources import Group, Key, Queue
from protoqueue_operator.core.targets import Target
from protoqueue_operator.reconcile.brokers import Broker
from protoqueue_operator.reconcile.deletion import delete_group, delete_queue
from protoqueue_operator.reconcile.groups import reconcile_group, refuse_group
from protoqueue_operator.reconcile.metrics import Metrics
from protoqueue_operator.reconcile.queues import reconcile_queue, refuse_queue
from protoqueue_operator.reconcile.runtime import Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.work import Again, WorkQueue

logger = logging.getLogger(__name__)

_MOVING_AGAIN_S = 5.0
"""Nothing tells when the last task of a queue that is to move is done."""

RESYNC_PATIENCE_S = 30.0
"""What is looked at only to be sure, as after a start, lets go first what somebody waits for."""

_LEADERLESS_AGAIN_S = 10.0
"""Of a connection that comes back all are told; nothing tells when one stream's servers are back."""

_FOREIGN_AGAIN_S = 30.0
"""Nothing tells when somebody else's asset goes away, nor when a group that no watch has brought yet does."""


class Dispatcher:
    """Holds the work queue; the watches, the sampler and the connection only say which key to look at."""

    def __init__(self, runtime: Runtime, scaler: Scaler, metrics: Metrics, workers: int = 16) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._scaler = scaler
        self._refused_queues: set[Key] = set()
        self._targets: dict[Key, Target] = {}
        """What each group was last seen to size, or to name."""
        self.work: WorkQueue[Key] = WorkQueue(self.look_at, workers)

    def add_groups_of(self, queue: Key, patience_s: float = 0.0) -> None:
        for group in self._runtime.cache.groups_of(queue):
            self.work.add(group.meta.key, patience_s)

    def look_again(self, queue: Key) -> None:
        """Somebody else has touched the assets of a queue, or of its groups."""
        if queue in self._runtime.cache.queues:
            self.work.add(queue)
            self.add_groups_of(queue)

    def add_all_of(self, broker: Broker) -> None:
        """Whatever this broker holds is in question, as after it went away or came back."""
        for key in self._runtime.brokers.queues_naming(broker):
            self.work.add(key, RESYNC_PATIENCE_S)
            self.add_groups_of(key, RESYNC_PATIENCE_S)

    async def look_at(self, key: Key) -> Again | None:
        with self._metrics.reconcile_seconds.labels(key.kind).time():
            again = await self._look_at(key)
        self._call_rivals(key)
        return again

    def _call_rivals(self, group: Key) -> None:
        """Where the group came to size something else than before, or nothing, others get their turn, or lose it."""
        before, now = self._targets.pop(group, None), self._runtime.cache.target_of(group)
        if now:
            self._targets[group] = now
        if before == now:
            return
        for target in filter(None, (before, now)):
            for rival in self._runtime.cache.groups_naming(target):
                if rival.meta.key != group:
                    self.work.add(rival.meta.key)

    async def _look_at(self, key: Key) -> Again | None:
        resource = self._runtime.cache.get(key)
        try:
            if resource is None:
                self._forget(key)
                return None
            if isinstance(resource, Queue):
                return await self._look_at_queue(resource)
            again = await self._look_at_group(resource)
            if resource.queue_key not in self._runtime.cache.queues:
                self._runtime.brokers.forget(resource.queue_key)  # it went meanwhile, and nobody tells of it again
            return again
        except Gone:
            return None
        except Conflict:
            logger.debug("object moved on: object=%s", key)
            return Again()
        except ApiError as error:
            self._metrics.reconcile_errors.labels(key.kind, "Kubernetes").inc()
            logger.warning("kubernetes refused: object=%s status=%s error=%s", key, error.status, error)
            if resource and error.is_refusal:
                self._refuse(resource, "KubernetesRefused", str(error))
            return Again()

    async def _look_at_queue(self, queue: Queue) -> Again | None:
        try:
            if queue.meta.deleting_since:
                condition = queue.status.condition("Ready")
                if condition and condition.status == "True":
                    self.add_groups_of(queue.meta.key)
                return await delete_queue(queue, self._runtime)
            is_news = await reconcile_queue(queue, self._runtime)
            self._refused_queues.discard(queue.meta.key)
            if is_news:
                self.add_groups_of(queue.meta.key)
            return None
        except (Refusal, BrokerUnavailable) as error:
            if isinstance(error, Refusal):
                self._refused_queues.add(queue.meta.key)
                self.add_groups_of(queue.meta.key)
            self._metrics.reconcile_errors.labels("Queue", error.reason).inc()
            refuse_queue(queue, error.reason, str(error), self._runtime)
            return _again(error)

    async def _look_at_group(self, group: Group) -> Again | None:
        try:
            if group.meta.deleting_since:
                return await delete_group(group, self._runtime)
            backlog = await reconcile_group(group, self._runtime)
        except (Refusal, BrokerUnavailable) as error:
            if isinstance(error, Refusal):
                self._runtime.state_of(group.meta.key, group.meta.uid).established = None
            if await self._will_be_called(group, error):
                return None
            self._metrics.reconcile_errors.labels("ConsumerGroup", error.reason).inc()
            refuse_group(group, error.reason, str(error), self._runtime)
            return _again(error)
        await self._scaler.look_at(group, backlog)
        return None

    def _refuse(self, resource: Queue | Group, reason: str, message: str) -> None:
        if isinstance(resource, Queue):
            refuse_queue(resource, reason, message, self._runtime)
        else:
            refuse_group(resource, reason, message, self._runtime)

    async def _will_be_called(self, group: Group, error: Refusal | BrokerUnavailable) -> bool:
        """Whether the group's queue is on its way: it calls its groups when it is there. Raises ApiError."""
        queue = self._runtime.cache.queues.get(group.queue_key)
        if queue is not None:  # both may have been created together
            is_new = not queue.status.conditions and group.queue_key not in self._refused_queues
            return isinstance(error, QueueNotReady) and is_new
        if not isinstance(error, QueueNotFound):
            return False
        # The watch of the groups may be ahead of the queues', as after a start with thousands of each.
        try:
            await self._runtime.kubernetes.get(group.queue_key)
        except Gone:
            return False
        return True

    def _forget(self, key: Key) -> None:
        self.work.forget(key)
        self._runtime.reporter.forget(key)
        self._runtime.groups.pop(key, None)
        self._runtime.brokers.forget(key)
        self._runtime.streams.pop(key, None)
        self._runtime.yielded.pop(key, None)
        self._refused_queues.discard(key)


def _again(error: Refusal | BrokerUnavailable) -> Again | None:
    """A refusal waits for a change, which watches report, or rounds where none can; the rest may pass by itself."""
    if isinstance(error, ForeignAsset | ScaleTargetTaken | TakenOver):
        return Again(_FOREIGN_AGAIN_S)
    if isinstance(error, Moving):
        return Again(_MOVING_AGAIN_S)
    if isinstance(error, BrokerUnavailable):
        return Again(longest_s=_LEADERLESS_AGAIN_S)
    return Again() if isinstance(error, BrokerRefused | LevelsGrowing) else None

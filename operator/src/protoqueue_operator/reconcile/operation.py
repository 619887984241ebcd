"""The running operator: its parts, what sets them going, and what tells that they still go."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from protoqueue.cancellation import cancel
from protoqueue_operator.adapters.kubernetes import Kubernetes
from protoqueue_operator.adapters.leases import Election
from protoqueue_operator.adapters.monitoring import MonitoringServer
from protoqueue_operator.core.deployment import GROUP_LABEL, Deployment
from protoqueue_operator.core.resources import FINALIZER, Group, Key, Meta, Queue, parse_meta
from protoqueue_operator.core.status import is_ready
from protoqueue_operator.reconcile.brokers import Broker, Brokers
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.dispatch import RESYNC_PATIENCE_S, Dispatcher
from protoqueue_operator.reconcile.following import follow
from protoqueue_operator.reconcile.metrics import Gauges, Metrics
from protoqueue_operator.reconcile.reporting import Reporter
from protoqueue_operator.reconcile.runtime import Runtime, Settings
from protoqueue_operator.reconcile.sampling import Sampler
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.secrets import SecretRounds
from protoqueue_operator.reconcile.target_rounds import TargetRounds
from protoqueue_operator.reconcile.watches import Watches

_AWAY_AFTER_S = 3.0
"""A connection lost for less is not worth a word in every object's status."""

_STALLED_AFTER_S = 60.0
_BEHIND_AFTER_S = 90.0
"""A watch that hangs is begun anew by kopf before that."""


class Operation:
    """Takes what the watches see; everything else happens in its own tasks."""

    def __init__(self, settings: Settings, kubernetes: Kubernetes, halt: Callable[[], None]) -> None:
        """`halt` ends the process: it is called when another replica may have begun to act, and when all is stopped."""
        self._kubernetes = kubernetes
        self._halt = halt
        self.was_deposed = False
        """Whether the Lease was lost while acting."""
        self._cache = Cache()
        self.watches = Watches(kubernetes, settings.namespaces, self)
        self._watched: dict[Key, Meta] = {}
        """What the watches have brought so far: answers to our own writes put the cache ahead of them."""
        self._reporter = Reporter(kubernetes, self._cache, _now)
        self._brokers = Brokers(settings.credentials, kubernetes, self)
        self._runtime = Runtime(settings, kubernetes, self._brokers, self._cache, self._reporter, _now)
        self._scaler = Scaler(self._runtime)
        self._metrics = Metrics()
        self._metrics.registry.register(
            Gauges(
                self._cache,
                self.stalled_for_s,
                self.watches.behind_for_s,
                self._nats_is_up,
                lambda: self._is_leading,
            )
        )
        self._dispatcher = Dispatcher(self._runtime, self._scaler, self._metrics)
        self._secrets = SecretRounds(kubernetes, self._cache, self._brokers, self._dispatcher.look_again)
        self._targets = TargetRounds(self._runtime, self._scaler, self._dispatcher.work.add)
        self._is_leading = False
        self._election: Election | None = None
        self._electing: asyncio.Task[None] | None = None
        self._comparing: asyncio.Task[None] | None = None
        self._rounds: tuple[asyncio.Task[None], ...] = ()
        self._following: asyncio.Task[None] | None = None
        self._monitoring: MonitoringServer | None = None
        self._samplers: dict[Broker, tuple[Sampler, asyncio.Task[None]]] = {}
        self._away: dict[Broker, asyncio.TimerHandle] = {}

    async def start(self) -> None:
        """Raises OSError where the monitoring port is taken."""
        settings = self._runtime.settings
        if settings.monitoring_url:
            self._monitoring = MonitoringServer(settings.monitoring_url, self._metrics.registry, self.trouble)
            await self._monitoring.start()
        self._comparing = asyncio.create_task(self.watches.run(settings.sync_period_s), name="watches")
        if read := settings.read_credentials:
            self._following = asyncio.create_task(follow(read, self._brokers.adopt), name="own credentials")
        if settings.lease is None:
            self._begin()
            return
        self._election = Election(self._kubernetes, settings.lease, settings.identity, self._begin, self._end)
        self._electing = asyncio.create_task(self._election.run(), name="election")

    def _begin(self) -> None:
        """Act. What the watches have seen until now is in the work queue already."""
        self._is_leading = True
        self._reporter.start()
        self._brokers.start()
        self._dispatcher.work.start()
        self._rounds = (
            asyncio.create_task(self._secrets.run(), name="secrets"),
            asyncio.create_task(self._targets.run(), name="targets"),
        )

    def _end(self) -> None:
        """Stop acting this very moment; the process ends after it."""
        self._is_leading, self.was_deposed = False, True
        self._dispatcher.work.cancel()
        self._reporter.cancel()
        for task in filter(None, (self._following, *self._rounds, *(task for _, task in self._samplers.values()))):
            task.cancel()
        self._halt()

    async def stop(self) -> None:
        for task in self._lasting():
            task.cancel()
        await cancel(*(task for _, task in self._samplers.values()))
        await self._dispatcher.work.stop()
        await self._reporter.stop()
        await self._brokers.stop()
        if self._election:
            await self._election.resign()
        if self._monitoring:
            await self._monitoring.stop()
        await self._kubernetes.close()
        self._halt()

    def broker_opened(self, broker: Broker) -> None:
        """A connection begins: its queues are sampled from now on."""
        sampler = Sampler(self._runtime, self._scaler, broker, self._dispatcher.look_again)
        self._samplers[broker] = sampler, asyncio.create_task(sampler.run(), name="sampler")

    def broker_changed(self, broker: Broker, is_up: bool) -> None:
        """A connection was made or lost."""
        if timer := self._away.pop(broker, None):
            timer.cancel()
        if is_up:
            broker.configs.doubt()
            self._dispatcher.add_all_of(broker)
        else:
            loop = asyncio.get_running_loop()
            self._away[broker] = loop.call_later(_AWAY_AFTER_S, self._dispatcher.add_all_of, broker)

    def broker_closed(self, broker: Broker) -> None:
        """Nobody needs the connection any more."""
        if timer := self._away.pop(broker, None):
            timer.cancel()
        _, task = self._samplers.pop(broker)
        task.cancel()

    def queue_settled(self, queue: Key) -> None:
        """A queue lives elsewhere, or is reached by other credentials."""
        self._dispatcher.look_again(queue)

    def object_seen(self, kind: str, event: str | None, body: Mapping[str, Any]) -> None:
        """An object as a watch or a listing reports it; `event` as in the Kubernetes API, None from the first one."""
        seen = {"Queue": self._queue_seen, "ConsumerGroup": self._group_seen, "Deployment": self._deployment_seen}
        seen[kind](event, body)

    def _queue_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        key = Key("Queue", body["metadata"]["namespace"], body["metadata"]["name"])
        if event == "DELETED":
            self._watched.pop(key, None)
            self._cache.remove(key, body["metadata"]["uid"])
            self._dispatcher.work.add(key)
            self._dispatcher.add_groups_of(key)
            return
        is_news = key not in self._watched
        queue = self._cache.observe_queue(body)
        self._look_if_moved(queue)
        if is_news:  # a group may have been looked at, and refused, before its queue was known
            self._dispatcher.add_groups_of(key, _patience_s(queue))

    def _group_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Its queue waits for it to go, and its siblings to take its place."""
        key = Key("ConsumerGroup", body["metadata"]["namespace"], body["metadata"]["name"])
        before = self._cache.groups.get(key)
        if event == "DELETED":
            self._watched.pop(key, None)
            self._cache.remove(key, body["metadata"]["uid"])
            self._dispatcher.work.add(key)
            if before:
                self._dispatcher.work.add(before.queue_key)
                self._dispatcher.add_groups_of(before.queue_key)
            return
        self._look_if_moved(self._cache.observe_group(body))

    def _look_if_moved(self, resource: Queue | Group) -> None:
        now = resource.meta
        before, self._watched[now.key] = self._watched.get(now.key), now
        if _has_moved(before, now):
            self._dispatcher.work.add(now.key, 0.0 if before else _patience_s(resource))

    def _deployment_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        meta = parse_meta(body, "Deployment")
        group = Key("ConsumerGroup", meta.namespace, body["metadata"]["labels"][GROUP_LABEL])
        before = self._cache.deployments.get(meta.key)
        if event == "DELETED":
            self._cache.remove(meta.key, meta.uid)
            self._dispatcher.work.add(group)
            return
        after = self._cache.observe_deployment(body)
        if before is None or _is_news(before, after):
            self._dispatcher.work.add(group)
        elif before.observed_replicas != after.observed_replicas and (known := self._cache.groups.get(group)):
            self._scaler.size_changed(known)

    def stalled_for_s(self) -> float:
        """Age of the oldest sample, of whichever broker."""
        now = time.monotonic()
        return max((now - sampler.sampled_at for sampler, _ in self._samplers.values()), default=0.0)

    def trouble(self) -> str | None:
        """Why the process should be restarted, or None."""
        for task in self._lasting():
            if task.done():
                return f"the task {task.get_name()!r} has ended"
        for broker, (sampler, _) in self._samplers.items():
            # A NATS that some tenant's Secret names may hold its sampler up as it likes, and nobody else's.
            stalled_s = time.monotonic() - sampler.sampled_at if broker is self._brokers.own else 0.0
            if stalled_s > _STALLED_AFTER_S:
                return f"no backlog was sampled for {stalled_s:.0f} s"
        if (behind_s := self.watches.behind_for_s()) > _BEHIND_AFTER_S:
            return f"the watches have been behind the API server for {behind_s:.0f} s"
        return None

    def _lasting(self) -> Iterator[asyncio.Task[None]]:
        """What ends with the process, and not before."""
        return filter(None, (self._electing, self._comparing, *self._rounds, self._following))

    def _nats_is_up(self) -> bool:
        return self._is_leading and self._brokers.own.connection.is_up


def _patience_s(resource: Queue | Group) -> float:
    """What is Ready when it is first seen, as after a start, is looked at to be sure: nobody waits for it."""
    return RESYNC_PATIENCE_S if is_ready(resource) and not resource.meta.deleting_since else 0.0


def _has_moved(before: Meta | None, now: Meta) -> bool:
    """Whether something other than the status has changed, as far as the operator cares; its finalizer may only go."""
    if before is None or (FINALIZER in before.finalizers and FINALIZER not in now.finalizers):
        return True
    return (before.uid, before.generation, before.deleting_since) != (now.uid, now.generation, now.deleting_since)


def _is_news(before: Deployment, after: Deployment) -> bool:
    """Whether more than the number of its pods has changed."""
    return (before.uid, before.generation, before.trouble) != (after.uid, after.generation, after.trouble)


def _now() -> datetime:
    return datetime.now(UTC)

"""The running operator: its parts, what sets them going, and what tells that they still go."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from protoqueue_operator.adapters.buckets import ConfigBucket
from protoqueue_operator.adapters.connections import Connection, Credentials
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.adapters.kubernetes import Kubernetes
from protoqueue_operator.core.deployment import GROUP_LABEL
from protoqueue_operator.core.resources import FINALIZER, Group, Key, Queue, parse_meta
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.dispatch import Dispatcher
from protoqueue_operator.reconcile.reporting import Reporter
from protoqueue_operator.reconcile.runtime import Runtime, Settings
from protoqueue_operator.reconcile.sampling import Sampler
from protoqueue_operator.reconcile.scaling import Scaler

_AWAY_AFTER_S = 3.0
"""A connection lost for less is not worth a word in every object's status."""

_STALLED_AFTER_S = 60.0


class Operation:
    """Takes what the watches see; everything else happens in its own tasks."""

    def __init__(self, settings: Settings, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._connection = Connection(Credentials(settings.nats_servers), self._nats_changed)
        jetstream = JetStream(self._connection)
        self._cache = Cache()
        self._reporter = Reporter(kubernetes, self._cache, _now)
        runtime = Runtime(settings, kubernetes, jetstream, ConfigBucket(jetstream), self._cache, self._reporter, _now)
        self._scaler = Scaler(runtime)
        self._dispatcher = Dispatcher(runtime, self._scaler)
        self._sampler = Sampler(runtime, self._scaler)
        self._sampling: asyncio.Task[None] | None = None
        self._away: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._connection.open()
        self._reporter.start()
        self._dispatcher.work.start()
        self._sampling = asyncio.create_task(self._sampler.run(), name="sampler")

    async def stop(self) -> None:
        if self._sampling:
            self._sampling.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampling
        await self._dispatcher.work.stop()
        await self._reporter.stop()
        await self._connection.close()
        await self._kubernetes.close()

    def queue_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """A Queue as a watch reports it; `event` as in the Kubernetes API, None from the first listing."""
        key = Key("Queue", body["metadata"]["namespace"], body["metadata"]["name"])
        before = self._cache.queues.get(key)
        if event == "DELETED":
            self._cache.remove(key, body["metadata"]["uid"])
            self._dispatcher.work.add(key)
            self._dispatcher.add_groups_of(key)
            return
        after = self._cache.observe_queue(body)
        if _has_moved(before, after):
            self._dispatcher.work.add(key)

    def group_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """A ConsumerGroup as a watch reports it. Its queue waits for it to go, and its siblings to take its place."""
        key = Key("ConsumerGroup", body["metadata"]["namespace"], body["metadata"]["name"])
        before = self._cache.groups.get(key)
        if event == "DELETED":
            self._cache.remove(key, body["metadata"]["uid"])
            self._dispatcher.work.add(key)
            if before:
                self._dispatcher.work.add(before.queue_key)
                self._dispatcher.add_groups_of(before.queue_key)
            return
        after = self._cache.observe_group(body)
        if _has_moved(before, after):
            self._dispatcher.work.add(key)

    def deployment_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """A Deployment that carries the group label, as a watch reports it."""
        meta = parse_meta(body, "Deployment")
        group = Key("ConsumerGroup", meta.namespace, body["metadata"]["labels"][GROUP_LABEL])
        before = self._cache.deployments.get(meta.key)
        if event == "DELETED":
            self._cache.remove(meta.key, meta.uid)
            self._dispatcher.work.add(group)
            return
        after = self._cache.observe_deployment(body)
        if before is None or before.generation != after.generation or before.uid != after.uid:
            self._dispatcher.work.add(group)
        elif before.observed_replicas != after.observed_replicas and (known := self._cache.groups.get(group)):
            self._scaler.size_changed(known)

    def stalled_for_s(self) -> float:
        """Seconds since the sampler last finished a round."""
        return time.monotonic() - self._sampler.sampled_at

    def is_alive(self) -> bool:
        return self.stalled_for_s() < _STALLED_AFTER_S

    def _nats_changed(self, is_up: bool) -> None:
        if self._away:
            self._away.cancel()
            self._away = None
        if is_up:
            self._dispatcher.add_all()
        else:
            self._away = asyncio.get_running_loop().call_later(_AWAY_AFTER_S, self._dispatcher.add_all)


def _has_moved(before: Queue | Group | None, after: Queue | Group) -> bool:
    """Whether something other than the status has changed, as far as the operator cares; its finalizer may only go."""
    if before is None:
        return True
    old, new = before.meta, after.meta
    if FINALIZER in old.finalizers and FINALIZER not in new.finalizers:
        return True
    return (old.uid, old.generation, old.deleting_since) != (new.uid, new.generation, new.deleting_since)


def _now() -> datetime:
    return datetime.now(UTC)

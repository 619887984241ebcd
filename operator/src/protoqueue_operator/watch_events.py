"""Passes watch events to the caches, and changes to the work queue."""

from collections.abc import Mapping
from typing import Any

from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.labels import FINALIZER, GROUP_LABEL
from protoqueue_operator.api.v1alpha1.meta import Key, Meta, parse_meta
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.status import is_ready
from protoqueue_operator.caches import Caches
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.wiring import RESYNC_PATIENCE_S, Wiring


class WatchEvents:
    """The listener of the watches and of resync."""

    def __init__(self, caches: Caches, wiring: Wiring, status: StatusWriter) -> None:
        self._caches = caches
        self._wiring = wiring
        self._status = status
        self._watched: dict[Key, Meta] = {}
        """What the watches have reported so far: answers to our own writes put the cache ahead of them."""
        self._finished: set[Key] = set()
        """The Redrives whose end they have reported."""

    def object_seen(self, kind: str, event: str | None, body: Mapping[str, Any]) -> None:
        """An object as a watch or a listing reports it; `event` as in the Kubernetes API, None from the first one."""
        seen = {
            "Queue": self._queue_seen,
            "ConsumerGroup": self._group_seen,
            "Redrive": self._redrive_seen,
            "Deployment": self._deployment_seen,
        }
        seen[kind](event, body)

    def _queue_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        key = Key("Queue", body["metadata"]["namespace"], body["metadata"]["name"])
        if event == "DELETED":
            self._watched.pop(key, None)
            self._caches.queues.remove(key, body["metadata"]["uid"])
            self._wiring.controller.work.add(key)
            self._wiring.requeue_groups(key)
            self._wiring.requeue_senders(key)
            self._wiring.requeue_redrives(key)
            return
        before, is_news = self._watched.get(key), key not in self._watched
        queue = self._caches.queues.observe(body)
        if self._look_if_moved(queue):
            self._wiring.requeue_senders(key, _within_s(queue))
        if is_news:  # a group may have been reconciled, and refused, before its queue was known
            self._wiring.requeue_groups(key, _within_s(queue))
        if is_news or (before and before.deleting_since != queue.meta.deleting_since):
            self._wiring.requeue_redrives(key)

    def _group_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Its queue waits for its deletion, and its siblings to replace it."""
        key = Key("ConsumerGroup", body["metadata"]["namespace"], body["metadata"]["name"])
        before = self._caches.groups.get(key)
        if event == "DELETED":
            self._watched.pop(key, None)
            self._caches.groups.remove(key, body["metadata"]["uid"])
            self._wiring.controller.work.add(key)
            if before:
                self._wiring.controller.work.add(before.queue_key)
                self._wiring.requeue_groups(before.queue_key)
            return
        self._look_if_moved(self._caches.groups.observe(body))

    def _redrive_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Its end is a change too: its checkpoints are removed once the API server knows."""
        key = Key("Redrive", body["metadata"]["namespace"], body["metadata"]["name"])
        if event == "DELETED":
            self._watched.pop(key, None)
            self._finished.discard(key)
            self._caches.redrives.remove(key, body["metadata"]["uid"])
            self._wiring.controller.work.add(key)
            return
        redrive = self._caches.redrives.observe(body)
        self._status.compare(redrive)
        before, self._watched[key] = self._watched.get(key), redrive.meta
        is_finished = redrive.status.is_finished
        if _has_moved(before, redrive.meta) or (is_finished and key not in self._finished):
            self._wiring.controller.work.add(key, RESYNC_PATIENCE_S if is_finished and before is None else 0.0)
        (self._finished.add if is_finished else self._finished.discard)(key)

    def _look_if_moved(self, resource: Queue | Group) -> bool:
        """Whether it has."""
        now = resource.meta
        self._status.compare(resource)
        before, self._watched[now.key] = self._watched.get(now.key), now
        if not _has_moved(before, now):
            return False
        self._wiring.controller.work.add(now.key, 0.0 if before else _within_s(resource))
        return True

    def _deployment_seen(self, event: str | None, body: Mapping[str, Any]) -> None:
        meta = parse_meta(body, "Deployment")
        group = Key("ConsumerGroup", meta.namespace, body["metadata"]["labels"][GROUP_LABEL])
        before = self._caches.deployments.get(meta.key)
        if event == "DELETED":
            self._caches.deployments.remove(meta.key, meta.uid)
            self._wiring.controller.work.add(group)
            return
        after = self._caches.deployments.observe(body)
        if before is None or _is_news(before, after):
            self._wiring.controller.work.add(group)
        elif _pods(before) != _pods(after) and (known := self._caches.groups.get(group)):
            self._wiring.executor.report_size(known)


def _within_s(resource: Queue | Group) -> float:
    """A resource already Ready when first seen, as after a start, is not urgent: it is reconciled only to be sure."""
    return RESYNC_PATIENCE_S if is_ready(resource) and not resource.meta.deleting_since else 0.0


def _has_moved(before: Meta | None, now: Meta) -> bool:
    """Whether something other than the status has changed, as far as the operator cares; its finalizer may only go."""
    if before is None or (FINALIZER in before.finalizers and FINALIZER not in now.finalizers):
        return True
    return _relevant(before) != _relevant(now)


def _relevant(meta: Meta) -> tuple[object, ...]:
    return meta.uid, meta.generation, meta.deleting_since, meta.is_abandoned, meta.adopts


def _is_news(before: Deployment, after: Deployment) -> bool:
    """Whether more than the number of its pods has changed."""
    return (before.uid, before.meta.generation, before.trouble) != (after.uid, after.meta.generation, after.trouble)


def _pods(deployment: Deployment) -> tuple[int, int]:
    return deployment.observed_replicas, deployment.available_replicas

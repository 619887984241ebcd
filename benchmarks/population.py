"""Queues and groups in numbers: created as a client in a hurry does, and followed through the API."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, KubeClient
from protoqueue_devcluster.kube.informer import Informer
from protoqueue_devcluster.manifests import unready_reason

Object = dict[str, Any]
Name = tuple[str, str]
"""Kind and name."""

_AT_ONCE = 32


def queue(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"deletionPolicy": "Delete"}}


def group(name: str, of: str, *, template: bool = True, maximum: int = 1, tasks_per_worker: int = 100) -> Object:
    """A group with workers sleeps at zero, with a Deployment of its own; no pod is ever to succeed in it."""
    spec: Object = {"queueRef": {"name": of}}
    if template:
        container = {"name": "worker", "image": "protoqueue.invalid/worker", "command": ["worker"]}
        spec["worker"] = {"template": {"spec": {"containers": [container]}}}
        target = {"tasksPerWorker": tasks_per_worker}
        spec["autoscale"] = {"minReplicas": 0, "maxReplicas": maximum, "target": target}
    return {"metadata": {"name": name}, "spec": spec}


async def create(client: KubeClient, namespace: str, pairs: Iterable[tuple[Object, Object | None]]) -> None:
    """Each Queue and then its group, many at once. Raises ApiError."""
    waiting = list(reversed(list(pairs)))

    async def work() -> None:
        while waiting:
            a_queue, a_group = waiting.pop()
            await client.create(QUEUES, a_queue, namespace)
            if a_group:
                await client.create(CONSUMER_GROUPS, a_group, namespace)

    async with asyncio.TaskGroup() as workers:
        for _ in range(_AT_ONCE):
            workers.create_task(work())


class Follower:
    """What the API server reports of the Queues and groups of one namespace, and when (monotonic seconds)."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.seen_at: dict[Name, float] = {}
        self.ready_at: dict[Name, float] = {}
        """When each became Ready in its present generation."""
        self.unready: dict[Name, str] = {}
        """Why each of the others is not."""
        self.worked_at: dict[Name, float] = {}
        """When each first told of ready tasks."""
        self.status_writes: defaultdict[Name, list[float]] = defaultdict(list)
        self._statuses: dict[Name, Object] = {}
        self._changed = asyncio.Event()
        self._informers = [Informer(client, kind, namespace) for kind in (QUEUES, CONSUMER_GROUPS)]
        for informer in self._informers:
            informer.listen(self._observe)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Follower"]:
        async with asyncio.TaskGroup() as tasks:
            runs = [tasks.create_task(informer.run()) for informer in self._informers]
            try:
                for informer in self._informers:
                    await informer.synced.wait()
                yield self
            finally:
                for run in runs:
                    run.cancel()

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Until it holds, looked at whenever anything changes; False when the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    def _observe(self, obj: Object) -> None:
        name, now = (obj["kind"], obj["metadata"]["name"]), time.monotonic()
        self.seen_at.setdefault(name, now)
        status = obj.get("status") or {}
        if status != self._statuses.get(name, {}):
            self._statuses[name] = status
            self.status_writes[name].append(now)
        if (status.get("tasks") or {}).get("waiting"):
            self.worked_at.setdefault(name, now)
        if (reason := unready_reason(obj)) is not None:
            self.ready_at.pop(name, None)
            self.unready[name] = reason
        elif name not in self.ready_at:
            self.ready_at[name] = now
            self.unready.pop(name, None)
        self._changed.set()

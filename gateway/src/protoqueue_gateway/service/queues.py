"""Queues as resources: create, read, change, delete."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from protoqueue import GroupStats, ProtoQueueError, QueueStats
from protoqueue.protocol.durations import parse_duration
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.kubernetes.client import GROUPS, QUEUES, Json, Kubernetes, Resource
from protoqueue_gateway.kubernetes.errors import (
    KubernetesError,
    ObjectExists,
    ObjectInvalid,
    ObjectNotFound,
    WriteConflict,
)
from protoqueue_gateway.service.conditions import ready_condition
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import (
    Conflicting,
    Fault,
    Invalid,
    NoSuchNamespace,
    NoSuchQueue,
    QueueExists,
    ServiceError,
)
from protoqueue_gateway.service.queue_rows import queue_of

MADE_BY = {"app.kubernetes.io/managed-by": "protoqueue-gateway"}

_LOOK_S = 0.1
_STATS_AT_ONCE = 16
_LISTED_S = 1.0


@dataclass(frozen=True)
class QueueView:
    """A Queue as it is now. `stats` is None where NATS does not know it, or not yet."""

    name: QueueName
    body: Json
    groups: Sequence[Json] = ()
    stats: QueueStats | None = None

    @property
    def spec(self) -> Json:
        return dict(self.body.get("spec") or {})

    @property
    def conditions(self) -> list[Json]:
        return list((self.body.get("status") or {}).get("conditions") or [])

    @property
    def ready(self) -> Json:
        """The Ready condition at the present generation, or an empty one."""
        return ready_condition(self.body)

    def group_stats(self, name: str) -> GroupStats:
        return self.stats.groups.get(name, GroupStats()) if self.stats else GroupStats()


@dataclass(frozen=True)
class NewQueue:
    """The requested queue: its spec, and the queue for its dead letters, if that has to be created."""

    name: QueueName
    spec: Json
    dead_letter_queue: str | None = None
    default_spec: Json = field(default_factory=dict)
    """The spec of the queue of dead letters, where that has to be made."""


class Queues:
    def __init__(self, kubernetes: Kubernetes, connection: Connection) -> None:
        self._kubernetes = kubernetes
        self._connection = connection
        self._listed: dict[str, tuple[float, list[Json], list[Json]]] = {}

    async def create(self, wanted: NewQueue, wait_s: float) -> tuple[QueueView, bool]:
        """The queue, and whether it was made now; with a group, once both are Ready or `wait_s` is over.

        The group has the queue's name: of two queues in a namespace both cannot have a ConsumerGroup called default.

        Raises QueueExists where there is another of this name, Invalid and KubernetesError.
        """
        body = _queue_body(wanted)
        checked = await self._checked(body)
        if wanted.dead_letter_queue == wanted.name.name:
            where = Fault(("config", "deadLetterQueue"), "name another queue")
            raise Invalid("a queue cannot be its own dead letter queue", [where])
        created = True
        try:
            stored = await self._kubernetes.create(QUEUES, body)
        except ObjectExists:
            stored, created = await self._same(wanted, checked), False
        except ObjectInvalid as error:
            raise _invalid(error) from error
        try:
            if wanted.dead_letter_queue is not None:
                await self._ensure_dead_letter_queue(wanted)
            await self._ensure_group(wanted.name, only_if_none=not created)
        except (KubernetesError, ServiceError):
            if created:  # a partial creation leaves nothing behind
                await self._kubernetes.delete(QUEUES, wanted.name.name, wanted.name.namespace)
            raise
        self._listed.clear()
        await self._until_ready(wanted.name, stored, wait_s)
        return await self.get(wanted.name), created

    async def _checked(self, body: Json) -> Json:
        """The spec as it would be stored; raises Invalid, also for fields that would be dropped."""
        trial = {**body, "metadata": {**body["metadata"], "name": _trial_name(body["metadata"]["name"])}}
        try:
            answer = await self._kubernetes.create(QUEUES, trial, dry_run=True)
        except ObjectNotFound:
            raise NoSuchNamespace(f"there is no namespace {body['metadata']['namespace']}") from None
        except ObjectInvalid as error:
            raise _invalid(error) from error
        unknown = _dropped(body["spec"], answer.get("spec") or {}, ("spec",))
        if unknown:
            raise Invalid(
                "the spec has fields that a Queue does not have",
                [Fault(path, "unknown field of a Queue's spec") for path in unknown],
            )
        return dict(answer.get("spec") or {})

    async def _same(self, wanted: NewQueue, spec: Json) -> Json:
        name = wanted.name
        stored = await self._get(name)
        if stored["metadata"].get("deletionTimestamp"):
            raise Conflicting(f"queue {name} is being deleted: try again once it is gone")
        if _comparable(stored.get("spec")) != _comparable(spec):
            raise QueueExists(f"there is a queue {name} already, and its spec is another: use PATCH to change it")
        return stored

    async def _ensure_dead_letter_queue(self, wanted: NewQueue) -> None:
        name = QueueName(wanted.name.namespace, wanted.dead_letter_queue or "")
        try:
            await self._kubernetes.create(QUEUES, _queue_body(NewQueue(name, wanted.default_spec)))
        except ObjectExists:
            return
        await self._ensure_group(name, only_if_none=False)

    async def _ensure_group(self, name: QueueName, *, only_if_none: bool) -> None:
        if only_if_none and any(queue_of(group) == name.name for group in await self._groups(name.namespace)):
            return
        body: Json = {
            "apiVersion": "protoqueue.dev/v1alpha1", "kind": "ConsumerGroup",
            "metadata": {"name": name.name, "namespace": name.namespace, "labels": dict(MADE_BY)},
            "spec": {"queueRef": {"name": name.name}},
        }  # fmt: skip
        try:
            await self._kubernetes.create(GROUPS, body)
        except ObjectExists:
            stored = await self._kubernetes.get(GROUPS, name.name, name.namespace)
            if queue_of(stored) != name.name:
                raise Conflicting(
                    f"the queue's group is to be called {name.name}, and queue {queue_of(stored)} has one so "
                    "named: choose another name"
                ) from None

    async def _until_ready(self, name: QueueName, body: Json, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            groups = [group for group in await self._groups(name.namespace) if queue_of(group) == name.name]
            if _is_ready(body) and groups and all(map(_is_ready, groups)):
                return
            await asyncio.sleep(_LOOK_S)
            body = await self._get(name)

    async def get(self, name: QueueName) -> QueueView:
        """Raises NoSuchQueue and KubernetesError."""
        body = await self._get(name)
        groups = [group for group in await self._groups(name.namespace) if queue_of(group) == name.name]
        return await self._view(body, groups)

    async def require(self, name: QueueName) -> None:
        """Raises NoSuchQueue and KubernetesError."""
        await self._get(name)

    async def page(
        self, namespace: str, may_see: Callable[[str], bool], after: str, limit: int
    ) -> tuple[list[QueueView], str | None]:
        """Those of a namespace that the caller may see, by name, and where the next page begins."""
        listed_at, bodies, groups = self._listed.get(namespace, (0.0, [], []))
        if time.monotonic() - listed_at > _LISTED_S:
            bodies, groups = await asyncio.gather(
                self._kubernetes.objects(QUEUES, namespace), self._kubernetes.objects(GROUPS, namespace)
            )
            bodies.sort(key=lambda body: str(body["metadata"]["name"]))
            self._listed[namespace] = time.monotonic(), bodies, groups
        seen = [
            body for body in bodies
            if body["metadata"]["name"] > after and may_see(f"{namespace}/{body['metadata']['name']}")
        ]  # fmt: skip
        page = seen[:limit]
        looking = asyncio.Semaphore(_STATS_AT_ONCE)

        async def view(body: Json) -> QueueView:
            async with looking:
                mine = [group for group in groups if queue_of(group) == body["metadata"]["name"]]
                return await self._view(body, mine)

        views = await asyncio.gather(*map(view, page))
        return list(views), str(page[-1]["metadata"]["name"]) if len(seen) > limit else None

    async def change(
        self, name: QueueName, spec: Json, dead_letter_queue: str | None = None, default_spec: Json | None = None
    ) -> QueueView:
        """The queue with a merge patch of its spec. Raises Invalid, NoSuchQueue and KubernetesError."""
        patch: Json = {"spec": spec}
        if dead_letter_queue is not None:
            await self._get(name)
            await self._ensure_dead_letter_queue(NewQueue(name, {}, dead_letter_queue, default_spec or {}))
        try:
            trial = await self._kubernetes.merge(QUEUES, name.name, patch, name.namespace, dry_run=True)
            unknown = _dropped(_without_nulls(spec), trial.get("spec") or {}, ("spec",))
            if unknown:
                faults = [Fault(path, "unknown field of a Queue's spec") for path in unknown]
                raise Invalid("the spec has fields that a Queue does not have", faults)
            await self._kubernetes.merge(QUEUES, name.name, patch, name.namespace)
        except ObjectNotFound:
            raise NoSuchQueue(f"there is no queue {name}") from None
        except WriteConflict as error:
            raise Conflicting(str(error)) from error
        except ObjectInvalid as error:
            raise _invalid(error) from error
        self._listed.clear()
        return await self.get(name)

    async def pause(self, name: QueueName, *, paused: bool) -> None:
        await self.change(name, {"paused": paused})

    async def delete(self, name: QueueName, policy: str | None, wait_s: float) -> bool:
        """Delete it with the groups that a gateway made for it; whether it is gone within `wait_s`."""
        body = await self._get(name)
        if policy is not None:
            await self.change(name, {"deletionPolicy": policy})
        await self._ignoring_missing(QUEUES, name.name, name.namespace)
        for group in await self._groups(name.namespace):
            labels = group["metadata"].get("labels") or {}
            if queue_of(group) == name.name and MADE_BY.items() <= labels.items():
                await self._ignoring_missing(GROUPS, group["metadata"]["name"], name.namespace)
        self._listed.clear()
        deadline = time.monotonic() + wait_s
        while True:
            try:
                now = await self._get(name)
            except NoSuchQueue:
                return True
            if now["metadata"]["uid"] != body["metadata"]["uid"]:
                return True
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK_S)

    async def _ignoring_missing(self, resource: Resource, name: str, namespace: str) -> None:
        try:
            await self._kubernetes.delete(resource, name, namespace)
        except ObjectNotFound:
            return

    async def _get(self, name: QueueName) -> Json:
        try:
            return await self._kubernetes.get(QUEUES, name.name, name.namespace)
        except ObjectNotFound:
            raise NoSuchQueue(f"there is no queue {name}") from None

    async def _groups(self, namespace: str) -> Sequence[Json]:
        return await self._kubernetes.objects(GROUPS, namespace)

    async def _view(self, body: Json, groups: Sequence[Json]) -> QueueView:
        name = QueueName(body["metadata"]["namespace"], body["metadata"]["name"])
        try:
            stats = await (await self._connection.queue(name)).stats()
        except (ProtoQueueError, ServiceError):
            stats = None
        return QueueView(name, body, groups, stats)


def _queue_body(wanted: NewQueue) -> Json:
    metadata: Json = {"name": wanted.name.name, "namespace": wanted.name.namespace, "labels": dict(MADE_BY)}
    return {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "Queue", "metadata": metadata, "spec": dict(wanted.spec)}


def dead_letter_queue(spec: Json) -> str | None:
    """Which queue a Queue's spec has its dead letters become tasks of."""
    letters = spec.get("deadLetter")
    reference = letters.get("queueRef") if isinstance(letters, dict) else None
    name = reference.get("name") if isinstance(reference, dict) else None
    return name if isinstance(name, str) else None


def _trial_name(name: str) -> str:
    return f"{name[:50]}-{time.monotonic_ns() % 10**9}"


def _is_ready(body: Json) -> bool:
    return ready_condition(body).get("status") == "True"


def _invalid(error: ObjectInvalid) -> Invalid:
    faults = [Fault(tuple(_path(cause.field)), cause.message) for cause in error.causes if cause.field]
    return Invalid(str(error), faults)


def _path(text: str) -> list[str | int]:
    """`spec.schedules[0].cron` as its parts."""
    parts: list[str | int] = []
    for part in text.replace("[", ".[").split("."):
        if part.startswith("[") and part.endswith("]") and part[1:-1].isdigit():
            parts.append(int(part[1:-1]))
        elif part:
            parts.append(part.strip('[]"'))
    return parts


def _dropped(sent: Any, stored: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    """The fields of `sent` that are missing in `stored`: the schema has none of them."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        found: list[tuple[str | int, ...]] = []
        for name, value in sent.items():
            if name not in stored and value is not None:
                found.append((*path, name))
            elif name in stored:
                found += _dropped(value, stored[name], (*path, name))
        return found
    if isinstance(sent, list) and isinstance(stored, list):
        return [one for n, (a, b) in enumerate(zip(sent, stored, strict=False)) for one in _dropped(a, b, (*path, n))]
    return []


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def _comparable(value: Any) -> Any:
    """The value with durations as seconds: `60s` and `1m` are the same."""
    if isinstance(value, dict):
        return {name: _comparable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_comparable(inner) for inner in value]
    if isinstance(value, str):
        try:
            return parse_duration(value).total_seconds()
        except ValueError:
            return value
    return value

"""The operator's own sampling, measuring, deciding and scaling, around simulated workers and in simulated time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling.load import ConsumerState, Sample, StreamState
from protoqueue_operator.autoscaling.sampler import ROUND_S
from protoqueue_operator.jetstream.desired import group_consumers
from protoqueue_operator.jetstream.layout import initial_layout
from simulated_workers import Workers
from unit.operator.wired import Wired

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_HEARD_S = 0.02
"""From a publish to the look it wakes the operator for."""


@dataclass(frozen=True)
class Resize:
    at_s: float
    before: int
    after: int
    available: int
    waiting: int
    message: str


class _NoThrottles:
    """As where no handler raises Throttle."""

    def on_told(self, heard: object) -> None: ...

    def forget_others(self, queues: object) -> None: ...

    async def of(self, group: object, *, closely: bool) -> None: ...


class Loop:
    """A group of one queue, with a Deployment of its own that the simulated workers run by."""

    def __init__(self, workers: Workers, **autoscale: Any) -> None:
        self.workers = workers
        self.resizes: list[Resize] = []
        self.said: list[Condition] = []
        """Of the condition Scaling, each time it said something else."""
        self.ready: list[tuple[float, Condition]] = []
        """Of the condition Ready, each time it was said."""
        self._version = 1
        self._armed = False
        wired = Wired(
            self,
            SimpleNamespace(known=lambda _: None),
            self,
            now=lambda: BEGIN + timedelta(seconds=workers.now_s),
            monotonic=lambda: workers.now_s,
        )
        self._deployments = wired.caches.deployments
        self._queue = wired.queue(_body("Queue", "email", {"priorityLevels": 1}))
        group_spec = {
            "queueRef": {"name": "email"},
            "worker": {"template": {"spec": {"containers": [{"name": "worker"}]}}},
            "autoscale": autoscale,
        }
        self.group = wired.group(_body("ConsumerGroup", "mailers", group_spec))
        assert isinstance(self._queue.spec, QueueSpec)
        assert isinstance(self.group.spec, ConsumerGroupSpec), self.group.spec
        layout = initial_layout(self._queue.name, self._queue.spec)
        consumers = group_consumers(
            self.group, effective_spec(self.group.spec, self._queue.spec), self._queue.spec, layout
        )
        (self._consumer,) = (consumer.place for consumer in consumers)
        self._stored = 0
        self.state = wired.applied(self.group, consumers)
        nobody, recorder = cast("Any", _NoThrottles()), wired.wiring.recorder(cast("Any", None))
        self._evaluation = wired.wiring.evaluation(cast("Any", self), recorder, nobody)

    async def run(self, until_s: float) -> None:
        """Sample at the pace of the real sampler, and when a publish wakes a sleeping queue."""
        due_s = self.workers.now_s
        while due_s < until_s:
            due_s += ROUND_S
            if self._armed and (woken_s := self.workers.next_arrival_s + _HEARD_S) < due_s:
                self._armed = False
                await self._look(woken_s)
            await self._look(due_s)

    async def _look(self, at_s: float) -> None:
        workers = self.workers
        workers.advance(at_s)
        self._watch()
        stored = workers.waiting + workers.in_flight
        tasks = StreamState(stored, BEGIN.isoformat(), workers.stored)
        has_changed, self._stored = self._stored != workers.stored, workers.stored
        closely = stored or has_changed or self._queue.meta.key in self._evaluation.active
        state = ConsumerState(workers.waiting, workers.in_flight, workers.delivered)
        await self._evaluation.evaluate(self._queue, Sample(tasks, 0, 0, {self._consumer: state} if closely else None))

    def _watch(self) -> None:
        """The Deployment as a watch would bring it."""
        self._version += 1
        body = _body("Deployment", "mailers", {"replicas": self.workers.size})
        body["metadata"] |= {
            "resourceVersion": str(self._version),
            "ownerReferences": [{"uid": self.group.meta.uid, "controller": True}],
        }
        body["status"] = {"replicas": self.workers.size, "availableReplicas": self.workers.available}
        self._deployments.observe(body)

    # What the operator sees of Kubernetes.

    async def set_scale(self, _: str, __: str, ___: str, ____: str, replicas: int) -> dict[str, Any]:
        workers = self.workers
        self.resizes.append(
            Resize(workers.now_s, workers.size, replicas, workers.available, workers.waiting, self._decided)
        )
        workers.resize(replicas)
        return {"metadata": {"resourceVersion": str(self._version)}}

    async def pages(self, *_: object) -> Any:
        yield {"items": [self._pod(number) for number in range(self.workers.size)]}

    def _pod(self, number: int) -> dict[str, Any]:
        is_ready = number < self.workers.available
        container = {
            "name": "worker",
            "restartCount": int(self.workers.now_s / 60) if self.workers.crashes else 0,
            "lastState": {"terminated": {"exitCode": 1}} if self.workers.crashes else {},
        }
        conditions = [{"type": "Ready", "status": str(is_ready)}]
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}
        return {"metadata": {"name": f"mailers-{number}", "uid": str(number)}, "status": status}

    @property
    def _decided(self) -> str:
        return self.said[-1].message if self.said else ""

    # Of the reporter.

    def report(self, _: object, __: object, conditions: Iterable[Condition] = (), **___: object) -> None:
        for each in conditions:
            if each.type == "Scaling" and (not self.said or self.said[-1].message != each.message):
                self.said.append(each)
            if each.type == "Ready":
                self.ready.append((self.workers.now_s, each))

    def event(self, *_: object) -> None:
        """Nobody listens."""

    # Of activation.

    async def arm(self, _: object) -> bool:
        was, self._armed = self._armed, True
        return not was

    async def disarm(self, _: object) -> None:
        self._armed = False


def _body(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"kind": kind, "metadata": metadata, "spec": spec}

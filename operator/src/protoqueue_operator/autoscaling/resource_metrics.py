"""Metrics of Queues and ConsumerGroups, read from their statuses at each scrape, so that deleted ones disappear."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protoqueue_operator.api.v1alpha1.errors import InvalidSpec
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue

UNSEEN = "Pending"
"""The reason for a resource without a status yet."""

_WORKERS = {"desiredReplicas": "desired", "replicas": "existing", "availableReplicas": "available"}
"""The names of the workers' states in the status."""


class ResourceMetrics(Collector):
    """Only the leader reports objects: with two, sums would double."""

    def __init__(
        self,
        queues: Mapping[Key, Queue],
        groups: Mapping[Key, Group],
        *,
        fields_of: Callable[[Queue | Group], Mapping[str, Any]],
        stored: Mapping[Key, int],
        is_leader: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        """`fields_of` gives the newest status fields of an object, which may not have been written yet.

        `stored` says of each queue how many tasks were ever stored in its streams, those for later once more when due.
        """
        self._queues = queues
        self._groups = groups
        self._fields_of = fields_of
        self._stored = stored
        self._is_leader = is_leader
        self._now = now

    def collect(self) -> Iterator[Metric]:
        if self._is_leader():
            yield self._ready()
            yield from self._of_queues()
            yield from self._of_groups()

    def _ready(self) -> Metric:
        ready = GaugeMetricFamily(
            "protoqueue_resource_ready",
            "Whether the condition Ready of a resource is True, with its reason.",
            labels=["kind", "namespace", "name", "reason"],
        )
        resources: list[Queue | Group] = [*self._queues.values(), *self._groups.values()]
        for resource in resources:
            key, condition = resource.meta.key, resource.status.condition("Ready")
            reason = condition.reason if condition else UNSEEN
            value = float(condition is not None and condition.status == "True")
            ready.add_metric([key.kind, key.namespace, key.name, reason], value)
        return ready

    def _of_queues(self) -> Iterator[Metric]:
        labels = ["namespace", "queue"]
        tasks = GaugeMetricFamily("protoqueue_queue_tasks", "Tasks of a queue by state.", labels=[*labels, "state"])
        oldest = GaugeMetricFamily(
            "protoqueue_queue_oldest_task_seconds", "Age of the oldest task, while any waits.", labels=labels
        )
        enqueued = CounterMetricFamily(
            "protoqueue_queue_tasks_enqueued",
            "Tasks stored for a queue: enqueued, scheduled for later or for another attempt, and again when they come "
            "due.",
            labels=labels,
        )
        for queue in list(self._queues.values()):
            fields, values = self._fields_of(queue), _labels(queue.meta.key, str(queue.name))
            if (stored := self._stored.get(queue.meta.key)) is not None:
                enqueued.add_metric(values, stored)
            if counts := fields.get("tasks"):
                for state, count in counts.items():
                    tasks.add_metric([*values, _snake(state)], count)
                oldest.add_metric(values, self._age_s(fields.get("oldestTaskTime")))
        yield tasks
        yield oldest
        yield enqueued

    def _age_s(self, moment: str | None) -> float:
        return max(0.0, (self._now() - datetime.fromisoformat(moment)).total_seconds()) if moment else 0.0

    def _of_groups(self) -> Iterator[Metric]:
        labels = ["namespace", "queue", "group", "state"]
        workers = GaugeMetricFamily(
            "protoqueue_group_workers",
            "Workers of a group: desired, existing (ready or not), available, and at most (maxReplicas).",
            labels=labels,
        )
        at_maximum = GaugeMetricFamily(
            "protoqueue_group_at_maximum",
            "Whether the backlog of a group asks for more workers than maxReplicas allows.",
            labels=labels[:-1],
        )
        tasks = GaugeMetricFamily(
            "protoqueue_group_tasks", "Tasks that wait for a group, or are in flight with it.", labels=labels
        )
        for group in list(self._groups.values()):
            fields = self._fields_of(group)
            values = [*_labels(group.meta.key, str(group.name.queue)), group.meta.name]
            for field, state in _WORKERS.items():
                if (count := fields.get(field)) is not None:
                    workers.add_metric([*values, state], count)
            if not isinstance(group.spec, InvalidSpec) and group.spec.autoscale:
                workers.add_metric([*values, "maximum"], group.spec.autoscale.max_replicas)
            if scaling := group.status.condition("Scaling"):
                at_maximum.add_metric(values, float(scaling.reason == "AtMaximum"))
            for state, count in (fields.get("tasks") or {}).items():
                tasks.add_metric([*values, _snake(state)], count)
        yield workers
        yield at_maximum
        yield tasks


def _labels(key: Key, queue: str) -> list[str]:
    """`queue` is what workers' metrics call it too, namespace and name."""
    return [key.namespace, queue]


def _snake(state: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in state)

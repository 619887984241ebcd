"""What Prometheus is told. Gauges are read from the statuses when asked, so that nothing gone lingers."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protoqueue.durations import parse_duration
from protoqueue_operator.reconcile.cache import Cache

_RECONCILE_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)


class Metrics:
    """The registry, and what reconciles count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "protoqueue_operator_reconcile_seconds",
            "Duration of one look at one object.",
            ["kind"],
            buckets=_RECONCILE_BUCKETS_S,
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "protoqueue_operator_reconcile_errors",
            "Looks that ended in an error or a refusal.",
            ["kind", "reason"],
            registry=self.registry,
        )


class Gauges(Collector):
    """State at the moment of the scrape."""

    def __init__(
        self,
        cache: Cache,
        sample_age_s: Callable[[], float],
        watches_behind_s: Callable[[], float],
        nats_is_up: Callable[[], bool],
        is_leader: Callable[[], bool],
    ) -> None:
        self._cache = cache
        self._sample_age_s = sample_age_s
        self._watches_behind_s = watches_behind_s
        self._nats_is_up = nats_is_up
        self._is_leader = is_leader

    def collect(self) -> Iterator[Metric]:
        yield from self._queues()
        yield self._groups()
        yield _gauge(
            "protoqueue_operator_sample_age_seconds", "Age of the oldest backlog samples.", self._sample_age_s()
        )
        yield _gauge(
            "protoqueue_operator_watches_behind_seconds",
            "For how long the watches have owed what the API server lists.",
            self._watches_behind_s(),
        )
        yield _gauge("protoqueue_operator_nats_up", "Whether the operator's own NATS answers.", self._nats_is_up())
        yield _gauge("protoqueue_operator_leader", "Whether this replica acts.", self._is_leader())

    def _queues(self) -> Iterator[Metric]:
        tasks = GaugeMetricFamily("protoqueue_queue_tasks", "Tasks of a queue by state.", labels=["queue", "state"])
        oldest = GaugeMetricFamily(
            "protoqueue_queue_oldest_task_seconds", "Age of the oldest task that waits.", labels=["queue"]
        )
        for queue in list(self._cache.queues.values()):
            name, status = str(queue.name), queue.status
            if status.tasks:
                for state, count in status.tasks.model_dump().items():
                    tasks.add_metric([name, state], count)
                age = parse_duration(status.oldest_task_age).total_seconds() if status.oldest_task_age else 0.0
                oldest.add_metric([name], age)
        yield tasks
        yield oldest

    def _groups(self) -> Metric:
        workers = GaugeMetricFamily(
            "protoqueue_group_workers", "Workers of a group, desired and actual.", labels=["queue", "group", "state"]
        )
        for group in list(self._cache.groups.values()):
            labels, status = [str(group.name.queue), group.meta.name], group.status
            if status.desired_replicas is not None:
                workers.add_metric([*labels, "desired"], status.desired_replicas)
            if status.replicas is not None:
                workers.add_metric([*labels, "actual"], status.replicas)
        return workers


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))

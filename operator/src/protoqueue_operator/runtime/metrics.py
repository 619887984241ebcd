"""Metrics of a controller, under the names that controller-runtime and client-go use, which dashboards know."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protoqueue_operator.runtime.workqueue import WorkQueue

_RECONCILE_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
_QUEUE_BUCKETS_S = (0.0001, 0.001, 0.01, 0.1, 1, 10, 100)


class Metrics:
    """The registry, and what reconciles count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "protoqueue_operator_reconcile_seconds",
            "Duration of one reconcile of one object.",
            ["kind"],
            buckets=_RECONCILE_BUCKETS_S,
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "protoqueue_operator_reconcile_errors",
            "Reconciles that ended in an error or a refusal, by the reason of the condition.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self.reconciles = Counter(
            "controller_runtime_reconcile",
            "Reconciles by result: success, error, or requeue_after where the state is looked at again.",
            ["controller", "result"],
            registry=self.registry,
        )
        self._adds = Counter(
            "workqueue_adds", "Objects added to a work queue.", ["name", "controller"], registry=self.registry
        )
        self._retries = Counter(
            "workqueue_retries",
            "Objects added once more after a failure.",
            ["name", "controller"],
            registry=self.registry,
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "How long objects wait in a work queue.",
            ["name", "controller"],
            buckets=_QUEUE_BUCKETS_S,
            registry=self.registry,
        )
        self._took = Histogram(
            "workqueue_work_duration_seconds",
            "How long the work on an object takes.",
            ["name", "controller"],
            buckets=_QUEUE_BUCKETS_S,
            registry=self.registry,
        )

    def work_queue(self, name: str) -> "QueueCounts":
        """What counts for the work queue of that name."""
        labels = (name, name)  # client-go's label, and controller-runtime's
        return QueueCounts(
            self._adds.labels(*labels),
            self._retries.labels(*labels),
            self._waited.labels(*labels),
            self._took.labels(*labels),
        )


class QueueCounts:
    """Of one work queue."""

    def __init__(self, adds: Counter, retries: Counter, waited: Histogram, took: Histogram) -> None:
        self._adds, self._retries, self._waited, self._took = adds, retries, waited, took

    def added(self) -> None:
        self._adds.inc()

    def taken(self, waited_s: float) -> None:
        self._waited.observe(waited_s)

    def done(self, took_s: float) -> None:
        self._took.observe(took_s)

    def retried(self) -> None:
        self._retries.inc()


class Gauges(Collector):
    """State of the process at the moment of the scrape."""

    def __init__(
        self,
        *,
        work_queues: Mapping[str, WorkQueue[Any]],
        sample_age_s: Callable[[], float],
        watches_behind_s: Callable[[], float],
        nats_is_up: Callable[[], bool],
        is_leader: Callable[[], bool],
    ) -> None:
        self._work_queues = work_queues
        self._sample_age_s = sample_age_s
        self._watches_behind_s = watches_behind_s
        self._nats_is_up = nats_is_up
        self._is_leader = is_leader

    def collect(self) -> Iterator[Metric]:
        yield from self._work()
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

    def _work(self) -> Iterator[Metric]:
        labels = ["name", "controller"]
        depth = GaugeMetricFamily("workqueue_depth", "Objects that wait in a work queue.", labels=labels)
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Seconds of work that is under way, summed.", labels=labels
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "Seconds of the longest work under way.", labels=labels
        )
        for name, queue in self._work_queues.items():
            serving = queue.serving_for_s()
            depth.add_metric([name, name], queue.depth)
            unfinished.add_metric([name, name], sum(serving))
            longest.add_metric([name, name], max(serving, default=0.0))
        yield from (depth, unfinished, longest)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))

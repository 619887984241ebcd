"""A worker's Prometheus metrics.

Counting happens for every task and scraping only periodically, so the counts are plain numbers, from which a collector
makes metrics on demand: prometheus_client's own histograms would cost more per task than all of its other bookkeeping.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_WHERE = ("queue", "group")

MOST_SERIES = 500
LONGEST_TYPE = 200
OTHER_TYPES = "(other)"


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum += seconds

    def family(self, name: str, text: str, where: tuple[str, str]) -> Metric:
        total, buckets = 0, []
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family = HistogramMetricFamily(name, text, labels=_WHERE)
        family.add_metric(where, buckets, self._sum)
        return family


class _Merged(Collector):
    def __init__(self, registries: Iterable[CollectorRegistry]) -> None:
        self._registries = tuple(registries)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for registry in self._registries:
            for family in registry.collect():
                if (known := families.setdefault(family.name, family)) is not family:
                    known.samples.extend(family.samples)
        yield from families.values()


def merged(registries: Iterable[CollectorRegistry]) -> CollectorRegistry:
    """One with the series of all: each metric is described once, as Prometheus wants it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(registries))
    return registry


class WorkerMetrics(Collector):
    """One worker's metrics, in a registry of their own so that several workers fit into one process."""

    def __init__(self, queue: str, group: str) -> None:
        self.registry = CollectorRegistry()
        self.running = 0
        self.unsettled = 0
        self.redelivered = 0
        self.dropped = 0
        self.limited_s = 0.0
        self.held_back_s = 0.0
        self.records = 0
        self.dropped_records = 0
        self._where = (queue, group)
        self._tasks: Counter[tuple[str, str]] = Counter()
        self._dead: Counter[str] = Counter()
        self._run = Durations()
        self._wait = Durations()
        self.registry.register(self)

    def finished(self, task_type: str, outcome: str, run_s: float, wait_s: float) -> None:
        """Count one task.

        Producers may invent any number of types of any length: beyond a limit new ones count as one.
        """
        key = task_type, outcome
        if key not in self._tasks and (len(self._tasks) >= MOST_SERIES or len(task_type) > LONGEST_TYPE):
            key = OTHER_TYPES, outcome
        self._tasks[key] += 1
        self._run.observe(run_s)
        self._wait.observe(wait_s)

    def dead_lettered(self, reason: str) -> None:
        """Count one task that became a dead letter, or was dropped if its queue keeps none."""
        self._dead[reason] += 1

    def collect(self) -> Iterator[Metric]:
        where = self._where
        tasks = CounterMetricFamily(
            "protoqueue_tasks", "Tasks by type and outcome.", labels=(*_WHERE, "type", "outcome")
        )
        for (task_type, outcome), count in list(self._tasks.items()):
            tasks.add_metric((*where, task_type, outcome), count)
        yield tasks
        dead = CounterMetricFamily("protoqueue_dead_letters", "Dead letters by reason.", labels=(*_WHERE, "reason"))
        for reason, count in list(self._dead.items()):
            dead.add_metric((*where, reason), count)
        yield dead
        yield self._run.family("protoqueue_handler_seconds", "How long handlers ran.", where)
        yield self._wait.family("protoqueue_wait_seconds", "How long tasks waited for a worker.", where)
        running = GaugeMetricFamily("protoqueue_running_tasks", "Tasks whose handler is running.", labels=_WHERE)
        running.add_metric(where, self.running)
        yield running
        unsettled = GaugeMetricFamily(
            "protoqueue_unsettled_tasks",
            "Finished tasks whose outcome cannot be stored yet: /readyz shows the reason.",
            labels=_WHERE,
        )
        unsettled.add_metric(where, self.unsettled)
        yield unsettled
        counters: tuple[tuple[str, str, float], ...] = (
            (
                "protoqueue_redelivered_tasks",
                "Tasks that came again, an earlier delivery had no outcome.",
                self.redelivered,
            ),
            ("protoqueue_dropped_tasks", "Tasks dropped for good: the queue keeps no dead letters.", self.dropped),
            ("protoqueue_rate_limit_wait_seconds", "How long tasks waited for a rate limit.", self.limited_s),
            (
                "protoqueue_rate_limit_held_back_seconds",
                "Time in which a rate limit held tasks back, however many.",
                self.held_back_s,
            ),
            ("protoqueue_history_records", "Records of finished attempts that were stored.", self.records),
            (
                "protoqueue_history_dropped_records",
                "Records of finished attempts that were dropped: NATS took them too slowly, or not at all.",
                self.dropped_records,
            ),
        )
        for name, text, value in counters:
            family = CounterMetricFamily(name, text, labels=_WHERE)
            family.add_metric(where, value)
            yield family

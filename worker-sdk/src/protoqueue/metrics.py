"""What a worker tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class WorkerMetrics:
    """One worker's metrics, in a registry of their own so that several workers fit into one process."""

    def __init__(self, queue: str, group: str) -> None:
        self.registry = CollectorRegistry()
        where, values = ("queue", "group"), (queue, group)
        self._tasks = Counter(
            "protoqueue_tasks", "Tasks by type and by how they ended.", (*where, "type", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self._run = Histogram(
            "protoqueue_handler_seconds", "How long handlers ran.", where, registry=self.registry, buckets=_SECONDS
        ).labels(*values)
        self._wait = Histogram(
            "protoqueue_wait_seconds", "How long tasks lay in the queue, from due to started.", where,
            registry=self.registry, buckets=_SECONDS,
        ).labels(*values)  # fmt: skip
        self.running = Gauge(
            "protoqueue_running_tasks", "Tasks whose handler runs now.", where, registry=self.registry
        ).labels(*values)
        self.redelivered = Counter(
            "protoqueue_redelivered_tasks", "Tasks that came again since an earlier delivery had no outcome.", where,
            registry=self.registry,
        ).labels(*values)  # fmt: skip
        self.dropped = Counter(
            "protoqueue_dropped_tasks", "Tasks that were dropped since the queue keeps no dead letters.", where,
            registry=self.registry,
        ).labels(*values)  # fmt: skip
        self._values = values
        self._children: dict[tuple[str, str], Counter] = {}

    def finished(self, task_type: str, outcome: str, run_s: float, wait_s: float) -> None:
        """Count one task; looking a labelled child up costs more than counting, so they are kept."""
        key = (task_type, outcome)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._tasks.labels(*self._values, *key)
        child.inc()
        self._run.observe(run_s)
        self._wait.observe(wait_s)

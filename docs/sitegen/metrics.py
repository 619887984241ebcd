"""The tables of metrics, from the registries that worker and operator fill, with one queue and one task in them."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from protoqueue.metrics import WorkerMetrics
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.metrics import Gauges, Metrics

_META = {"namespace": "default", "uid": "1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
_TASKS = {"ready": 1, "inFlight": 0}


def worker_registry() -> CollectorRegistry:
    metrics = WorkerMetrics("default/email", "mailers")
    metrics.finished("", "Done", 0, 0)
    return metrics.registry


def operator_registry() -> CollectorRegistry:
    cache, metrics = Cache(), Metrics()
    cache.observe_queue({"metadata": {**_META, "name": "email"}, "spec": {}, "status": {"tasks": _TASKS}})
    spec, status = {"queueRef": {"name": "email"}}, {"replicas": 0, "desiredReplicas": 1}
    cache.observe_group({"metadata": {**_META, "name": "mailers"}, "spec": spec, "status": status})
    metrics.reconcile_seconds.labels("Queue").observe(0)
    metrics.reconcile_errors.labels("Queue", "InvalidSpec").inc()
    metrics.registry.register(Gauges(cache, lambda: 0.0, lambda: 0.0, lambda: True, lambda: True))
    return metrics.registry


def metric_table(registry: CollectorRegistry) -> str:
    """Name, kind, labels and description of everything in a registry, as a Markdown table."""
    return "\n".join(["| metric | kind | labels | |", "| --- | --- | --- | --- |", *_rows(registry)])


def series(*registries: CollectorRegistry) -> set[str]:
    """The names that queries can select, such as `…_bucket` and `…_total`."""
    return {
        sample.name for registry in registries for metric in registry.collect() for sample in metric.samples
    }  # fmt: skip


def _rows(registry: CollectorRegistry) -> Iterator[str]:
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        yield f"| `{name}` | {metric.type} | {', '.join(sorted(labels))} | {metric.documentation} |"

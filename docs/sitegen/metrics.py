"""The tables of metrics, from the registries that worker and operator fill, with one queue and one task in them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

from prometheus_client import CollectorRegistry

from protoqueue.observability.metrics import WorkerMetrics
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.autoscaling.resource_metrics import ResourceMetrics
from protoqueue_operator.caches import Caches
from protoqueue_operator.runtime.client import Kubernetes
from protoqueue_operator.runtime.metrics import Gauges, Metrics
from protoqueue_operator.wiring import make_status_writer

_META = {"namespace": "default", "uid": "1", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
_TASKS = {"waiting": 1, "inFlight": 0}


def worker_registry() -> CollectorRegistry:
    metrics = WorkerMetrics("default/email", "mailers")
    metrics.finished("", "Done", 0, 0)
    metrics.dead_lettered("rejected")
    return metrics.registry


def operator_registry() -> CollectorRegistry:
    caches, metrics = Caches(), Metrics()
    caches.queues.observe({"metadata": {**_META, "name": "email"}, "spec": {}, "status": {"tasks": _TASKS}})
    spec = {"queueRef": {"name": "email"}}
    status = {"replicas": 0, "desiredReplicas": 1, "tasks": _TASKS}
    caches.groups.observe({"metadata": {**_META, "name": "mailers"}, "spec": spec, "status": status})
    metrics.reconcile_seconds.labels("Queue").observe(0)
    metrics.reconcile_errors.labels("Queue", "InvalidSpec").inc()
    metrics.reconciles.labels("queue", "success").inc()
    now = lambda: datetime.now(UTC)  # noqa: E731
    status, events = make_status_writer(cast("Kubernetes", None), caches, now, metrics)
    metrics.registry.register(
        ResourceMetrics(
            caches.queues,
            caches.groups,
            fields_of=status.fields_of,
            stored={Key("Queue", "default", "email"): 1},
            is_leader=lambda: True,
            now=now,
        )
    )
    metrics.registry.register(
        Gauges(
            work_queues={"status": status.writes, "events": events.sends},
            sample_age_s=lambda: 0.0,
            watches_behind_s=lambda: 0.0,
            nats_is_up=lambda: True,
            is_leader=lambda: True,
        )
    )
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

"""The tables of metrics, from the registries that the code fills."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from protoqueue.metrics import WorkerMetrics


def worker_metrics() -> str:
    """What a worker tells, as a Markdown table."""
    metrics = WorkerMetrics("default/email", "mailers")
    metrics.finished("", "Done", 0, 0)
    return "\n".join(metric_table(metrics.registry))


def metric_table(registry: CollectorRegistry) -> Iterator[str]:
    yield "| metric | kind | labels | |"
    yield "| --- | --- | --- | --- |"
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        yield f"| `{name}` | {metric.type} | {', '.join(sorted(labels))} | {metric.documentation} |"

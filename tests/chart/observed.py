"""Which metrics the chart's dashboard and alerts look at."""

import json
import re

from chart.rendering import MATRIX, Object, only, render

METRIC = re.compile(r"\b(?:protoqueue|workqueue|controller_runtime)_[a-z_]+")

OPERATOR = (
    "protoqueue_operator_",
    "protoqueue_queue_",
    "protoqueue_group_",
    "protoqueue_resource_",
    "workqueue_",
    "controller_runtime_",
)
"""How the names of what the operator exports begin; the rest is a worker's."""


def monitored() -> list[Object]:
    return render(MATRIX["monitored"])


def dashboard() -> Object:
    parsed: Object = json.loads(only(monitored(), "ConfigMap", "pq-protoqueue-dashboard")["data"]["protoqueue.json"])
    return parsed


def metrics_used() -> set[str]:
    """What the dashboard and the alerts ask Prometheus for."""
    panels = dashboard()["panels"]
    alerts = only(monitored(), "PrometheusRule")["spec"]["groups"][0]["rules"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    asked += [rule["expr"] for rule in alerts]
    return {name for query in asked for name in METRIC.findall(query)}

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest

from chart.rendering import MATRIX, only, render
from protoqueue.metrics import WorkerMetrics

OBJECTS = render(MATRIX["monitored"])
METRIC = re.compile(r"\bprotoqueue_[a-z_]+")


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(
        only(OBJECTS, "ConfigMap", "pq-protoqueue-dashboard")["data"]["protoqueue.json"]
    )
    return parsed


def queries(board: dict[str, Any]) -> Iterator[str]:
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def test_the_sidecar_finds_the_dashboard() -> None:
    assert only(OBJECTS, "ConfigMap", "pq-protoqueue-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_panels_stand_side_by_side(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_panel_says_what_it_shows_and_in_which_unit(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "${datasource}"


def metrics_used(dashboard: dict[str, Any]) -> set[str]:
    """What the dashboard and the alerts ask Prometheus for."""
    alerts = only(OBJECTS, "PrometheusRule")["spec"]["groups"][0]["rules"]
    asked = [*queries(dashboard), *(rule["expr"] for rule in alerts)]
    return {name for query in asked for name in METRIC.findall(query)}


OPERATOR = ("protoqueue_operator_", "protoqueue_queue_", "protoqueue_group_")
LIMITER = ("protoqueue_rate_limit_",)


def test_every_worker_metric_used_is_one_that_workers_export(dashboard: dict[str, Any]) -> None:
    used = {name for name in metrics_used(dashboard) if not name.startswith((*OPERATOR, *LIMITER))}
    assert used
    assert used - worker_metrics() == set()


@pytest.mark.xfail(strict=True, reason="workers do not yet export how long they wait for a rate limit")
def test_every_rate_limit_metric_used_is_one_that_workers_export(dashboard: dict[str, Any]) -> None:
    assert {name for name in metrics_used(dashboard) if name.startswith(LIMITER)} - worker_metrics() == set()


def worker_metrics() -> set[str]:
    """The names in a scrape of a worker that has ended one task."""
    metrics = WorkerMetrics("orders/email", "mailers")
    metrics.finished("send", "done", run_s=0.1, wait_s=0.1)
    return set(METRIC.findall(generate_latest(metrics.registry).decode()))

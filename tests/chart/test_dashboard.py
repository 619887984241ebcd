import itertools

from prometheus_client import generate_latest

from chart.observed import METRIC, OPERATOR, dashboard, metrics_used, monitored
from chart.rendering import only
from protoqueue.metrics import WorkerMetrics


def test_the_sidecar_finds_the_dashboard() -> None:
    config_map = only(monitored(), "ConfigMap", "pq-protoqueue-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_panels_stand_side_by_side() -> None:
    panels, taken = dashboard()["panels"], set[tuple[int, int]]()
    for panel in panels:
        x, y, width, height = (panel["gridPos"][side] for side in "xywh")
        cells = set(itertools.product(range(x, x + width), range(y, y + height)))
        assert not taken & cells, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in dashboard()["panels"]:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_every_worker_metric_used_is_one_that_workers_export() -> None:
    used = {name for name in metrics_used() if not name.startswith(OPERATOR)}
    assert used
    assert used - worker_metrics() == set()


def worker_metrics() -> set[str]:
    """The names in a scrape of a worker that has ended one task."""
    metrics = WorkerMetrics("orders/email", "mailers")
    metrics.finished("send", "done", run_s=0.1, wait_s=0.1)
    return set(METRIC.findall(generate_latest(metrics.registry).decode()))

import itertools
import re

from prometheus_client import generate_latest

from chart.observed import METRIC, OPERATOR, dashboard, metrics_used, monitored
from chart.rendering import only
from protoqueue.observability.metrics import WorkerMetrics


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


def queries() -> dict[str, list[str]]:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels}


def test_namespaces_queues_and_groups_can_be_chosen_and_every_panel_of_theirs_heeds_it() -> None:
    variables = {each["name"] for each in dashboard()["templating"]["list"]}
    assert {"namespace", "queue", "group", "top"} <= variables
    for title, asked in queries().items():
        for query in asked:
            if re.search(r"protoqueue_(queue|group)_", query):
                assert 'namespace=~"$namespace"' in query, title
            if re.search(r"\{", query) and "operator" not in query:
                assert 'queue=~"$queue"' in query, title
            if "protoqueue_group_" in query or "group=~" in query:
                assert 'group=~"$group"' in query, title


def test_no_panel_draws_thousands_of_lines() -> None:
    for title, asked in queries().items():
        for query in asked:
            if "queue" in query and "operator" not in query:
                assert query.startswith("topk($top, "), title


def test_what_comes_in_what_bounds_the_workers_and_why_tasks_die_is_shown() -> None:
    shown = queries()
    assert any("rate(protoqueue_queue_tasks_enqueued_total" in query for query in shown["Enqueued"])
    assert any('state="maximum"' in query for query in shown["Workers"])
    assert any("protoqueue_dead_letters_total" in query and "reason" in query for query in shown["Given up, by reason"])
    assert all("protoqueue_operator_leader == 1" in query for query in shown["NATS"]), "a standby's says nothing"


def worker_metrics() -> set[str]:
    """The names in a scrape of a worker that has ended one task."""
    metrics = WorkerMetrics("orders/email", "mailers")
    metrics.finished("send", "done", run_s=0.1, wait_s=0.1)
    metrics.dead_lettered("rejected")
    return set(METRIC.findall(generate_latest(metrics.registry).decode()))

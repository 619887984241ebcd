"""Each alert, judged by Prometheus' own promtool: it fires when it should, and only then."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.rendering import MATRIX, only, render

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)"
)

TARGET = 'namespace="queues", job="pq-protoqueue-metrics", pod="a"'
STANDBY = 'namespace="queues", job="pq-protoqueue-metrics", pod="b"'

STANDING_BY = {
    f"up{{{STANDBY}}}": "1x60",
    f"protoqueue_operator_leader{{{STANDBY}}}": "0x60",
    f"protoqueue_operator_sample_age_seconds{{{STANDBY}}}": "0x60",
    f"protoqueue_operator_nats_up{{{STANDBY}}}": "0x60",
}
"""The second of two replicas, which does nothing: it may even be without NATS."""

QUIET = {
    f"up{{{TARGET}}}": "1x60",
    f"protoqueue_operator_leader{{{TARGET}}}": "1x60",
    f"protoqueue_operator_sample_age_seconds{{{TARGET}}}": "1x60",
    f"protoqueue_operator_nats_up{{{TARGET}}}": "1x60",
    f'protoqueue_operator_reconcile_errors_total{{kind="Queue", {TARGET}}}': "0x60",
    **STANDING_BY,
    'protoqueue_queue_oldest_task_seconds{namespace="orders", queue="orders/email"}': "5x60",
    'protoqueue_queue_tasks{namespace="orders", queue="orders/email", state="waiting"}': "12x60",
    'protoqueue_queue_tasks{namespace="orders", queue="orders/email", state="dead"}': "3x60",
    'protoqueue_group_workers{namespace="orders", queue="orders/email", group="mailers", state="desired"}': "2x60",
    'protoqueue_group_workers{namespace="orders", queue="orders/email", group="mailers", state="existing"}': "2x60",
    'protoqueue_group_workers{namespace="orders", queue="orders/email", group="mailers", state="available"}': "2x60",
    'protoqueue_group_at_maximum{namespace="orders", queue="orders/email", group="mailers"}': "0x60",
    'protoqueue_resource_ready{kind="Queue", namespace="orders", name="email", reason="Reconciled"}': "1x60",
    'protoqueue_running_tasks{queue="orders/email", group="mailers", pod="w1"}': "1x60",
    'protoqueue_running_tasks{queue="orders/email", group="mailers", pod="w2"}': "1x60",
    'protoqueue_rate_limit_held_back_seconds_total{queue="orders/email", group="mailers", pod="w1"}': "0+6x60",
    'protoqueue_rate_limit_held_back_seconds_total{queue="orders/email", group="mailers", pod="w2"}': "0+6x60",
}
"""A cluster in which all is well, one sample a minute for an hour."""


IN_BOTH = (" up{", "protoqueue_operator_leader")
"""What is wrong only where it is wrong with both replicas."""


def rules() -> dict[str, Any]:
    spec: dict[str, Any] = only(render(MATRIX["monitored"], namespace="queues"), "PrometheusRule")["spec"]
    return spec


def test_every_alert_says_what_is_wrong_what_to_do_and_where_to_read_on() -> None:
    for rule in rules()["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["labels"]["team"] == "platform"
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["annotations"]["runbook_url"] == f"https://runbooks.example/{rule['alert']}"


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    file = write(tmp_path / "rules.yaml", rules())
    done = subprocess.run([str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "changed", "labels"),
    [
        ("ProtoQueueOperatorAbsent", {" up{": "1x9 0x50"}, {}),
        ("ProtoQueueOperatorLeaderless", {"protoqueue_operator_leader": "1x9 0x50"}, {}),
        ("ProtoQueueOperatorStuck", {"protoqueue_operator_sample_age_seconds": "1x9 60+60x50"}, {}),
        ("ProtoQueueReconcileErrors", {"protoqueue_operator_reconcile_errors_total": "0+30x60"}, {"kind": "Queue"}),
        ("ProtoQueueNotReady", {"protoqueue_resource_ready": "1x9 0x50"}, {"kind": "Queue", "name": "email"}),
        ("ProtoQueueNatsAway", {"protoqueue_operator_nats_up": "1x9 0x50"}, {}),
        ("ProtoQueueBacklogOld", {"protoqueue_queue_oldest_task_seconds": "0+60x60"}, {"queue": "orders/email"}),
        ("ProtoQueueDeadLettersGrowing", {'state="dead"': "0+1x60"}, {"queue": "orders/email"}),
        ("ProtoQueueWorkersMissing", {'state="available"': "1x60"}, {"queue": "orders/email", "group": "mailers"}),
        ("ProtoQueueGroupAtMaximum", {"at_maximum": "0x9 1x50"}, {"queue": "orders/email", "group": "mailers"}),
        ("ProtoQueueRateLimitSaturated", {"protoqueue_rate_limit_held_back": "0+54x60"}, {"queue": "orders/email"}),
    ],
)
def test_an_alert_fires_for_its_cause_alone(
    tmp_path: Path, alert: str, changed: dict[str, str], labels: dict[str, str]
) -> None:
    series = QUIET | {
        name: values
        for part, values in changed.items()
        for name in QUIET
        if part in f" {name}" and (part in IN_BOTH or name not in STANDING_BY)
    }
    firing = firing_after_an_hour(tmp_path, series)
    assert [each["alert"] for each in firing] == [alert]
    assert labels.items() <= firing[0]["labels"].items()


@needs_promtool
def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    assert firing_after_an_hour(tmp_path, QUIET) == []


@needs_promtool
@pytest.mark.parametrize(
    "quiet",
    [
        {'state="waiting"': "0x60"},  # whoever waits is all there is
        {'held_back_seconds_total{queue="orders/email", group="mailers", pod="w2"}': "0+20x60"},  # one of two has room
    ],
    ids=["no backlog", "half of the workers"],
)
def test_a_limit_that_is_reached_now_and_then_is_no_alert(tmp_path: Path, quiet: dict[str, str]) -> None:
    series = QUIET | {name: "0+60x60" for name in QUIET if "rate_limit_held_back" in name}
    series |= {name: values for part, values in quiet.items() for name in QUIET if part in name}
    assert firing_after_an_hour(tmp_path, series) == []


def firing_after_an_hour(directory: Path, series: dict[str, str]) -> list[dict[str, Any]]:
    """What promtool finds firing: it is told to expect nothing of `ALERTS`, and answers with what there is."""
    write(directory / "rules.yaml", rules())
    expectation = {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "55m", "exp_samples": []}
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [expectation],
            }
        ],
    }
    file = write(directory / "test.yaml", test)
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, timeout=100)
    return parse_samples(done.stdout + done.stderr)


def parse_samples(report: str) -> list[dict[str, Any]]:
    """The alerts among promtool's complaints, such as `got:nil` or `{__name__="ALERTS", alertname="X", …} 1E+00`."""
    found = []
    for text in report.split("{__name__=")[1:]:
        pairs = ("__name__=" + text.split("}")[0]).split(", ")
        labels = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in pairs)}
        found.append({"alert": labels["alertname"], "labels": labels})
    return found


def write(file: Path, content: object) -> Path:
    file.write_text(yaml.safe_dump(content))
    return file

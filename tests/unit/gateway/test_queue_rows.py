"""What is said of a queue among others."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from protoqueue import Progress, QueueOverview, QueueStats
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.dashboard import queue_cells
from protoqueue_gateway.service.conditions import notices_of
from protoqueue_gateway.service.queue_rows import Health, queue_row

NAME = QueueName("shop", "email")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def condition(kind: str, status: str, reason: str = "Reconciled", message: str = "", generation: int = 1) -> dict:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}


def resource(*conditions: dict, spec: dict | None = None, **status: object) -> dict:
    metadata = {"name": "mailers", "namespace": "shop", "generation": 1}
    return {"metadata": metadata, "spec": spec or {}, "status": {"conditions": list(conditions), **status}}


READY = condition("Ready", "True")


def overview(waiting: int = 0) -> QueueOverview:
    stats = QueueStats(waiting, 1, 2, 3, timedelta(seconds=5), {}, {})
    return QueueOverview(stats, Progress(10, 4), NOW - timedelta(seconds=5))


def row(body: dict, *groups: dict, found: QueueOverview | None = None):
    return queue_row(NAME, body, groups, found, None, None)


def test_counts_come_from_nats_and_else_from_the_status() -> None:
    tasks = {"waiting": 7, "inFlight": 1, "scheduled": 0, "dead": 2}
    body = resource(READY, tasks=tasks, oldestTaskTime="2026-11-30T11:00:00Z")
    counted, told, unknown = row(body, found=overview(4)), row(body), row(resource(READY))
    assert (counted.waiting, counted.dead, counted.oldest_at) == (4, 3, NOW - timedelta(seconds=5))
    assert (told.waiting, told.dead, told.oldest_at) == (7, 2, NOW - timedelta(hours=1))
    assert (unknown.waiting, unknown.oldest_at) == (None, None)


@pytest.mark.parametrize(
    ("queue", "group", "health", "reason"),
    [
        (READY, READY, Health.READY, "Reconciled"),
        (condition("Ready", "True", "Paused"), READY, Health.PAUSED, "Paused"),
        (condition("Ready", "False", "InvalidSpec"), READY, Health.FAILED, "InvalidSpec"),
        (READY, condition("Ready", "False", "WorkersFailing", "exit code 1"), Health.FAILED, "WorkersFailing"),
        (condition("Ready", "True", generation=0), READY, Health.PENDING, "Pending"),
    ],
)
def test_what_is_wrong_with_the_queue_or_a_group_is_named(queue, group, health, reason) -> None:
    found = row(resource(queue), resource(group))
    assert (found.health, found.reason) == (health, reason)
    if reason == "WorkersFailing":
        assert found.message == "group mailers: exit code 1"


def test_workers_are_counted_over_the_groups_that_have_some() -> None:
    ours = resource(READY, spec={"replicas": 2}, availableReplicas=1, desiredReplicas=2)
    others = resource(READY, availableReplicas=9, desiredReplicas=9)
    found = row(resource(READY), ours, ours, others)
    assert (found.available, found.desired, queue_cells.workers(found)) == (2, 4, "2/4")
    assert queue_cells.workers(row(resource(READY), others)) == ""


def test_the_html_of_a_row_escapes_what_others_have_written() -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    text = queue_cells.html_row(row(resource(condition("Ready", "False", evil, evil))), NOW)
    assert "<img" not in text
    assert text.count('"') % 2 == 0
    assert "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;" in text


def test_a_row_that_is_as_it_was_is_not_made_again_and_one_with_an_age_is() -> None:
    rows = queue_cells.HtmlRows()
    idle, busy = row(resource(READY)), row(resource(READY), found=overview(1))
    assert rows.html([idle], NOW) == rows.html([idle], NOW + timedelta(hours=1))
    assert ">5s<" in rows.html([busy], NOW)
    assert ">1m 5s<" in rows.html([busy], NOW + timedelta(minutes=1))


def test_conditions_that_hold_beside_ready_are_noticed() -> None:
    body = resource(READY, condition("Contended", "True", message="two write"), condition("TasksLost", "False"))
    assert [(each.type, each.message) for each in notices_of(body)] == [("Contended", "two write")]


THROTTLED = condition("Throttled", "True", "ThrottledByHandler", "no task is started before 12:00")
FULL = condition("Scaling", "True", "AtMaximum", "maxReplicas is 1")


@pytest.mark.parametrize(
    ("groups", "waiting", "state"),
    [
        ([resource(READY, THROTTLED)], 0, "Throttled"),
        ([resource(READY), resource(READY, FULL)], 5, "AtMaximum"),
        ([resource(READY), resource(condition("Ready", "True", "Paused"))], 5, "Paused"),
        ([], 5, "NoGroup"),
        ([], 0, "Ready"),
        ([resource(READY, condition("Throttled", "False"), condition("Scaling", "True", "Stable"))], 5, "Ready"),
        ([resource(READY, condition("Throttled", "True", generation=0))], 5, "Ready"),
    ],
)
def test_a_queue_that_does_not_get_on_is_not_called_ready(groups, waiting: int, state: str) -> None:
    found = row(resource(READY), *groups, found=overview(waiting))
    assert queue_cells.state(found) == state
    assert (found.health is Health.READY) == (state == "Ready")


def test_the_oldest_task_sorts_by_age_and_a_queue_without_one_is_the_youngest() -> None:
    old, young = (
        replace(row(resource(READY), found=overview(1)), oldest_at=NOW - timedelta(seconds=ago)) for ago in (99, 1)
    )
    idle, key = row(resource(READY)), queue_cells.sort_key("oldest")
    assert sorted([old, idle, young], key=key) == [idle, young, old]


@pytest.mark.parametrize(
    ("which", "shown"),
    [("", ["ready", "dead", "failed", "busy"]), ("attention", ["dead", "failed"]), ("busy", ["busy"])],
)
def test_the_filter_shows_what_somebody_has_to_look_at_or_what_has_work(which: str, shown: list[str]) -> None:
    idle = replace(row(resource(READY)), dead=0)
    rows = {
        "ready": idle,
        "dead": replace(idle, dead=1),
        "failed": replace(idle, health=Health.FAILED),
        "busy": replace(idle, in_flight=1),
    }
    assert [name for name, each in rows.items() if queue_cells.is_shown(each, "EMAIL", which)] == shown
    assert not queue_cells.is_shown(idle, "sms", which)

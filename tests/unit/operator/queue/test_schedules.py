import base64
from datetime import UTC, datetime

import pytest

from protoqueue.protocol.v1.task_pb2 import Task
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.queue.queue_conditions import schedule_fields
from protoqueue_operator.queue.schedules import (
    Recurring,
    next_firings,
    observed_recurring,
    recurring_tasks,
    superfluous,
)
from unit.operator.samples import queue

NIGHTLY = {
    "name": "nightly",
    "cron": "0 0 3 * * *",
    "timeZone": "Europe/Berlin",
    "type": "report",
    "payload": '{"b": 1, "a": 2}',
}


def recurring(**spec: object) -> tuple[Recurring, ...]:
    made = queue(**spec)
    assert isinstance(made.spec, QueueSpec)
    return recurring_tasks(made.name, made.spec)


def stored(each: Recurring) -> dict[str, str]:
    lines = ["NATS/1.0", *(f"{name}: {value}" for name, value in each.headers), "Nats-Rollup: sub", "", ""]
    return {
        "subject": each.subject,
        "hdrs": base64.b64encode("\r\n".join(lines).encode()).decode(),
        "data": base64.b64encode(each.data).decode(),
    }


def test_a_schedule_is_a_task_that_comes_due_on_its_level() -> None:
    (each,) = recurring(schedules=[NIGHTLY | {"priority": 10}])
    assert each.subject == "pq.default.email.cron.nightly"
    assert dict(each.headers) == {
        "Nats-Schedule": "0 0 3 * * *",
        "Nats-Schedule-Target": "pq.default.email.due.task.2",
        "Pq-Recurs": "Europe/Berlin 0 0 3 * * *",
        "Nats-Schedule-Time-Zone": "Europe/Berlin",
    }
    task = Task.FromString(each.data)
    assert (task.id, task.type, task.content_type, task.data) == (
        "nightly",
        "report",
        "application/json",
        b'{"b": 1, "a": 2}',
    )
    assert task.metadata.priority == 10


@pytest.mark.parametrize(
    ("every", "text"),
    [
        ("10m", "@every 600000ms"),
        ("1h30m", "@every 5400000ms"),
        ("1500ms", "@every 1500ms"),
        ("14d", "@every 1209600000ms"),
    ],
)
def test_intervals_are_written_in_the_units_the_server_reads(every: str, text: str) -> None:
    (each,) = recurring(schedules=[{"name": "often", "every": every}])
    assert dict(each.headers)["Nats-Schedule"] == text


def test_in_an_ordered_queue_a_schedule_is_its_own_ordering_key() -> None:
    (each,) = recurring(ordering={"partitions": 1}, schedules=[NIGHTLY])
    assert dict(each.headers)["Nats-Schedule-Target"] == "pq.default.email.due.ordered.0"
    assert Task.FromString(each.data).ordering_key == "nightly"


def test_what_is_stored_reads_back_equal_and_any_change_shows() -> None:
    (each,) = recurring(schedules=[NIGHTLY])
    (changed,) = recurring(schedules=[NIGHTLY | {"payload": '{"a": 3}'}])
    assert observed_recurring("nightly", stored(each)) == each
    assert observed_recurring("nightly", stored(each)) != changed


def test_schedules_that_are_listed_no_more_go() -> None:
    made = queue(schedules=[NIGHTLY])
    assert isinstance(made.spec, QueueSpec)
    there = ["pq.default.email.cron.nightly", "pq.default.email.cron.weekly"]
    assert superfluous(made.name, made.spec, there) == ("pq.default.email.cron.weekly",)


def test_what_a_schedule_says_of_its_firings_goes_with_each() -> None:
    (each,) = recurring(schedules=[NIGHTLY | {"overlap": "Skip", "jitter": "90s", "expires": "1h"}])
    assert dict(each.headers) == {
        "Nats-Schedule": "0 0 3 * * *",
        "Nats-Schedule-Target": "pq.default.email.due.task.1",
        "Pq-Recurs": "Europe/Berlin 0 0 3 * * *",
        "Pq-Overlap": "Skip",
        "Pq-Unique": "schedule:nightly",
        "Pq-Jitter": "90000",
        "Pq-Expires-After": "3600000",
        "Nats-Schedule-Time-Zone": "Europe/Berlin",
    }
    assert observed_recurring("nightly", stored(each)) == each


def test_a_suspended_schedule_is_not_stored_and_has_no_next_time() -> None:
    made = queue(schedules=[NIGHTLY | {"suspend": True}, {"name": "hourly", "cron": "@hourly"}])
    assert isinstance(made.spec, QueueSpec)
    assert [each.name for each in recurring_tasks(made.name, made.spec)] == ["hourly"]
    assert superfluous(made.name, made.spec, ["pq.default.email.cron.nightly"]) == ("pq.default.email.cron.nightly",)
    firings = next_firings(made.spec, {"UTC": UTC, "Europe/Berlin": UTC}, datetime(2026, 1, 1, 12, 30, tzinfo=UTC))
    assert list(firings) == ["hourly"]
    assert schedule_fields(firings)["nextScheduleTime"] == "2026-01-01T13:00:00Z"
    assert schedule_fields({}) == {"schedules": None, "nextScheduleTime": None}

"""Schedules at times that a zone skips or repeats: told beforehand, since NATS goes by the clock on the wall."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.objects import parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.queue.clock_change import clock_change_notes
from protoqueue_operator.queue.queue_conditions import clock_change_conditions
from unit.operator.samples import queue, queue_body

BERLIN, SANTIAGO = "Europe/Berlin", "America/Santiago"
ZONES = {name: ZoneInfo(name) for name in (BERLIN, SANTIAGO, "UTC", "Asia/Tokyo", "Australia/Lord_Howe")}


def notes(cron: str, zone: str | None, now: str = "2026-01-01T00:00:00") -> tuple[str, ...]:
    schedule: dict[str, Any] = {"name": "x", "cron": cron} | ({"timeZone": zone} if zone else {})
    return clock_change_notes(
        QueueSpec.model_validate({"schedules": [schedule]}), ZONES, datetime.fromisoformat(now).replace(tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        (
            "30 2 * * *",
            BERLIN,
            (
                "spec.schedules[x] does not fire at 02:00 to 03:00 on 2026-03-29 in Europe/Berlin: clocks go forward",
                "spec.schedules[x] fires twice at 02:00 to 03:00 on 2026-10-25 in Europe/Berlin: clocks go back",
            ),
        ),
        (
            "0 0 * * *",
            SANTIAGO,
            ("spec.schedules[x] does not fire at 00:00 to 01:00 on 2026-09-06 in America/Santiago: clocks go forward",),
        ),
        (
            "0 1 * * 0",
            SANTIAGO,
            ("spec.schedules[x] does not fire on 2026-09-06: that day has no midnight in America/Santiago",),
        ),
        ("0 3 * * *", BERLIN, ()),
        ("*/10 * * * *", BERLIN, ()),
        ("30 2 * * 1", BERLIN, ()),
        ("30 2 * * *", "Asia/Tokyo", ()),
        ("30 2 * * *", None, ()),
        ("30 2 * * *", "Mars/Base", ()),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            ("spec.schedules[x] fires twice at 01:30 to 02:00 on 2026-04-05 in Australia/Lord_Howe: clocks go back",),
        ),
    ],
)
def test_a_time_that_does_not_come_or_comes_twice_is_named(cron: str, zone: str | None, said: tuple[str, ...]) -> None:
    assert notes(cron, zone) == said


def test_the_condition_comes_and_goes_with_what_there_is_to_say() -> None:
    made = queue()
    assert clock_change_conditions(made, ()) == []
    (told,) = clock_change_conditions(made, ("spec.schedules[x] fires twice", "spec.schedules[y] does not fire"))
    assert (told.type, told.status, told.reason) == ("ClockChange", "True", "TimeSkippedOrRepeated")
    assert told.message.startswith(
        "spec.schedules[x] fires twice; spec.schedules[y] does not fire; choose another time"
    )
    assert len(clock_change_conditions(made, ("x" * 300,) * 400)[0].message) < 32768
    before = queue_body() | {"status": {"conditions": [as_stored(told)]}}
    (over,) = clock_change_conditions(parse_queue(before), ())
    assert (over.status, over.reason) == ("False", "NoTimeAffected")


def as_stored(condition: Condition) -> dict[str, Any]:
    return condition.model_dump(by_alias=True, mode="json", exclude_none=True)

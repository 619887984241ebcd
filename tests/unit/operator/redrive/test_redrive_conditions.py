"""What the status of a Redrive says."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.redrive import redrive_conditions as conditions
from protoqueue_operator.redrive.checkpoint import Checkpoint

NOON = datetime(2026, 11, 30, 12, 0, 0, 1, tzinfo=UTC)
HALF_WAY = Checkpoint(NOON, last=12, matched=10, position=6, moved=4, failed=1, failure="it is too large")
DONE = Checkpoint(NOON, last=12, matched=10, position=12, moved=10)


def spec(**fields: Any) -> RedriveSpec:
    return RedriveSpec.model_validate({"queueRef": {"name": "email"}, **fields})


def test_the_counts_add_up_at_every_moment() -> None:
    fields = conditions.progress_fields(HALF_WAY, spec(), 3)
    assert fields["moved"] + fields["remaining"] + fields["failed"] == fields["matched"] == 10
    assert fields["startTime"] == "2026-11-30T12:00:00Z"
    assert conditions.progress_fields(HALF_WAY, spec(limit=6), 3)["remaining"] == 1


@pytest.mark.parametrize(
    ("checkpoint", "stated", "expected"),
    [
        (DONE, {}, [("False", "Completed"), ("True", "Completed"), ("False", "Completed")]),
        (
            replace(DONE, moved=9, failed=1, failure="it is too large"), {},
            [("False", "CompletedWithFailures"), ("True", "CompletedWithFailures"), ("True", "LettersNotMoved")],
        ),
        (Checkpoint(NOON, 12, 10), {"dryRun": True}, [("False", "DryRun"), ("True", "DryRun"), ("False", "DryRun")]),
    ],
)  # fmt: skip
def test_one_that_has_finished_is_complete_and_says_whether_all_went_well(
    checkpoint: Checkpoint, stated: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    said = conditions.finished(checkpoint, spec(**stated), 3)
    assert [each.type for each in said] == ["Progressing", "Complete", "Failed"]
    assert [(each.status, each.reason) for each in said] == expected
    assert {each.observed_generation for each in said} == {3}


@pytest.mark.parametrize(
    ("checkpoint", "stated", "message"),
    [
        (DONE, {}, "moved 10 dead letters"),
        (replace(DONE, moved=1), {"limit": 1}, "moved 1 dead letter"),
        (replace(DONE, moved=8, failed=1), {}, "moved 8 dead letters, 1 could not be moved; 1 had been removed"),
        (Checkpoint(NOON, 12, 10), {"dryRun": True}, "10 dead letters would be moved"),
        (Checkpoint(NOON, 12, 10), {"dryRun": True, "limit": 4}, "4 dead letters would be moved"),
    ],
)
def test_the_message_tells_what_became_of_the_letters(
    checkpoint: Checkpoint, stated: dict[str, Any], message: str
) -> None:
    assert conditions.finished(checkpoint, spec(**stated), 1)[1].message.startswith(message)


def test_nothing_remains_when_it_has_finished_but_after_a_dry_run_all_does() -> None:
    gone = replace(DONE, moved=8)
    assert conditions.finished_fields(gone, spec(), 1, NOON)["remaining"] == 0
    counted = Checkpoint(NOON, 12, 10)
    assert conditions.finished_fields(counted, spec(dryRun=True), 1, NOON)["remaining"] == 10


@pytest.mark.parametrize(("running_s", "interval_s"), [(0, 1), (30, 1), (120, 4), (86_400, 10)])
def test_one_that_runs_for_long_is_written_less_often(running_s: float, interval_s: float) -> None:
    assert conditions.write_interval_s(running_s) == interval_s

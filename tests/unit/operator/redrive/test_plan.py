"""Which dead letters are moved, and how many at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.redrive import RedriveFilter, RedriveSpec
from protoqueue_operator.redrive.checkpoint import MOST_RUNS
from protoqueue_operator.redrive.plan import (
    MESSAGE_OVERHEAD,
    MOST_AT_ONCE,
    MOST_BYTES,
    Letter,
    Room,
    is_selective,
    looks_into_headers,
    matches,
    take,
    target,
)

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def letter(sequence: int = 1, **fields: Any) -> Letter:
    known: dict[str, Any] = {
        "group": "mailers", "reason": "MaxAttempts", "type": "welcome", "error_type": "ValueError", "failed_at": NOON,
        "size": 100,
    }  # fmt: skip
    return Letter(sequence=sequence, **(known | fields))


@pytest.mark.parametrize(
    ("stated", "fields", "is_taken"),
    [
        ({}, {}, True),
        ({"reasons": ["MaxAttempts", "Crashed"]}, {}, True),
        ({"reasons": ["Crashed"]}, {}, False),
        ({"reasons": []}, {}, False),
        ({"types": ["welcome"]}, {}, True),
        ({"types": ["welcome"]}, {"type": ""}, False),
        ({"types": [""]}, {"type": ""}, True),
        ({"errorTypes": ["ValueError"]}, {}, True),
        ({"errorTypes": ["ValueError"]}, {"error_type": "smtplib.SMTPException"}, False),
        ({"types": ["welcome"], "errorTypes": ["KeyError"]}, {}, False),
        ({"failedAfter": "2026-11-30T12:00:00Z"}, {}, True),
        ({"failedAfter": "2026-11-30T12:00:01Z"}, {}, False),
        ({"failedBefore": "2026-11-30T12:00:00Z"}, {}, False),
        ({"failedBefore": "2026-11-30T13:00:01+01:00"}, {}, True),
        ({"failedBefore": "2026-11-30T12:00:01"}, {}, True),
        ({"failedAfter": "2000-01-01T00:00:00Z"}, {"failed_at": None}, False),
        ({"types": ["welcome"]}, {"failed_at": None}, True),
    ],
    ids=str,
)
def test_a_letter_has_to_match_every_field_that_is_stated(
    stated: dict[str, Any], fields: dict[str, Any], is_taken: bool
) -> None:
    assert matches(letter(**fields), RedriveFilter.model_validate(stated)) is is_taken


def test_without_a_filter_all_are_taken_and_none_has_to_be_read_to_be_counted() -> None:
    assert matches(letter(), None)
    assert not is_selective(None)
    assert not is_selective(RedriveFilter())
    assert is_selective(RedriveFilter(types=("welcome",)))


@pytest.mark.parametrize(("limit", "wanted"), [(None, 7), (3, 3), (7, 7), (9, 7)])
def test_a_limit_is_the_most_that_is_moved(limit: int | None, wanted: int) -> None:
    stated = {} if limit is None else {"limit": limit}
    assert target(RedriveSpec.model_validate({"queueRef": {"name": "email"}, **stated}), 7) == wanted


def row(count: int, step: int = 1, size: int = 100) -> list[Letter]:
    return [letter(1 + step * number, size=size) for number in range(count)]


@pytest.mark.parametrize(
    ("letters", "most", "room", "count"),
    [
        (row(5), 10, Room(), 5),
        (row(5), 3, Room(), 3),
        (row(5), 0, Room(), 0),
        (row(5), 10, Room(messages=4), 4),
        (row(5), 10, Room(messages=0), 0),
        (row(5), 10, Room(bytes=2 * (100 + MESSAGE_OVERHEAD)), 2),
        (row(5), 10, Room(bytes=99), 0),
        (row(2000), 2000, Room(), MOST_AT_ONCE),
        (row(2000, step=2), 2000, Room(), MOST_RUNS),
        (row(10, size=MOST_BYTES // 4), 10, Room(), 4),
        (row(3, size=MOST_BYTES * 2), 3, Room(), 1),
        ([], 5, Room(), 0),
    ],
    ids=["all", "as allowed", "none allowed", "room for messages", "full", "room for bytes", "no room for one",
         "a batch", "letters far apart", "megabytes", "one that is larger than a batch", "none there"],
)  # fmt: skip
def test_a_batch_is_as_large_as_everything_allows(letters: list[Letter], most: int, room: Room, count: int) -> None:
    assert take(letters, most, room) == count


def test_where_a_checkpoint_has_room_letters_far_apart_go_in_batches_as_large_as_any() -> None:
    assert take(row(2000, step=2), 2000, Room(), MOST_AT_ONCE) == MOST_AT_ONCE


def test_only_a_filter_that_looks_at_how_letters_died_has_their_headers_read() -> None:
    assert not looks_into_headers(None)
    assert not looks_into_headers(RedriveFilter(types=("welcome",)))
    assert looks_into_headers(RedriveFilter(reasons=("MaxAttempts",)))
    assert looks_into_headers(RedriveFilter(types=("welcome",), failed_after=NOON))


def test_a_filter_that_takes_nothing_is_refused() -> None:
    later = NOON + timedelta(seconds=1)
    assert RedriveFilter(failed_after=NOON, failed_before=later)
    with pytest.raises(ValueError, match="no dead letter would match"):
        RedriveFilter(failed_after=NOON, failed_before=NOON)

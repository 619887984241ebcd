"""How far a Redrive has come is read as it was written, and fits where the smallest task does."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoqueue_operator.redrive.checkpoint import LONGEST_TEXT, MOST_RUNS, Checkpoint, count_runs

START = Checkpoint(datetime(2026, 11, 30, 12, 0, 0, 500, tzinfo=UTC), last=10, matched=7)


@given(st.sets(st.integers(1, 2**53), max_size=999))
def test_what_was_moved_is_read_as_it_was_written(letters: set[int]) -> None:
    written = replace(START, position=9, moved=len(letters), failed=1, failure="it is", letters=tuple(sorted(letters)))
    assert Checkpoint.decode(written.encode()) == written


def test_neighbours_are_noted_together() -> None:
    assert len(replace(START, letters=tuple(range(1, 1000))).encode()) < 250
    assert count_runs(range(5, 9)) == 1
    assert count_runs([1, 2, 4, 5, 9]) == 3
    assert count_runs([]) == 0


def test_it_fits_into_what_a_queue_takes_beyond_the_largest_task() -> None:
    apart = tuple(range(2**40, 2**40 + 1_000_000 * MOST_RUNS, 1_000_000))
    assert len(replace(START, failure="x" * 9999, letters=apart).encode()) < 4096 - 512
    read = Checkpoint.decode(replace(START, failure="x" * 9999).encode())
    assert read
    assert len(read.failure) == LONGEST_TEXT


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff", b'{"started": 7}', START.encode()[:-1], START.encode().replace(b"[]", b"[1,99999]"),
     START.encode().replace(b'"moved":0', b'"moved":"x"')],
)  # fmt: skip
def test_what_others_have_stored_there_is_no_checkpoint(data: bytes) -> None:
    assert Checkpoint.decode(data) is None

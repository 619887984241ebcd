import pytest

from protoqueue_operator.autoscaling.stale_reads import DISBELIEF_S, Doubts, weigh

NOW = 1000.0


@pytest.mark.parametrize(
    ("before", "held", "told", "after"),
    [
        (Doubts(), 0, 0, Doubts()),
        (Doubts(), 100, 100, Doubts()),
        (Doubts(), 100, 0, Doubts(since=NOW)),
        (Doubts(since=NOW - 1), 100, 0, Doubts(since=NOW - 1)),
        (Doubts(since=NOW - DISBELIEF_S), 100, 0, Doubts(strangers=100)),
        (Doubts(since=NOW - 1), 100, 100, Doubts()),
        (Doubts(since=NOW - 1), 0, 0, Doubts()),
        # What is known to be nobody's task raises no doubt, but more than that does.
        (Doubts(strangers=2), 2, 0, Doubts(strangers=2)),
        (Doubts(strangers=2), 1, 0, Doubts(strangers=1)),
        (Doubts(strangers=2), 3, 0, Doubts(strangers=2, since=NOW)),
        (Doubts(strangers=2), 12, 10, Doubts(strangers=2)),
        # What was taken for strangers and turns out to be tasks is not taken for strangers again.
        (Doubts(strangers=100), 100, 100, Doubts()),
        (Doubts(strangers=100), 100, 40, Doubts(strangers=60)),
        # In a Broadcast queue each group tells of its own copy, and a sweep may lag behind.
        (Doubts(strangers=1), 10, 20, Doubts()),
    ],
)
def test_that_nothing_is_left_is_not_believed_at_once_where_there_is_something(
    before: Doubts, held: int, told: int, after: Doubts
) -> None:
    assert weigh(before, held, told, NOW) == after


def test_what_is_said_again_and_again_is_believed_in_the_end() -> None:
    doubts, believed_at = Doubts(), None
    for second in range(60):
        doubts = weigh(doubts, 7, 0, float(second))
        if doubts.since is None and believed_at is None:
            believed_at = second
    assert believed_at == DISBELIEF_S

from datetime import UTC, datetime, timedelta

from protoqueue_operator.queue.reclaim import FIRST_PAUSE, LONGEST_PAUSE, Takeover, record_loss

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = timedelta(seconds=30)


def test_what_is_lost_is_taken_back_after_a_while_and_not_before() -> None:
    takeover = record_loss(None, NOW)
    assert record_loss(takeover, NOW + FIRST_PAUSE - MOMENT) == takeover, "looking does not put it off"
    assert not takeover.is_taken_back
    assert record_loss(takeover, NOW + FIRST_PAUSE).is_taken_back


def test_against_one_who_insists_it_is_tried_less_and_less_often() -> None:
    takeover: Takeover | None = None
    now, pauses = NOW, []
    for _ in range(12):
        takeover = record_loss(takeover, now)
        pauses.append(takeover.until - now)
        takeover = record_loss(takeover, takeover.until)
        now = takeover.until + MOMENT
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_what_was_kept_for_long_counts_as_lost_anew() -> None:
    first = record_loss(None, NOW)
    again = record_loss(record_loss(first, first.until), first.until + MOMENT)
    assert again.times == 2
    assert record_loss(record_loss(again, again.until), again.until + 3 * FIRST_PAUSE).times == 1

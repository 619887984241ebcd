from datetime import UTC, datetime, timedelta

from protoqueue_operator.core.yielding import FIRST_PAUSE, LONGEST_PAUSE, Yielded, lose

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = timedelta(seconds=30)


def test_what_is_lost_is_taken_back_after_a_while_and_not_before() -> None:
    yielded = lose(None, NOW)
    assert lose(yielded, NOW + FIRST_PAUSE - MOMENT) == yielded, "looking does not put it off"
    assert not yielded.is_back
    assert lose(yielded, NOW + FIRST_PAUSE).is_back


def test_against_one_who_insists_it_is_tried_less_and_less_often() -> None:
    yielded: Yielded | None = None
    now, pauses = NOW, []
    for _ in range(12):
        yielded = lose(yielded, now)
        pauses.append(yielded.until - now)
        yielded = lose(yielded, yielded.until)
        now = yielded.until + MOMENT
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_what_was_kept_for_long_counts_as_lost_anew() -> None:
    first = lose(None, NOW)
    again = lose(lose(first, first.until), first.until + MOMENT)
    assert again.times == 2
    assert lose(lose(again, again.until), again.until + 3 * FIRST_PAUSE).times == 1

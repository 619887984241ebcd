from datetime import UTC, datetime

from protoqueue_operator.core.load import ConsumerState, age_seconds, group_state, load_of, measure


def test_a_missing_consumer_makes_the_backlog_unknown_not_zero() -> None:
    there = {"g_p0": ConsumerState(3, 1, 10), "g_p1": ConsumerState(4, 2, 20), "other_p0": ConsumerState(99, 99, 99)}
    assert group_state(["g_p0", "g_p1"], there) == ConsumerState(7, 3, 30)
    assert group_state(["g_p0", "g_p2"], there) is None
    assert group_state([], there) is None


def test_rates_follow_a_steady_flow() -> None:
    rates = None
    for second in range(120):
        # 20 come, 15 are finished each second; 4 are always with the two workers.
        state = ConsumerState(pending=1000 + 5 * second, in_flight=4, delivered=4 + 15 * second)
        rates = measure(rates, state, workers=2, at=float(second))
    assert rates is not None
    assert abs(rates.arrivals_per_s - 20) < 0.1
    assert abs(rates.completions_per_s - 15) < 0.1
    assert abs(rates.busy_workers - 2) < 0.1


def test_a_purge_counts_as_no_movement() -> None:
    before = measure(None, ConsumerState(1000, 0, 50), 1, at=0.0)
    after = measure(before, ConsumerState(0, 0, 50), 1, at=1.0)
    assert (after.arrivals_per_s, after.completions_per_s) == (0, 0)


def test_what_waits_in_a_paused_group_asks_for_no_workers() -> None:
    state = ConsumerState(pending=100, in_flight=2, delivered=2)
    assert load_of(state, None, paused=False).outstanding == 102
    assert load_of(state, None, paused=True).outstanding == 2


def test_ages_are_whole_seconds_and_never_negative() -> None:
    now = datetime(2026, 1, 1, 0, 0, 14, 900_000, tzinfo=UTC)
    assert age_seconds("2026-01-01T00:00:00.130767197Z", now) == 14
    assert age_seconds("2026-01-01T01:00:00Z", now) == 0

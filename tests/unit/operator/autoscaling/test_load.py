from dataclasses import replace
from datetime import timedelta

import pytest

from protoqueue_operator.autoscaling.load import ConsumerState, backlog_of, first_moment, load_of, measure
from protoqueue_operator.jetstream.assets import Consumer, Owner

OWNER = Owner("ConsumerGroup", "default", "g", "uid")


def test_a_missing_consumer_makes_the_backlog_unknown_not_zero() -> None:
    there = {
        ("s", "g_p0"): ConsumerState(3, 1, 10),
        ("s", "g_p1"): ConsumerState(4, 2, 20),
        ("s", "other_p0"): ConsumerState(99, 99, 99),
        ("t", "g_p0"): ConsumerState(99, 99, 99),
    }
    assert backlog_of(LEVELS, there) == ConsumerState(7, 3, 30, startable=4)
    assert backlog_of([*LEVELS, replace(LEVELS[0], name="g_p2")], there) is None
    assert backlog_of([], there) is None


def test_what_is_moved_between_streams_waits_and_is_one_task_all_the_way() -> None:
    consumers = [*LEVELS, *(replace(each, stream="t", moved=True) for each in LEVELS)]
    there = dict.fromkeys((each.place for each in consumers), ConsumerState(0, 0, 0))
    seen = [
        there | {("t", "g_p0"): ConsumerState(9, 0, 0)},  # nine have come due
        there | {("t", "g_p0"): ConsumerState(0, 9, 9)},  # a worker is moving them
        there | {("t", "g_p0"): ConsumerState(0, 0, 9), ("s", "g_p0"): ConsumerState(9, 0, 0)},
    ]
    assert {backlog_of(consumers, each) for each in seen} == {ConsumerState(9, 0, 0, startable=2)}


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


LEVELS = [Consumer("s", f"g_p{level}", OWNER, (), timedelta(seconds=30), max_ack_pending=2) for level in (0, 1)]


def test_only_so_many_can_be_started_as_the_consumers_let_go_at_a_time() -> None:
    there = {("s", "g_p0"): ConsumerState(7, 1, 0), ("s", "g_p1"): ConsumerState(0, 1, 0)}
    total = backlog_of(LEVELS, there)
    assert total
    assert (total.pending, total.in_flight, total.startable) == (7, 2, 3)
    assert backlog_of(LEVELS, {}) is None


def test_a_workers_speed_is_measured_while_tasks_wait_whatever_it_could_do_beside() -> None:
    """One worker with ten slots: two tasks a second keep it busy all the time, and are a tenth of what it can do."""
    rates = None
    for second in range(60):
        rates = measure(rates, ConsumerState(0, 1, 2 * second), workers=1, at=float(second))
    assert rates is not None
    assert rates.speed == pytest.approx(2, rel=0.1)
    assert load_of(ConsumerState(0, 1, 0), rates, paused=False).keep_up == 0, "that is a lower bound"
    for second in range(60, 70):
        rates = measure(rates, ConsumerState(100, 10, 118 + 20 * (second - 59)), workers=1, at=float(second))
    assert rates.speed == pytest.approx(20, rel=0.1)
    assert load_of(ConsumerState(0, 1, 0), rates, paused=False).keep_up == 1


@pytest.mark.parametrize(
    ("state", "workers", "at"),
    [
        (ConsumerState(100, 3, 3), 0, 1.0),  # none is ready, or the group is paused
        (ConsumerState(100, 0, 0), 3, 1.0),  # none holds a task, as where a rate limit is reached
        (ConsumerState(100, 3, 3), 3, 100.0),  # NATS was away
    ],
)
def test_what_was_not_worked_on_makes_no_worker_slower(state: ConsumerState, workers: int, at: float) -> None:
    before = measure(None, state, 3, at=0.0)
    assert measure(before, state, workers, at=at).worker_s == 0


@pytest.mark.parametrize(
    ("state", "has_moved"),
    [
        (ConsumerState(1, 0, 5), False),
        (ConsumerState(2, 0, 5), True),
        (ConsumerState(0, 1, 6), True),
        (ConsumerState(1, 0, 6), True),  # came, started and done between two looks
    ],
)
def test_any_start_or_end_since_the_last_look_is_work(state: ConsumerState, has_moved: bool) -> None:
    before = measure(None, ConsumerState(1, 0, 5), 1, at=0.0)
    assert measure(before, state, 1, at=1.0).has_moved is has_moved


def test_a_purge_counts_as_no_movement() -> None:
    before = measure(None, ConsumerState(1000, 0, 50), 1, at=0.0)
    after = measure(before, ConsumerState(0, 0, 50), 1, at=1.0)
    assert (after.arrivals_per_s, after.completions_per_s) == (0, 0)


def test_what_waits_in_a_paused_group_asks_for_no_workers() -> None:
    state = ConsumerState(pending=100, in_flight=2, delivered=2)
    assert load_of(state, None, paused=False).outstanding == 102
    assert load_of(state, None, paused=True).outstanding == 2


def test_moments_are_written_in_whole_seconds_as_kubernetes_writes_them() -> None:
    assert first_moment("2026-01-01T00:00:00.130767197Z") == "2026-01-01T00:00:00Z"
    assert first_moment("2026-01-01T02:00:00.9+02:00") == "2026-01-01T00:00:00Z"

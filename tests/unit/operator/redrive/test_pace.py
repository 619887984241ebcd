"""A stated rate is held, and what was missed is made up for only a little."""

import random

import pytest

from protoqueue_operator.redrive.pace import TICK_S, Pace


def move_for(pace: Pace, until: float, late: random.Random) -> int:
    """How many are moved until then by one who comes back as late as chance has it."""
    now, moved = pace.counted_at, 0
    while now <= until:
        count = pace.allowed(now)
        pace.spend(count)
        moved += count
        now += pace.wait_s() + late.uniform(0, 0.03)
    return moved


@pytest.mark.parametrize("rate", [0.5, 7, 100, 999, 25_000])
def test_as_many_are_moved_as_the_rate_says(rate: float) -> None:
    for_s = max(20.0, 30 / rate)
    moved = move_for(Pace(rate, counted_at=1000.0), 1000.0 + for_s, random.Random(7))
    assert moved == pytest.approx(rate * for_s, abs=max(1.5, rate * 0.1))


def test_the_first_is_moved_at_once_and_the_second_when_its_time_has_come() -> None:
    pace = Pace(2.0, counted_at=0.0)
    assert pace.allowed(0.0) == 1
    pace.spend(1)
    assert pace.wait_s() == pytest.approx(0.5)
    assert pace.allowed(0.49) == 0
    assert pace.allowed(0.51) == 1


def test_nobody_is_woken_more_often_than_there_is_something_to_do() -> None:
    pace = Pace(1000.0, counted_at=0.0)
    pace.spend(pace.allowed(0.0))
    assert pace.wait_s() == TICK_S


def test_after_a_standstill_it_goes_on_at_the_stated_rate() -> None:
    pace = Pace(100.0, counted_at=0.0)
    assert pace.allowed(3600.0) == 100

from collections import Counter

import pytest

from protoqueue.connection import Delivery
from protoqueue.lanes import Held, Lanes
from protoqueue.settings import Consumer

LEVELS = [Consumer("g_p2", 2, weight=4), Consumer("g_p1", 1, weight=2), Consumer("g_p0", 0, weight=1)]


def held(name: str, arrived: float = 0) -> Held:
    return Held(Delivery(name, b"", {}, "", 1, 1, 0, 0), arrived)


def filled(strict: bool) -> Lanes:
    lanes = Lanes(LEVELS, strict)
    for source in (2, 1, 0):
        for _ in range(70):
            lanes.add(source, held(str(source)))
    return lanes


def test_what_is_fetched_starts_by_weight() -> None:
    lanes = filled(strict=False)
    started = Counter(item.delivery.subject for _ in range(70) if (item := lanes.take()))
    assert started == {"0": pytest.approx(40, abs=1), "1": pytest.approx(20, abs=1), "2": pytest.approx(10, abs=1)}


def test_under_strict_the_highest_starts_first_whenever_it_came() -> None:
    lanes = filled(strict=True)
    assert {item.delivery.subject for _ in range(70) if (item := lanes.take())} == {"0"}


def test_every_held_task_is_taken_once() -> None:
    lanes = filled(strict=False)
    assert len(lanes) == len(list(lanes)) == 210
    assert sum(1 for _ in iter(lanes.take, None)) == 210
    assert (len(lanes), lanes.take()) == (0, None)


def test_what_arrived_too_long_ago_comes_out_of_the_lanes() -> None:
    lanes = Lanes(LEVELS, strict=False)
    for arrived in (1.0, 2.0, 3.0):
        lanes.add(0, held("x", arrived))
    assert [late.arrived for late in lanes.expire(2.0)] == [1.0, 2.0]
    assert len(lanes) == 1


def add(lanes: Lanes, source: int, count: int) -> None:
    for _ in range(count):
        lanes.add(source, held(str(source)))


def taken(lanes: Lanes, count: int) -> Counter[str]:
    return Counter(item.delivery.subject for _ in range(count) if (item := lanes.take()))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_what_a_level_missed_while_its_batch_was_late_is_evened_out_at_once(late: int) -> None:
    lanes = Lanes(LEVELS, strict=False)
    for source, consumer in enumerate(LEVELS):
        add(lanes, source, consumer.weight if source == late else 70)
    begun = taken(lanes, 7 + 9)  # nine went to the others meanwhile
    add(lanes, late, 70)
    begun += taken(lanes, 70 - begun.total())
    assert begun == {"0": pytest.approx(40, abs=1), "1": pytest.approx(20, abs=1), "2": pytest.approx(10, abs=1)}


def test_a_level_that_was_idle_for_long_saves_up_no_more_than_a_moment() -> None:
    lanes = Lanes(LEVELS, strict=False)
    for source in range(3):
        add(lanes, source, 1)
    add(lanes, 1, 1000)
    taken(lanes, 1003)
    for source in range(3):
        add(lanes, source, 200)
    assert taken(lanes, 70) == {
        "0": pytest.approx(45, abs=4),
        "1": pytest.approx(14, abs=4),
        "2": pytest.approx(11, abs=4),
    }

from collections import Counter

import pytest

from protoqueue.broker import Delivery
from protoqueue.consumer.buffer import Buffer, InFlight
from protoqueue.protocol.config import Consumer

LEVELS = [Consumer("g_p2", 2, weight=4), Consumer("g_p1", 1, weight=2), Consumer("g_p0", 0, weight=1)]


def in_flight(name: str, arrived: float = 0) -> InFlight:
    return InFlight(Delivery(name, b"", {}, "", 1, 1, 0, 0), arrived)


def filled(strict: bool) -> Buffer:
    buffer = Buffer(LEVELS, strict)
    for source in (2, 1, 0):
        for _ in range(70):
            buffer.add(source, in_flight(str(source)))
    return buffer


def test_what_is_fetched_starts_by_weight() -> None:
    buffer = filled(strict=False)
    started = Counter(item.delivery.subject for _ in range(70) if (item := buffer.take()))
    assert started == {"0": pytest.approx(40, abs=1), "1": pytest.approx(20, abs=1), "2": pytest.approx(10, abs=1)}


def test_under_strict_the_highest_starts_first_whenever_it_came() -> None:
    buffer = filled(strict=True)
    assert {item.delivery.subject for _ in range(70) if (item := buffer.take())} == {"0"}


def test_every_held_task_is_taken_once() -> None:
    buffer = filled(strict=False)
    assert len(buffer) == len(list(buffer)) == 210
    assert sum(1 for _ in iter(buffer.take, None)) == 210
    assert (len(buffer), buffer.take()) == (0, None)


def test_what_arrived_too_long_ago_comes_out_of_the_lanes() -> None:
    buffer = Buffer(LEVELS, strict=False)
    for arrived in (1.0, 2.0, 3.0):
        buffer.add(0, in_flight("x", arrived))
    assert [late.arrived for late in buffer.expire(2.0)] == [1.0, 2.0]
    assert len(buffer) == 1


def add(buffer: Buffer, source: int, count: int) -> None:
    for _ in range(count):
        buffer.add(source, in_flight(str(source)))


def taken(buffer: Buffer, count: int) -> Counter[str]:
    return Counter(item.delivery.subject for _ in range(count) if (item := buffer.take()))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_what_a_level_missed_while_its_batch_was_late_is_evened_out_at_once(late: int) -> None:
    buffer = Buffer(LEVELS, strict=False)
    for source, consumer in enumerate(LEVELS):
        add(buffer, source, consumer.weight if source == late else 70)
    begun = taken(buffer, 7 + 9)  # nine went to the others meanwhile
    add(buffer, late, 70)
    begun += taken(buffer, 70 - begun.total())
    assert begun == {"0": pytest.approx(40, abs=1), "1": pytest.approx(20, abs=1), "2": pytest.approx(10, abs=1)}


def test_a_level_that_was_idle_for_long_saves_up_no_more_than_a_moment() -> None:
    buffer = Buffer(LEVELS, strict=False)
    for source in range(3):
        add(buffer, source, 1)
    add(buffer, 1, 1000)
    taken(buffer, 1003)
    for source in range(3):
        add(buffer, source, 200)
    assert taken(buffer, 70) == {
        "0": pytest.approx(45, abs=4),
        "1": pytest.approx(14, abs=4),
        "2": pytest.approx(11, abs=4),
    }

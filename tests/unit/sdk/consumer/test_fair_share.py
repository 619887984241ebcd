import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoqueue.consumer.fair_share import FairShare, Request
from protoqueue.protocol.config import Consumer

HIGH, MIDDLE, LOW = 0, 1, 2
LEVELS = [Consumer("g_p2", 2, weight=4), Consumer("g_p1", 1, weight=2), Consumer("g_p0", 0, weight=1)]


def drain(allocation: FairShare, backlog: list[int], slots: int, rounds: int) -> Counter[int]:
    """Play a server with so much at each source: answer every request, then free all slots."""
    served: Counter[int] = Counter()
    for _ in range(rounds):
        free = slots
        while requests := [r for r in allocation.plan(free) if not r.watch]:
            assert sum(request.batch for request in requests) <= free
            for request in requests:
                given = min(request.batch, backlog[request.source])
                for _ in range(given):
                    backlog[request.source] -= 1
                    served[request.source] += 1
                    allocation.received(request.source, backlog[request.source])
                free -= given
                if given < request.batch:
                    allocation.ended(request.source)
        allocation.full()
    return served


@pytest.mark.parametrize("slots", [1, 3, 10, 100])
def test_backlogged_levels_share_the_slots_by_weight(slots: int) -> None:
    served = drain(FairShare(LEVELS, strict=False), [10_000] * 3, slots, 2000 // slots)
    total = sum(served.values())
    for source, weight in ((HIGH, 4), (MIDDLE, 2), (LOW, 1)):
        assert served[source] == pytest.approx(total * weight / 7, rel=0.05)


def test_what_an_idle_level_leaves_goes_to_the_others_by_weight() -> None:
    served = drain(FairShare(LEVELS, strict=False), [0, 10_000, 10_000], 7, 300)
    assert served[HIGH] == 0
    assert served[MIDDLE] == pytest.approx(2 * served[LOW], rel=0.05)
    assert sum(served.values()) == 7 * 300


def test_idleness_saves_up_no_credit() -> None:
    allocation = FairShare(LEVELS, strict=False)
    backlog = [0, 0, 10_000]
    drain(allocation, backlog, 7, 100)
    backlog[HIGH] = 10_000
    served = drain(allocation, backlog, 7, 100)
    assert served[HIGH] == pytest.approx(4 * served[LOW], rel=0.1)


def test_strict_asks_lower_levels_only_for_what_higher_ones_leave() -> None:
    allocation = FairShare(LEVELS, strict=True)
    assert allocation.plan(5) == [Request(HIGH, 5)]
    assert allocation.plan(0) == []
    allocation.received(HIGH, 1)
    allocation.received(HIGH, 0)
    assert allocation.plan(0) == []
    allocation.ended(HIGH)
    assert allocation.plan(3) == [Request(MIDDLE, 3)]
    allocation.ended(MIDDLE)
    allocation.received(LOW, 9)
    assert allocation.plan(2) == [Request(LOW, 2)]


def test_a_slot_waits_for_the_answer_of_the_level_it_is_due_to() -> None:
    allocation = FairShare(LEVELS[:1], strict=False)
    assert allocation.plan(1) == [Request(0, 1)]
    assert allocation.plan(1) == []


def test_empty_levels_are_watched_with_one_uncounted_task_each() -> None:
    allocation = FairShare(LEVELS, strict=False)
    for request in allocation.plan(7):
        allocation.ended(request.source)
    assert allocation.plan(7) == [Request(n, 1, watch=True) for n in (HIGH, MIDDLE, LOW)]
    assert allocation.requested == 0
    assert allocation.plan(7) == []


def test_watches_are_taken_back_when_all_slots_are_taken_and_asked_anew_afterwards() -> None:
    allocation = FairShare(LEVELS, strict=False)
    for request in allocation.plan(7):
        allocation.ended(request.source)
    allocation.plan(7)
    allocation.received(LOW, 0)
    assert allocation.full() == [HIGH, MIDDLE]
    assert {request.source for request in allocation.plan(7)} == {HIGH, MIDDLE, LOW}


def test_after_a_reconnect_everything_is_asked_again() -> None:
    allocation = FairShare(LEVELS, strict=True)
    allocation.plan(5)
    allocation.reset()
    assert allocation.plan(5) == [Request(HIGH, 5)]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5),
    st.integers(1, 12),
    st.booleans(),
    st.integers(),
)
def test_every_task_is_served_and_never_more_than_there_are_slots_are_asked_for(
    backlog: list[int], slots: int, strict: bool, seed: int
) -> None:
    chance = random.Random(seed)
    consumers = [Consumer(f"g_p{n}", n, weight=chance.randint(1, 9)) for n in range(len(backlog))]
    served = drain(FairShare(consumers, strict), list(backlog), slots, sum(backlog) + 1)
    assert [served[n] for n in range(len(backlog))] == backlog

"""What is kept of a queue over time."""

from collections.abc import Callable

import pytest

from protoqueue.protocol.samples import COARSE, FINE, UNKNOWN
from protoqueue.protocol.v1 import samples_pb2 as pb
from protoqueue_operator.timeseries.series import LONGEST_MESSAGE, MOST_CHANGES, Counts, Progress, Series

BEGINS = 1_800_000_000.0
"""A moment at which a coarse block begins."""

EMPTY = Counts(0, 0, 0, 0)


class Clock:
    """Looks once a second, and lets the series have its turn once in a step."""

    def __init__(self, *, swept: bool = True, now: float = BEGINS, created: float = 0.0) -> None:
        self.now = now
        self.swept = swept
        self.workers = (UNKNOWN, UNKNOWN)
        self.series = Series("uid", self.now, created)
        self.written: list[pb.SampleBlock] = []

    def step(self, *found: Counts, groups: dict[str, Progress] | None = None) -> None:
        """One step, in which the looks found this."""
        for number, counts in enumerate(found):
            self.series.observe(self.now + number, counts, groups)
        self.now += FINE.step_s
        for _, block in self.series.roll(self.now, lambda _: self.swept, lambda: self.workers):
            self.written.append(pb.SampleBlock.FromString(block.SerializeToString()))

    @property
    def fine(self) -> pb.SampleBlock:
        return self.series.fine


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_coarse_blocks_hold_whole_fine_ones() -> None:
    assert COARSE.step_s == FINE.block_s
    assert BEGINS % COARSE.block_s == 0


def test_a_sample_has_the_highest_counts_within_its_step(clock: Clock) -> None:
    clock.step(Counts(1, 0, 7, 0), Counts(9, 3, 2, 0), Counts(2, 1, 2, 1))
    clock.step(Counts(2, 1, 2, 1))
    assert list(clock.fine.index) == [0, 1]
    assert list(clock.fine.waiting) == [9, 2]
    assert list(clock.fine.in_flight) == [3, 1]
    assert list(clock.fine.scheduled) == [7, 2]
    assert list(clock.fine.dead) == [1, 1]


def test_arrivals_and_completions_are_what_deliveries_have_advanced(clock: Clock) -> None:
    clock.step(EMPTY, groups={"g": Progress(arrived=100, ended=90)})
    clock.step(EMPTY, groups={"g": Progress(arrived=130, ended=95)})
    clock.step(EMPTY, groups={"g": Progress(arrived=130, ended=130)})
    assert list(clock.fine.arrivals) == [0, 30, 0], "what there was before anybody looked did not arrive just now"
    assert list(clock.fine.completions) == [0, 5, 35]


@pytest.mark.parametrize(
    ("groups", "arrived"), [({"g": Progress(arrived=7, ended=2)}, 7), ({}, 5)], ids=["of a group", "without a group"]
)
def test_what_a_queue_did_before_the_first_look_counts_if_it_was_created_just_now(
    groups: dict[str, Progress], arrived: int
) -> None:
    clock = Clock(created=BEGINS - 2)
    clock.step(Counts(5, 0, 0, 0), groups=groups)
    clock.step(Counts(5, 0, 0, 0), groups=groups)
    assert list(clock.fine.arrivals) == [arrived, 0]


def test_what_the_first_group_of_a_new_queue_did_before_it_was_looked_at_counts_once() -> None:
    clock = Clock(created=BEGINS - 2)
    clock.step(Counts(2, 0, 0, 0), groups={})
    clock.step(Counts(3, 0, 0, 0), groups={"g": Progress(arrived=5, ended=2)})
    assert list(clock.fine.arrivals) == [2, 3]
    assert list(clock.fine.completions) == [0, 2]


def test_what_came_while_a_group_was_not_to_be_seen_counts_once() -> None:
    clock = Clock()
    clock.step(EMPTY, groups={"g": Progress(10, 10)})
    clock.step(Counts(2, 0, 0, 0), groups={})
    clock.step(Counts(5, 0, 0, 0), groups={"g": Progress(15, 10)})
    assert list(clock.fine.arrivals) == [0, 2, 3]


def test_tasks_that_came_and_went_between_two_looks_are_counted_with_the_next(clock: Clock) -> None:
    clock.step(EMPTY, groups={"g": Progress(0, 0)})
    clock.step(EMPTY, groups=None)
    clock.step(EMPTY, groups={"g": Progress(5, 5)})
    assert list(clock.fine.arrivals) == [0, 0, 5]


def test_of_a_broadcast_queue_the_group_that_is_furthest_counts(clock: Clock) -> None:
    clock.step(EMPTY, groups={"a": Progress(0, 0), "b": Progress(0, 0)})
    clock.step(EMPTY, groups={"a": Progress(10, 10), "b": Progress(10, 0)})
    clock.step(EMPTY, groups={"a": Progress(10, 10), "b": Progress(10, 10)})
    assert list(clock.fine.completions) == [0, 10, 0], "ten tasks, not twenty"
    clock.step(EMPTY, groups={"a": Progress(12, 12), "b": Progress(12, 12), "new": Progress(1000, 1000)})
    clock.step(EMPTY, groups={"a": Progress(13, 13), "b": Progress(13, 13), "new": Progress(1001, 1001)})
    assert list(clock.fine.arrivals)[-1] == 1


def test_a_purge_is_no_movement(clock: Clock) -> None:
    clock.step(Counts(50, 0, 0, 0), groups={"g": Progress(50, 0)})
    clock.step(EMPTY, groups={"g": Progress(0, 0)})
    clock.step(EMPTY, groups={"g": Progress(2, 2)})
    assert list(clock.fine.arrivals) == [0, 0, 2]


def test_without_a_group_what_waits_has_arrived(clock: Clock) -> None:
    clock.step(EMPTY, groups={})
    clock.step(Counts(4, 0, 0, 0), groups={})
    assert list(clock.fine.arrivals) == [0, 4]


def test_the_wait_is_the_age_of_the_oldest_task(clock: Clock) -> None:
    clock.step(Counts(1, 0, 0, 0, oldest_at=BEGINS - 5))
    clock.step()
    clock.step(EMPTY)
    assert list(clock.fine.oldest_age) == [5, 25, UNKNOWN], "it grows also while nobody looks"


def test_a_queue_that_no_sweep_found_changed_is_as_it_was(clock: Clock) -> None:
    clock.step(Counts(3, 0, 1, 2))
    clock.step()
    assert list(clock.fine.waiting) == [3, 3]
    assert list(clock.fine.index) == [0, 1]


def test_where_nobody_could_look_there_is_a_gap(clock: Clock) -> None:
    clock.step(Counts(3, 0, 0, 0))
    clock.swept = False
    clock.step()
    clock.swept = True
    clock.step(Counts(1, 0, 0, 0))
    clock.series.lose_sight()
    clock.step()
    clock.step(Counts(2, 0, 0, 0))
    assert list(clock.fine.index) == [0, 2, 4]
    assert list(clock.fine.waiting) == [3, 1, 2]


def test_what_is_as_it_was_is_no_news(clock: Clock) -> None:
    def told() -> bool:
        news, clock.series.has_news = clock.series.has_news, False
        return news

    def after(act: Callable[[], None]) -> bool:
        act()
        return told()

    assert after(lambda: clock.step(Counts(1, 0, 0, 0, oldest_at=BEGINS))), "the first one"
    assert not after(lambda: clock.step(Counts(1, 0, 0, 0, oldest_at=BEGINS)))
    assert after(lambda: clock.step(Counts(2, 0, 0, 0)))
    assert not after(lambda: clock.step())
    clock.series.change_workers(pb.WorkerChange(at=int(clock.now), after=1))
    assert after(lambda: clock.step())


def test_a_finished_block_is_one_sample_of_the_day(clock: Clock) -> None:
    clock.workers = (3, 1)
    for number in range(FINE.per_block):
        clock.step(Counts(number, 1, 0, 0), groups={"g": Progress(number * 2, number)})
    clock.workers = (4, 4)
    clock.step(EMPTY)
    coarse = clock.series.coarse
    assert [block.step for block in clock.written] == [FINE.step_s, COARSE.step_s]
    assert list(coarse.index) == [0]
    assert list(coarse.waiting) == [FINE.per_block - 1]
    assert list(coarse.arrivals) == [2 * (FINE.per_block - 1)]
    assert list(coarse.completions) == [FINE.per_block - 1]
    assert (list(coarse.workers_desired), list(coarse.workers_available)) == ([3], [1])
    assert clock.fine.start == BEGINS + FINE.block_s
    assert list(clock.fine.waiting) == [0]


def test_a_day_takes_the_slots_it_has(clock: Clock) -> None:
    fine, coarse = set(), set()
    for _ in range(86_400 // FINE.step_s):
        clock.step(Counts(1, 0, 0, 0))
        fine.add(clock.fine.start // FINE.block_s % FINE.slots)
        coarse.add(clock.series.coarse.start // COARSE.block_s % COARSE.slots)
    assert len(fine) == FINE.slots
    assert len(coarse) == 86_400 // COARSE.block_s


def test_changes_of_workers_are_kept_with_their_sentence_and_the_last_ones_of_many(clock: Clock) -> None:
    for number in range(200):
        clock.series.change_workers(
            pb.WorkerChange(at=int(clock.now), group="g", before=number, after=number + 1, message="x" * 1000)
        )
    clock.step(EMPTY)
    assert [change.after for change in clock.fine.changes] == list(range(181, 201))
    assert {len(change.message) for change in clock.fine.changes} == {LONGEST_MESSAGE}
    for _ in range(FINE.per_block):
        clock.step(EMPTY)
    assert len(clock.series.coarse.changes) == MOST_CHANGES[FINE]
    assert not clock.fine.changes


def test_an_operator_that_is_restarted_goes_on_where_it_was(clock: Clock) -> None:
    for _ in range(FINE.per_block + 3):
        clock.step(Counts(1, 0, 0, 0))
    stored = {FINE: [clock.fine.SerializeToString()], COARSE: [clock.series.coarse.SerializeToString()]}
    later = Clock(now=clock.now + 20)
    assert not later.series.resume(stored)
    later.step(Counts(2, 0, 0, 0))
    assert list(later.fine.waiting) == [1, 1, 1, 2]
    assert list(later.fine.index) == [0, 1, 2, 5]
    assert list(later.series.coarse.index) == [0]


def test_the_block_that_an_operator_left_unfinished_is_part_of_the_day(clock: Clock) -> None:
    for _ in range(4):
        clock.step(Counts(7, 0, 0, 0))
    later = Clock(now=BEGINS + FINE.block_s + 50)
    assert not later.series.resume({FINE: [clock.fine.SerializeToString()]})
    assert list(later.series.coarse.waiting) == [7]
    assert not later.fine.index


def test_what_an_earlier_queue_of_the_name_had_is_told_apart() -> None:
    other = pb.SampleBlock(queue_uid="another", start=int(BEGINS), step=FINE.step_s)
    series = Series("uid", BEGINS)
    assert series.resume({FINE: [other.SerializeToString()]})
    assert not series.resume({FINE: [b"\xff\xff nonsense"]})
    other.queue_uid = "uid"
    other.index.append(1)
    assert not series.resume({FINE: [other.SerializeToString()]}), "columns of another version"
    assert not series.fine.index

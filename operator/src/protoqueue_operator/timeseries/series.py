"""The measurements of one queue, as blocks of samples that grow with time. Pure: the clock is an argument."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from protoqueue.protocol.samples import COARSE, FINE, UNKNOWN, Resolution
from protoqueue.protocol.v1 import samples_pb2 as pb

MOST_CHANGES = {FINE: 20, COARSE: 100}
"""How many changes of the number of workers a block keeps: more could not be told apart in a chart."""

YOUNG_S = 60.0
"""A queue is new for this long after its creation: all that its consumers have counted is recent."""

LONGEST_MESSAGE = 200
"""How many characters of a change's message are kept."""


class Counts(NamedTuple):
    """How many tasks a queue held at one time."""

    waiting: int
    in_flight: int
    scheduled: int
    dead: int
    oldest_at: float | None = None
    """When the oldest due task was stored, in seconds since the epoch; None if there is none."""


class Progress(NamedTuple):
    """Deliveries of one group, counted since its consumers were created."""

    arrived: int
    """Tasks that became due for it."""
    ended: int
    """Attempts that ended."""


class Series:
    """The newest blocks of a queue. Moments are seconds since the epoch, each no earlier than the one before."""

    def __init__(self, uid: str, now: float, created: float = 0.0) -> None:
        """`created`: when the queue was. Of a new one, what its first group did before it was seen counts too."""
        self.uid = uid
        self._step = int(now // FINE.step_s)
        self._is_young = now - created < YOUNG_S
        """Whether the first group that is seen counts from zero; False once there was one."""
        self._last: Counts | None = None
        """None: the queue's contents are unknown."""
        self._is_measured = False
        """Whether the queue was sampled within the step."""
        self._peak = [0, 0, 0, 0]
        self._oldest_age = UNKNOWN
        self._groups: dict[str, Progress] = {}
        self._totals: dict[str, tuple[int, int]] = {}
        self._counted = (0, 0)
        """What had arrived and ended, of the group that is furthest; and the same when the step began."""
        self._before = (0, 0)
        self._changes: list[pb.WorkerChange] = []
        self._told: tuple[int, ...] = ()
        self.has_news = False
        """Whether the fine block has changes beyond an unchanged queue; to be reset once it is written."""
        self.fine = _block(uid, FINE, now)
        self.coarse = _block(uid, COARSE, now)

    def observe(self, now: float, counts: Counts, groups: Mapping[str, Progress] | None) -> None:
        """Add a sample. `groups` None: they were not read, as nothing has happened."""
        if groups:
            self._count(groups)
        elif groups is not None:  # without a group all tasks wait
            before = self._last.waiting if self._last else 0 if self._is_young else counts.waiting
            self._counted = self._counted[0] + max(0, counts.waiting - before), self._counted[1]
        self._last, self._is_measured = counts, True
        # Every queue with work gets here more than once a second: no calls or allocations.
        waiting, in_flight, scheduled, dead, oldest_at = counts
        peak = self._peak
        if waiting > peak[0]:
            peak[0] = waiting
        if in_flight > peak[1]:
            peak[1] = in_flight
        if scheduled > peak[2]:
            peak[2] = scheduled
        if dead > peak[3]:
            peak[3] = dead
        if oldest_at is not None and now - oldest_at > self._oldest_age:
            self._oldest_age = int(now - oldest_at)

    def lose_sight(self) -> None:
        """The queue's contents are unknown from now on, until the next sample."""
        self._last = None

    def change_workers(self, change: pb.WorkerChange) -> None:
        """Record that the number of workers has changed."""
        change.message = change.message[:LONGEST_MESSAGE]
        self._changes = [*self._changes, change][-MOST_CHANGES[FINE] :]

    def roll(
        self, now: float, was_swept: Callable[[int], bool], workers: Callable[[], tuple[int, int]]
    ) -> list[tuple[Resolution, pb.SampleBlock]]:
        """Close the steps that have ended; returns the blocks that are finished with it.

        `was_swept` tells of a step whether a look at everything was finished in it: a queue that none found changed is
        then as it was. `workers` gives how many are to be there and are available.
        """
        step, finished = int(now // FINE.step_s), dict[Resolution, pb.SampleBlock]()
        for each in range(max(self._step, step - FINE.per_block), step):
            if each * FINE.step_s >= self.fine.start + FINE.block_s:
                finished |= self._finish_block(each * FINE.step_s)
            if self._last is not None and (self._is_measured or was_swept(each)):
                self._append(each, self._last, workers())
        self._step = max(step, self._step)
        self._take_changes()
        return list(finished.items())

    def resume(self, blocks: Mapping[Resolution, list[bytes]]) -> bool:
        """Go on from what is stored; returns whether that is of an earlier queue of this name, and is to be removed.

        `blocks` are the fine one before the present one, the present one, and the present coarse one, as far as they
        are there.
        """
        stored = {resolution: [*map(_parsed, found)] for resolution, found in blocks.items()}
        known = [block for found in stored.values() for block in found if block is not None]
        if any(block.queue_uid != self.uid for block in known):
            return True
        for block in filter(None, stored.get(COARSE, [])):
            if block.start == self.coarse.start and not self.coarse.index:
                self.coarse = block
        for block in filter(None, stored.get(FINE, [])):
            if block.start == self.fine.start and not self.fine.index:
                self.fine = block
            elif block.start == self.fine.start - FINE.block_s and block.start >= self.coarse.start:
                _summarize(block, self.coarse)
        return False

    def _count(self, groups: Mapping[str, Progress]) -> None:
        """A step back (a purge, a new consumer) counts as no movement; a new group counts as the furthest."""
        known = self._groups
        for name in groups.keys() - known.keys():
            known[name] = Progress(0, 0) if self._is_young else groups[name]
            self._totals[name] = (0, 0) if self._is_young else self._counted
        self._is_young = False
        for name, progress in groups.items():
            before = known[name]
            if progress == before:
                continue
            known[name] = progress
            arrived, ended = self._totals[name]
            arrived += max(0, progress.arrived - before.arrived)
            ended += max(0, progress.ended - before.ended)
            self._totals[name] = arrived, ended
            self._counted = max(self._counted[0], arrived), max(self._counted[1], ended)

    def _append(self, step: int, last: Counts, workers: tuple[int, int]) -> None:
        block, at, age = self.fine, step * FINE.step_s, self._oldest_age
        if not self._is_measured and last.oldest_at is not None:
            age = int(max(0.0, at + FINE.step_s - last.oldest_at))
        arrivals, completions = self._counted[0] - self._before[0], self._counted[1] - self._before[1]
        told = (*map(max, self._peak, last[:4]), arrivals, completions, *workers)
        if told != self._told or arrivals or not block.index:
            self._told, self.has_news = told, True
        block.index.append((at - block.start) // FINE.step_s)
        for column, value in zip(_columns(block), (*told[:6], age, *workers), strict=True):
            column.append(value)
        self._before, self._peak, self._oldest_age, self._is_measured = self._counted, [0, 0, 0, 0], UNKNOWN, False

    def _finish_block(self, now: float) -> dict[Resolution, pb.SampleBlock]:
        """Begin the next fine block, and put the last one into the coarse one; returns what is not written again."""
        self._take_changes()
        finished = {FINE: self.fine}
        if self.fine.start >= self.coarse.start + COARSE.block_s:
            self.coarse = _block(self.uid, COARSE, self.fine.start)
        _summarize(self.fine, self.coarse)
        finished[COARSE] = self.coarse
        self.fine = _block(self.uid, FINE, now)
        return finished

    def _take_changes(self) -> None:
        """Those that are waiting to be kept, into the block that is being written."""
        if self._changes:
            _keep(self.fine, [*self.fine.changes, *self._changes], FINE)
            self._changes, self.has_news = [], True


def _columns(block: pb.SampleBlock) -> tuple[Any, ...]:
    return (
        block.waiting, block.in_flight, block.scheduled, block.dead, block.arrivals, block.completions,
        block.oldest_age, block.workers_desired, block.workers_available,
    )  # fmt: skip


def _summarize(fine: pb.SampleBlock, coarse: pb.SampleBlock) -> None:
    """One sample of all those of a fine block, unless it is there already; nothing where there are none."""
    index = (fine.start - coarse.start) // COARSE.step_s
    if not fine.index or index in coarse.index:
        return
    coarse.index.append(index)
    for name in ("waiting", "in_flight", "scheduled", "dead", "oldest_age"):
        getattr(coarse, name).append(max(getattr(fine, name)))
    for name in ("arrivals", "completions"):
        getattr(coarse, name).append(sum(getattr(fine, name)))
    for name in ("workers_desired", "workers_available"):
        getattr(coarse, name).append(getattr(fine, name)[-1])
    _keep(coarse, [*coarse.changes, *fine.changes], COARSE)


def _keep(block: pb.SampleBlock, changes: list[pb.WorkerChange], resolution: Resolution) -> None:
    kept = [pb.WorkerChange.FromString(change.SerializeToString()) for change in changes[-MOST_CHANGES[resolution] :]]
    del block.changes[:]
    block.changes.extend(kept)


def _block(uid: str, resolution: Resolution, now: float) -> pb.SampleBlock:
    return pb.SampleBlock(queue_uid=uid, start=resolution.start_of(now), step=resolution.step_s)


def _parsed(data: bytes) -> pb.SampleBlock | None:
    """None for data that is not a block, or has columns of different lengths."""
    try:
        block = pb.SampleBlock.FromString(data)
    except DecodeError:
        return None
    return block if {len(column) for column in _columns(block)} == {len(block.index)} else None

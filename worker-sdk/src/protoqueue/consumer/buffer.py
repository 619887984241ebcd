"""What a worker has fetched and not yet started, one lane per source, and which of it comes next."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from protoqueue.connection import Delivery
from protoqueue.settings import Consumer

_CREDIT_ROUNDS = 4
"""How far a level may be behind when it has tasks again. In a round each level starts as many as its weight says."""


@dataclass(eq=False, slots=True)
class Held:
    """A delivery in this process: fetched, then run by `runner`. `arrived` is on the monotonic clock."""

    delivery: Delivery
    arrived: float
    runner: asyncio.Task[Any] | None = None
    cancelled: bool = False
    settled: bool = False


@dataclass(eq=False, slots=True)
class _Lane:
    weight: int
    served: float = 0.0
    waiting: deque[Held] = field(default_factory=deque)


class Lanes:
    """Requests come in batches, so the order within one is decided here, by the same rule as in `allocation`."""

    def __init__(self, consumers: Sequence[Consumer], strict: bool) -> None:
        self._lanes = [_Lane(consumer.weight) for consumer in consumers] or [_Lane(1)]
        self._strict = strict
        self._clock = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Held]:
        for lane in self._lanes:
            yield from lane.waiting

    def add(self, source: int, held: Held) -> None:
        """Append to a source's lane.

        One that was empty catches up on little of that time: enough where its batch was late, as under load it is, and
        too little for the others to notice where its level had nothing.
        """
        lane = self._lanes[source]
        if not lane.waiting:
            lane.served = max(lane.served, self._clock - _CREDIT_ROUNDS)
        lane.waiting.append(held)
        self._count += 1

    def take(self) -> Held | None:
        """The next to start."""
        best: _Lane | None = None
        for lane in self._lanes:
            if lane.waiting:
                if self._strict:
                    best = lane
                    break
                if best is None or lane.served < best.served:
                    best = lane
        if best is None:
            return None
        self._clock = best.served
        best.served += 1 / best.weight
        self._count -= 1
        return best.waiting.popleft()

    def expire(self, latest: float) -> list[Held]:
        """Remove and return what arrived at `latest` or before."""
        late: list[Held] = []
        for lane in self._lanes:
            while lane.waiting and lane.waiting[0].arrived <= latest:
                late.append(lane.waiting.popleft())
        self._count -= len(late)
        return late

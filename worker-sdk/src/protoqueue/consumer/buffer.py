"""What a worker has fetched and not yet started, by source, and which of it comes next."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from protoqueue.broker import Delivery
from protoqueue.protocol.config import Consumer

_ANY = Consumer("")

_CREDIT_ROUNDS = 4
"""How many rounds a level may be behind when it has tasks again. In a round each level starts as many as its weight."""


@dataclass(eq=False, slots=True)
class InFlight:
    """A delivery in this process: fetched, then run by `runner`.

    `started` says whether a handler may have seen it. `arrived`, and `began` once it is started, are on the monotonic
    clock.
    """

    delivery: Delivery
    arrived: float
    runner: asyncio.Task[Any] | None = None
    cancelled: bool = False
    started: bool = False
    began: float = 0.0
    settled: bool = False


@dataclass(eq=False, slots=True)
class _Level:
    """Sources that share a weight: new tasks and tasks that have come due. They take turns while both have tasks."""

    weight: int
    served: float = 0.0
    clock: float = 0.0
    count: int = 0
    busy: list["_Source"] = field(default_factory=list)
    """Those of its sources of which something waits."""


@dataclass(eq=False, slots=True)
class _Source:
    level: _Level
    served: float = 0.0
    waiting: deque[InFlight] = field(default_factory=deque)


class Buffer:
    """Requests come in batches, so the order within one is decided here, by the same rule as in `fair_share`."""

    def __init__(self, consumers: Sequence[Consumer], strict: bool) -> None:
        levels: dict[tuple[int, int], _Level] = {}
        self._sources: list[_Source] = []
        for consumer in consumers or (_ANY,):
            self._sources.append(_Source(levels.setdefault(consumer.share, _Level(consumer.weight))))
        self._levels = list(levels.values())
        self._strict = strict
        self._clock = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[InFlight]:
        for source in self._sources:
            yield from source.waiting

    def add(self, number: int, item: InFlight) -> None:
        """Append to what waits of a source.

        A source that was empty catches up on little of that time: enough if its batch was merely late, as under load,
        and too little for the others to notice if its level had no tasks.
        """
        source = self._sources[number]
        level = source.level
        if not source.waiting:
            level.busy.append(source)
            source.served = max(source.served, level.clock - _CREDIT_ROUNDS)
            if not level.count:
                level.served = max(level.served, self._clock - _CREDIT_ROUNDS)
        source.waiting.append(item)
        level.count += 1
        self._count += 1

    def take(self) -> InFlight | None:
        """The next to start."""
        best: _Level | None = None
        for level in self._levels:
            if level.count:
                if self._strict:
                    best = level
                    break
                if best is None or level.served < best.served:
                    best = level
        if best is None:
            return None
        self._clock = best.served
        best.served += 1 / best.weight
        best.count -= 1
        self._count -= 1
        source = best.busy[0] if len(best.busy) == 1 else min(best.busy, key=_served)
        best.clock = source.served
        source.served += 1
        item = source.waiting.popleft()
        if not source.waiting:
            best.busy.remove(source)
        return item

    def expire(self, latest: float) -> list[InFlight]:
        """Remove and return what arrived at `latest` or before."""
        late: list[InFlight] = []
        for source in self._sources:
            before = len(source.waiting)
            while source.waiting and source.waiting[0].arrived <= latest:
                late.append(source.waiting.popleft())
                source.level.count -= 1
            if before and not source.waiting:
                source.level.busy.remove(source)
        self._count -= len(late)
        return late


def _served(source: _Source) -> float:
    return source.served

"""Hours in milliseconds: an event loop whose clock jumps to the next timer, and a store that lives on such a loop."""

import asyncio
import itertools
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from protoqueue.errors import Unavailable
from protoqueue.ratelimit.store import Entry, StateMoved

T = TypeVar("T")


class _NoWaiting(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits, and nothing will ever happen"
        self.skipped_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _NoWaiting()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped_s


def run(scenario: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)


class MemoryStore:
    """Compare-and-set with a network in between. `clock_s` is how far the server's clock is from the loop's."""

    def __init__(self, seed: int = 0, latency_s: float = 0.001) -> None:
        self._dice = random.Random(seed)
        self._latency_s = latency_s
        self._revisions = itertools.count(1)
        self.entries: dict[str, Entry] = {}
        self.clock_s = 1_000_000.0
        self.is_down = False
        self.writes = 0
        self.conflicts = 0
        self.requests = 0

    def wipe(self) -> None:
        """A memory bucket after a restart of the server: revisions begin anew."""
        self.entries.clear()
        self._revisions = itertools.count(1)

    async def get(self, key: str) -> Entry | None:
        await self._travel()
        entry = self.entries.get(key)
        await self._travel()
        return entry

    async def put_if(self, key: str, value: bytes, revision: int) -> int:
        await self._travel()
        if (self.entries[key].revision if key in self.entries else 0) != revision:
            self.conflicts += 1
            raise StateMoved
        self.writes += 1
        self.entries[key] = entry = Entry(value, next(self._revisions))
        await self._travel()
        return entry.revision

    async def server_time_us(self) -> int:
        await self._travel()
        now_us = int((asyncio.get_running_loop().time() + self.clock_s) * 1e6)
        await self._travel()
        return now_us

    async def _travel(self) -> None:
        self.requests += 1
        await asyncio.sleep(self._dice.uniform(0.2, 1.8) * self._latency_s)
        if self.is_down:
            await asyncio.sleep(2)
            raise Unavailable("down")


class SkewedStore:
    """The same store for a worker whose idea of the server's time is off by `skew_s`."""

    def __init__(self, store: MemoryStore, skew_s: float) -> None:
        self.get = store.get
        self.put_if = store.put_if
        self._store = store
        self._skew_us = round(skew_s * 1e6)

    async def server_time_us(self) -> int:
        return await self._store.server_time_us() + self._skew_us

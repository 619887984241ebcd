"""Hours in milliseconds: an event loop whose clock jumps to the next timer, and a broker that lives on such a loop."""

import asyncio
import itertools
import random
import selectors
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from protoqueue.broker import Revision, WrongRevision
from protoqueue.errors import Unavailable

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


class SlowBroker:
    """Compare-and-set with a network in between. `clock_s` is how far the server's clock is from the loop's."""

    def __init__(self, seed: int = 0, latency_s: float = 0.001) -> None:
        self._dice = random.Random(seed)
        self._latency_s = latency_s
        self._revisions = itertools.count(1)
        self.entries: dict[str, Revision] = {}
        self.clock_s = 1_000_000.0
        self.is_down = False
        self.writes = 0
        self.conflicts = 0
        self.requests = 0

    def wipe(self) -> None:
        """A memory bucket after a restart of the server: revisions begin anew."""
        self.entries.clear()
        self._revisions = itertools.count(1)

    def on_time_moved(self, call: Callable[[timedelta], None]) -> None:
        """Nobody moves it."""

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        await self._travel()
        entry = self.entries.get(key, Revision(None, 0))
        await self._travel()
        return entry

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        await self._travel()
        if (self.entries[key].number if key in self.entries else 0) != revision:
            self.conflicts += 1
            raise WrongRevision
        self.writes += 1
        self.entries[key] = entry = Revision(value, next(self._revisions))
        await self._travel()
        return entry.number

    async def server_time_us(self, timeout_s: float = 1) -> int:
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


class SkewedBroker:
    """The same broker for a worker whose idea of the server's time is off by `skew_s`."""

    def __init__(self, broker: SlowBroker, skew_s: float) -> None:
        self.read_key = broker.read_key
        self.write_key = broker.write_key
        self.on_time_moved = broker.on_time_moved
        self._broker = broker
        self._skew_us = round(skew_s * 1e6)

    async def server_time_us(self, timeout_s: float = 1) -> int:
        return await self._broker.server_time_us() + self._skew_us

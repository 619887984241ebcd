"""How `receive` obeys the rate limits of its queue and group: a task that is handed out counts as started."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from protoqueue.broker import Broker
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.ratelimit import Limiter

_SOON_S = 0.05
"""A bucket's chunk is what it yields in this time, for which all but the first task of a `receive` wait."""

_LEAST_S = 0.1
"""Leasing a token takes a round trip to NATS, even without waiting."""


class ReceiveLimits:
    """The limits of one group for all `receive`s of one `Queue` object.

    A token is spent when a task has arrived, since one spent ahead would let a later window hold too many. So fetched
    tasks wait for tokens within `receive`, which is why it requests no more at a time than get tokens soon.
    """

    def __init__(self, broker: Broker) -> None:
        self._limiter = Limiter(broker)
        self._asked = 0
        self._news = asyncio.Event()

    def update(self, queue: QueueSettings, group: GroupSettings) -> None:
        """Raises ConfigurationError for an invalid limit."""
        self._limiter.update(queue, group)

    @property
    def limited(self) -> bool:
        return self._limiter.limited

    @contextlib.asynccontextmanager
    async def asking(self, wanted: int, within_s: float) -> AsyncIterator[int]:
        """How many tasks may be requested during the block; 0 if other requests use up the limit for `within_s`."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not (room := max(0, min(wanted, self._limiter.chunk - self._asked))):
            news = self._news
            try:
                async with asyncio.timeout_at(deadline):
                    await news.wait()
            except TimeoutError:
                break
        self._asked += room
        try:
            yield room
        finally:
            self._asked -= room
            self._news.set()
            self._news = asyncio.Event()

    async def granted(self, tasks: int, within_s: float) -> int:
        """How many of these may start: the first waits up to `within_s`, the others only briefly."""
        waits = [max(within_s, _LEAST_S), *[_SOON_S] * (tasks - 1)]
        return sum(await asyncio.gather(*map(self._limiter.acquire, waits[:tasks])))

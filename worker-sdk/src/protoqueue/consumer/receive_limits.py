"""How `receive` keeps the rate limits of its queue and group: a task that is handed out counts as started."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from protoqueue.broker import Broker
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.ratelimit import Limiter

_SOON_S = 0.05
"""What a bucket yields in this time is its chunk: for so long all but the first task of a `receive` wait for tokens."""

_LEAST_S = 0.1
"""Leasing a token takes a round trip to NATS, also for who does not want to wait."""


class ReceiveLimits:
    """The limits of one group for all `receive`s of one `Queue` object.

    A token is spent when a task is there, since one that is spent ahead would let a later window hold too many. So a
    task waits for its token in a `receive`, which is why no more are asked for at a time than get tokens soon.
    """

    def __init__(self, broker: Broker) -> None:
        self._limiter = Limiter(broker)
        self._asked = 0
        self._news = asyncio.Event()

    def update(self, queue: QueueSettings, group: GroupSettings) -> None:
        """Raises ConfigurationError for a limit that makes no sense."""
        self._limiter.update(queue, group)

    @property
    def limited(self) -> bool:
        return self._limiter.limited

    @contextlib.asynccontextmanager
    async def asking(self, wanted: int, within_s: float) -> AsyncIterator[int]:
        """How many tasks may be asked for during the block: 0 where others' are asked for all of `within_s`."""
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
        """How many of these may start: the first waits for so long, the others a moment."""
        waits = [max(within_s, _LEAST_S), *[_SOON_S] * (tasks - 1)]
        return sum(await asyncio.gather(*map(self._limiter.acquire, waits[:tasks])))

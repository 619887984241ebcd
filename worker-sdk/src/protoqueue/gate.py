"""Rate limits at the worker's door."""

import asyncio

from protoqueue.connection import Broker, WrongRevision
from protoqueue.errors import ProtoQueueError, Unavailable
from protoqueue.naming import RATE_BUCKET
from protoqueue.ratelimit import Limiter
from protoqueue.ratelimit.store import Entry, StateMoved
from protoqueue.settings import GroupSettings, QueueSettings

_TIMEOUT_S = 2.0


class BrokerStore:
    """The limiter's shared state, kept through the worker's broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def get(self, key: str) -> Entry | None:
        revision = await self._broker.read_key(RATE_BUCKET, key, _TIMEOUT_S)
        # What somebody has deleted leaves a mark, and only who knows its revision may write next.
        return Entry(revision.value or b"", revision.number) if revision.number else None

    async def put_if(self, key: str, value: bytes, revision: int) -> int:
        try:
            return await self._broker.write_key(RATE_BUCKET, key, value, revision, _TIMEOUT_S)
        except WrongRevision as error:
            raise StateMoved from error
        except ProtoQueueError as error:  # the bucket is full or refuses: the limiter waits for it as for an outage
            raise Unavailable(f"the rate limit's state cannot be written: {error}") from error

    async def server_time_us(self) -> int:
        return await self._broker.server_time_us(_TIMEOUT_S)


class Gate:
    """Lets tasks through as the limits of queue and group allow, until it is closed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._limiter: Limiter | None = None
        self._waiting: set[asyncio.Task[int]] = set()
        self._closed = False
        self.waited_s = 0.0
        """Seconds that tasks have waited here, all together."""

    def apply(self, queue: QueueSettings, group: GroupSettings) -> None:
        """Obey these limits from now on; raises ConfigurationError for one that makes no sense."""
        if self._limiter is None:
            if queue.rate_limit is None and group.rate_limit is None:
                return
            self._limiter = Limiter(group.name, BrokerStore(self._broker), self._on_wait)
        self._limiter.update(queue.rate_limit, group.rate_limit)

    def _on_wait(self, seconds: float) -> None:
        self.waited_s += seconds

    @property
    def held_back_s(self) -> float:
        """Seconds in which a limit held tasks back: never more than there have been."""
        return 0.0 if self._limiter is None else self._limiter.held_back_s

    def room(self, free: int) -> int:
        """Of `free` slots, those worth fetching for."""
        return free if self._limiter is None else self._limiter.room(free)

    @property
    def limited(self) -> bool:
        """Whether `enter` may have to wait."""
        return self._limiter is not None and self._limiter.limited

    async def enter(self) -> bool:
        """Wait for one task's turn; False when the gate is closed first."""
        assert self._limiter is not None
        if self._closed:
            return False
        turn = asyncio.create_task(self._limiter.acquire(1))
        self._waiting.add(turn)
        try:
            await asyncio.wait([turn])
            return not turn.cancelled() and bool(turn.result())
        finally:
            self._waiting.discard(turn)
            turn.cancel()

    def close(self) -> None:
        """Nobody who waits gets through any more."""
        self._closed = True
        for turn in self._waiting:
            turn.cancel()

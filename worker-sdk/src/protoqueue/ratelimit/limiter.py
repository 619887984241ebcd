"""The limits a worker is under: its loop asks here before it starts a task."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Protocol

from protoqueue.broker import Broker
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.config import GroupSettings, QueueSettings, RateLimit
from protoqueue.ratelimit.clock import ServerClock
from protoqueue.ratelimit.gcra import Limit
from protoqueue.ratelimit.local_bucket import LocalBucket
from protoqueue.ratelimit.shared_bucket import TIMEOUT_S, Nap, SharedBucket

_MOMENT_S = 1.0


class Bucket(Protocol):
    """A limit at work: tokens are usable and spent at once, and `advance` waits for more."""

    limit: Limit

    @property
    def chunk(self) -> int:
        """How many tokens are leased at a time."""

    def change(self, limit: Limit) -> None: ...
    def settle(self) -> None: ...
    def usable(self, wanted: int) -> int: ...
    def spend(self, count: int) -> None: ...
    def time_moved(self, ahead_us: int) -> None: ...
    async def advance(self, wanted: int, nap: Nap) -> None: ...


class Limiter:
    """All limits of one worker: its own, its group's, its queue's; none until `update` names some.

    A task takes one token of each. Tokens are spent only when every limit has one, so the narrower limit does not lose
    what the wider one denies. (A worker that waits for the wider one may keep one token of the narrower one beyond its
    slack: while both are at their end, the narrower one may be exceeded by one task per worker.)

    Any number of tasks may call `acquire` at the same time: they are served first come, first served.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._clock = ServerClock(lambda: broker.server_time_us(TIMEOUT_S))
        self._buckets: Mapping[str, Bucket] = {}
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._acquiring: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._held_s = 0.0
        self._held_since: float | None = None
        self._held_until = float("-inf")
        self._closed = False
        self.waited_s = 0.0
        """Seconds that tasks have waited for tokens, all together."""
        broker.on_time_moved(self._time_moved)

    @property
    def held_back_s(self) -> float:
        """Seconds so far in which tokens were lacking, however many tasks waited for them at the same time."""
        running = 0.0 if self._held_since is None else asyncio.get_running_loop().time() - self._held_since
        return self._held_s + running

    @property
    def is_holding_back(self) -> bool:
        """Whether a task waits for tokens now, or did a moment ago: between two of them it gets one."""
        return self._held_since is not None or asyncio.get_running_loop().time() - self._held_until < _MOMENT_S

    @property
    def limited(self) -> bool:
        """Whether there is any limit; while not, `acquire` returns at once and need not be called."""
        return bool(self._buckets)

    @property
    def chunk(self) -> int:
        """How many tokens the narrowest limit yields at a time; without limits any number."""
        return min((bucket.chunk for bucket in self._buckets.values()), default=sys.maxsize)

    def room(self, free: int) -> int:
        """Of `free` slots, how many are worth fetching tasks for: not more than will get their tokens soon."""
        if not self._buckets:
            return free
        return max(0, min(free, 2 * self.chunk - self._waiting))

    def update(self, queue: QueueSettings, group: GroupSettings) -> None:
        """Obey the limits of queue and group from now on; tasks that wait, wait by the new ones.

        Raises ConfigurationError for a limit that makes no sense, and leaves the old ones in place.
        """
        limits: dict[str, Limit] = {}
        if group.rate_limit is not None and group.rate_limit.tasks:
            limits["" if group.rate_limit.scope == "Worker" else group.name.config_key] = _limit(group.rate_limit)
        if queue.rate_limit is not None and queue.rate_limit.tasks:
            limits[queue.name.config_key] = _limit(queue.rate_limit)
        self._buckets = {key: self._bucket(key, limit) for key, limit in limits.items()}
        self._wake()

    async def acquire(self, within_s: float | None = None) -> bool:
        """Wait until one task may start, and start it at once; False when there is no turn `within_s`, or when closed.

        Safe to cancel: what is leased serves the next caller, only a lease under way (one chunk at most) is lost.
        """
        if self._closed:
            return False
        if not self._buckets:
            return True
        acquiring = asyncio.create_task(self._take_one())
        self._acquiring.add(acquiring)
        try:
            await asyncio.wait([acquiring], timeout=within_s)
            if not acquiring.done() or acquiring.cancelled():
                return False
            acquiring.result()
            return True
        finally:
            self._acquiring.discard(acquiring)
            acquiring.cancel()

    def close(self) -> None:
        """No task that waits may start any more."""
        self._closed = True
        for acquiring in self._acquiring:
            acquiring.cancel()

    async def _take_one(self) -> None:
        self._waiting += 1
        begun = asyncio.get_running_loop().time()
        queued = self._turn.locked()
        try:
            async with self._turn:
                waited = await self._spend_one()
        finally:
            self._waiting -= 1
        if queued or waited:
            self.waited_s += asyncio.get_running_loop().time() - begun

    async def _spend_one(self) -> bool:
        """Spend a token of each bucket; whether that took any waiting."""
        for bucket in self._buckets.values():
            bucket.settle()
        waited = False
        while True:
            buckets = tuple(self._buckets.values())  # may change with every step
            wanted = self._waiting  # a lease is large enough for all who wait
            for bucket in buckets:
                asked, wanted = wanted, bucket.usable(wanted)
                if not wanted:
                    with self._holding_back():
                        await bucket.advance(asked, self._nap)
                    waited = True
                    break
            else:
                for bucket in buckets:
                    bucket.spend(1)
                return waited

    @contextlib.contextmanager
    def _holding_back(self) -> Iterator[None]:
        """One at a time: the task that has the turn waits for all."""
        loop = asyncio.get_running_loop()
        self._held_since = begun = loop.time()
        try:
            yield
        finally:
            self._held_until = loop.time()
            self._held_since, self._held_s = None, self._held_s + self._held_until - begun

    async def _nap(self, seconds: float) -> None:
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def _time_moved(self, ahead: timedelta) -> None:
        """A test has moved the time: go by it, and have those who wait look again."""
        ahead_us = ahead // timedelta(microseconds=1)
        self._clock.move(ahead_us)
        for bucket in self._buckets.values():
            bucket.time_moved(ahead_us)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _bucket(self, key: str, limit: Limit) -> Bucket:
        """The one in use under another limit, or a new one; `key` is empty for the limit this worker has for itself."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return SharedBucket(key, limit, self._broker, self._clock) if key else LocalBucket(limit)
        if bucket.limit != limit:
            bucket.change(limit)
        return bucket


def _limit(setting: RateLimit) -> Limit:
    try:
        return Limit(setting.tasks, round(setting.per_s * 1_000_000), setting.burst or setting.tasks)
    except ValueError as error:
        raise ConfigurationError(f"rateLimit: {error}") from error

"""What the worker's loop asks before it starts tasks."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from protoqueue.errors import ConfigurationError
from protoqueue.naming import GroupName
from protoqueue.ratelimit.clock import ServerClock
from protoqueue.ratelimit.gcra import Limit
from protoqueue.ratelimit.leases import Nap, SharedBucket
from protoqueue.ratelimit.local import LocalBucket
from protoqueue.ratelimit.store import Store
from protoqueue.v1 import config_pb2

WORKER, GROUP, QUEUE = "worker", "group", "queue"


class Setting(Protocol):
    """A rate limit as the SDK's settings hold it."""

    @property
    def tasks(self) -> int: ...
    @property
    def per_s(self) -> float: ...
    @property
    def burst(self) -> int: ...
    @property
    def scope(self) -> str: ...


RateSetting = config_pb2.RateLimit | Setting


class Bucket(Protocol):
    """A limit at work: tokens are usable, spent, and restored at once, and `advance` waits for more."""

    limit: Limit

    @property
    def chunk(self) -> int:
        """How many tokens are leased at a time."""

    def change(self, limit: Limit) -> None: ...
    def settle(self) -> None: ...
    def usable(self, wanted: int) -> int: ...
    def spend(self, count: int) -> None: ...
    def restore(self, count: int) -> None: ...
    async def advance(self, wanted: int, nap: Nap) -> None: ...


class Limiter:
    """All limits a worker of one group is under: its own, its group's, its queue's; none until `update` names some.

    A task takes one token of each. Tokens are spent only when every limit has one, so the narrower limit does not lose
    what the wider one denies. (A worker that waits for the wider one may keep one token of the narrower one beyond its
    slack: while both are at their end, the narrower one may be exceeded by one task per worker.)

    `on_wait` is told the seconds that an `acquire` which could not go through at once took.
    Any number of tasks may call `acquire` at the same time: they are served first come, first served.
    """

    def __init__(self, group: GroupName, store: Store, on_wait: Callable[[float], None] = lambda _: None) -> None:
        self._group = group
        self._store = store
        self._clock = ServerClock(store.server_time_us)
        self._on_wait = on_wait
        self._buckets: Mapping[str, Bucket] = {}
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waiting = 0
        self._held_s = 0.0
        self._held_since: float | None = None

    @property
    def held_back_s(self) -> float:
        """Seconds so far in which tokens were lacking, however many tasks waited for them at the same time."""
        running = 0.0 if self._held_since is None else asyncio.get_running_loop().time() - self._held_since
        return self._held_s + running

    @property
    def limited(self) -> bool:
        """Whether there is any limit; while not, `acquire` returns at once and need not be called."""
        return bool(self._buckets)

    def room(self, free: int) -> int:
        """Of `free` slots, how many are worth fetching tasks for: not more than will get their tokens soon."""
        if not self._buckets:
            return free
        return max(0, min(free, 2 * min(bucket.chunk for bucket in self._buckets.values()) - self._waiting))

    def update(self, queue_limit: RateSetting | None, group_limit: RateSetting | None) -> None:
        """Obey these limits from now on; whoever waits, waits by the new ones. None, or no tasks, is no limit.

        Raises ConfigurationError for a limit that makes no sense, and leaves the old ones in place.
        """
        limits = {}
        if group_limit is not None and group_limit.tasks:
            limits[WORKER if group_limit.scope == "Worker" else GROUP] = _limit(group_limit)
        if queue_limit is not None and queue_limit.tasks:
            limits[QUEUE] = _limit(queue_limit)
        self._buckets = {scope: self._bucket(scope, limit) for scope, limit in limits.items()}
        self._changed.set()
        self._changed = asyncio.Event()

    async def acquire(self, wanted: int) -> int:
        """Wait until at least one task may start; how many of the `wanted` may now. Start them at once.

        Safe to cancel: what is leased serves the next caller, only a lease under way (one chunk at most) is lost.
        """
        if not self._buckets:
            return wanted
        self._waiting += wanted
        begun = asyncio.get_running_loop().time()
        queued = self._turn.locked()
        try:
            async with self._turn:
                granted, waited = await self._granted(wanted)
        finally:
            self._waiting -= wanted
        if queued or waited:
            self._on_wait(asyncio.get_running_loop().time() - begun)
        return granted

    def give_back(self, count: int) -> None:
        """Return tokens of tasks that did not start after all; at once, or they are of no use to anyone."""
        for bucket in self._buckets.values():
            bucket.restore(count)

    async def _granted(self, wanted: int) -> tuple[int, bool]:
        for bucket in self._buckets.values():
            bucket.settle()
        waited = False
        while True:
            buckets = tuple(self._buckets.values())  # may change with every step
            granted = max(wanted, self._waiting)
            for bucket in buckets:
                asked, granted = granted, bucket.usable(granted)
                if not granted:
                    with self._holding_back():
                        await bucket.advance(asked, self._nap)
                    waited = True
                    break
            else:
                granted = min(wanted, granted)
                for bucket in buckets:
                    bucket.spend(granted)
                return granted, waited

    @contextlib.contextmanager
    def _holding_back(self) -> Iterator[None]:
        """One at a time: whoever has the turn waits for all."""
        loop = asyncio.get_running_loop()
        self._held_since = begun = loop.time()
        try:
            yield
        finally:
            self._held_since, self._held_s = None, self._held_s + loop.time() - begun

    async def _nap(self, seconds: float) -> None:
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def _bucket(self, scope: str, limit: Limit) -> Bucket:
        bucket = self._buckets.get(scope)
        if bucket is None:
            return self._new_bucket(scope, limit)
        if bucket.limit != limit:
            bucket.change(limit)
        return bucket

    def _new_bucket(self, scope: str, limit: Limit) -> Bucket:
        if scope == WORKER:
            return LocalBucket(limit)
        key = self._group.queue.config_key if scope == QUEUE else self._group.config_key
        return SharedBucket(key, limit, self._store, self._clock)


def _limit(setting: RateSetting) -> Limit:
    if isinstance(setting, config_pb2.RateLimit):
        per_us = setting.per.ToMicroseconds()
    else:
        per_us = round(setting.per_s * 1_000_000)
    try:
        return Limit(setting.tasks, per_us, setting.burst or setting.tasks)
    except ValueError as error:
        raise ConfigurationError(f"rateLimit: {error}") from error

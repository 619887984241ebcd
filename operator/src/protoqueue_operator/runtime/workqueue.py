"""The work queue: which objects to reconcile, each by one worker at a time, with backoff after failures."""

import asyncio
import itertools
import logging
import random
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar

from protoqueue.aio import cancel

logger = logging.getLogger(__name__)

K = TypeVar("K")

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0

_AFTER_FAILURE_S = 600.0
"""How long a failed key lets others go first.

Otherwise many keys that repeatedly time out would keep all workers busy.
"""


@dataclass(frozen=True)
class Requeue:
    """Serve the key again: after this many seconds, or (None) after a delay that grows with each failure in a row."""

    after_s: float | None = None
    longest_s: float = LONGEST_BACKOFF_S
    """The maximum of that delay."""


class Observer(Protocol):
    """Is notified of a work queue's activity, for metrics."""

    def added(self) -> None: ...
    def taken(self, waited_s: float) -> None: ...
    def done(self, took_s: float) -> None: ...
    def retried(self) -> None: ...


class Unobserved:
    """Counts nothing."""

    def added(self) -> None: ...
    def taken(self, waited_s: float) -> None: ...
    def done(self, took_s: float) -> None: ...
    def retried(self) -> None: ...


class WorkQueue(Generic[K]):
    """Level-triggered: a key that is added many times before it is served is served once.

    A key that is added while it is being served is served once more. Errors of `handle` are logged, and the key is
    served again with backoff.
    """

    def __init__(
        self,
        handle: Callable[[K], Awaitable[Requeue | None]],
        workers: int,
        observer: Observer | None = None,
        share_of: Callable[[K], Hashable | None] = lambda _: None,
        share: int = 0,
    ) -> None:
        """Of keys with the same `share_of`, unless that is None, at most `share` are served at a time."""
        self._handle = handle
        self._workers = workers
        self._observer = observer or Unobserved()
        self._share_of = share_of
        self._share = share
        self._shares: defaultdict[Hashable, int] = defaultdict(int)
        """How many workers each share has in use."""
        self._held: defaultdict[Hashable, deque[tuple[float, K]]] = defaultdict(deque)
        """Keys that wait for another of their share to end."""
        self._ready: asyncio.PriorityQueue[tuple[float, int, K]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._waiting: dict[K, float] = {}
        """When each is due, in the event loop's seconds."""
        self._added: dict[K, float] = {}
        """Since when each has been waiting."""
        self._busy: dict[K, float] = {}
        """Since when each has been served."""
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, key: K, within_s: float = 0.0) -> None:
        """Serve the key as soon as a worker is free; with `within_s`, others go first for that long."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._busy:
            self._again.add(key)
            return
        due = asyncio.get_running_loop().time() + within_s
        if key not in self._waiting:
            self._added[key] = time.monotonic()
            self._observer.added()
        if due < self._waiting.get(key, inf):
            self._waiting[key] = due
            self._ready.put_nowait((due, next(self._numbers), key))

    def add_later(self, key: K, delay_s: float, within_s: float = 0.0) -> None:
        """Serve the key after this time, unless it is added sooner."""
        timer = self._timers.get(key)
        loop = asyncio.get_running_loop()
        if timer and timer.when() <= loop.time() + delay_s:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self.add, key, within_s)

    def forget(self, key: K) -> None:
        """The object is gone: drop its timers and its failures."""
        self._failures.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    @property
    def depth(self) -> int:
        """How many keys wait to be served, not counting those to be retried later."""
        return len(self._waiting)

    def serving_for_s(self) -> list[float]:
        """For how long each key has been being served, in seconds."""
        now = time.monotonic()
        return [now - since for since in self._busy.values()]

    def is_serving(self, key: K) -> bool:
        return key in self._busy

    def __len__(self) -> int:
        """The keys to be served, including those to be retried later."""
        return len(self._waiting) + len(self._busy) + len(self._timers)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(), name=f"work {number}") for number in range(self._workers)]

    def cancel(self) -> None:
        """Start nothing more, and cancel what was started."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        self.cancel()
        await cancel(*self._tasks)

    async def _work(self) -> None:
        while True:
            due, _, key = await self._ready.get()
            if self._waiting.get(key) != due:  # it was added again meanwhile, to be served sooner
                continue
            share = self._share_of(key)
            if share is not None and self._shares[share] >= self._share:
                self._held[share].append((due, key))
                continue
            del self._waiting[key]
            began = self._busy[key] = time.monotonic()
            self._observer.taken(began - self._added.pop(key, began))
            if share is not None:
                self._shares[share] += 1
            try:
                await self._serve(key)
            finally:
                del self._busy[key]
                self._observer.done(time.monotonic() - began)
                if share is not None:
                    self._give_back(share)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _give_back(self, share: Hashable) -> None:
        self._shares[share] -= 1
        if not self._shares[share]:
            del self._shares[share]
        while held := self._held.get(share):
            due, key = held.popleft()
            if not held:
                del self._held[share]
            if self._waiting.get(key) == due:
                self._ready.put_nowait((due, next(self._numbers), key))
                return

    async def _serve(self, key: K) -> None:
        try:
            again = await self._handle(key)
        except Exception:
            logger.exception("processing failed: item=%s; retrying", key)
            again = Requeue()
        if again is None:
            self._failures.pop(key, None)
        elif again.after_s is not None:
            self._failures.pop(key, None)
            self.add_later(key, again.after_s)
        else:
            self._observer.retried()
            self.add_later(key, self._backoff_s(key, again.longest_s), _AFTER_FAILURE_S)

    def _backoff_s(self, key: K, longest_s: float) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return backoff_s(failures, random.uniform(-1, 1), longest_s)  # noqa: S311 -- spreads load, hides nothing


def backoff_s(failures: int, jitter: float, longest_s: float) -> float:
    """Seconds before a retry after this many failures in a row; `jitter` in [-1, 1] keeps objects out of step."""
    return min(longest_s, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 10)) * (1 + 0.2 * jitter)

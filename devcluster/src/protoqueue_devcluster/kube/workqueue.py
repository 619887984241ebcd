"""Level-triggered work by key: each key is worked on by one worker at a time and retried with backoff."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import aiohttp

from protoqueue_devcluster.kube.client import ApiError

log = logging.getLogger(__name__)

K = TypeVar("K")

_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 30.0


class WorkQueue(Generic[K]):
    """Calls `reconcile(key)` for every key added; what it returns is the delay in seconds until it wants the key again.

    A key added while it is being worked on is worked on once more. Any Exception of `reconcile` is logged and retried,
    so one broken object never stops the others.
    """

    def __init__(self, name: str, reconcile: Callable[[K], Awaitable[float | None]], workers: int = 4) -> None:
        self._name, self._reconcile, self._workers = name, reconcile, workers
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def add(self, key: K) -> None:
        if key in self._busy:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_later(self, key: K, delay_s: float) -> None:
        """Add `key` after the delay; of several delays the latest call counts."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(delay_s, self._due, key)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._busy.add(key)
            try:
                delay_s = await self._attempt(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif delay_s is not None:
                self.add_later(key, delay_s)

    async def _attempt(self, key: K) -> float | None:
        try:
            delay_s: float | None = await self._reconcile(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            log.warning(
                "reconcile failed queue=%s key=%s failures=%d error=%r",
                self._name, key, failures, error, exc_info=not _is_expected(error),
            )  # fmt: skip
            return min(_FIRST_RETRY_S * 2.0 ** min(failures, 20), _LAST_RETRY_S)
        self._failures.pop(key, None)
        return delay_s


def _is_expected(error: Exception) -> bool:
    """Conflicts and lost connections are part of the trade; anything else deserves its traceback."""
    if isinstance(error, ExceptionGroup):
        return all(_is_expected(part) for part in error.exceptions)
    return isinstance(error, ApiError | aiohttp.ClientError | TimeoutError)

"""A worker's slots: one runner each, which takes one task after the other."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from protoqueue.consumer.buffer import InFlight
from protoqueue.consumer.prefetch import Prefetcher

log = logging.getLogger(__name__)

_MOST_IN_TURN = 32
_WAKE_MANY = 16
_LAST_WORDS_S = 5.0


class Slots:
    """Calls `run` for fetched tasks, at most `count` at a time, from `start` until `stop`."""

    def __init__(self, count: int, run: Callable[[InFlight], Awaitable[None]]) -> None:
        self._count = count
        self._run = run
        self._prefetcher: Prefetcher
        self._idle: deque[asyncio.Future[None]] = deque()
        self._stopping = False
        self._rousing = False
        self._in_turn = 0
        self._ended = 0
        self._ended_before = 0
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, prefetcher: Prefetcher) -> None:
        self._prefetcher = prefetcher
        self.tasks = [asyncio.create_task(self._work()) for _ in range(self._count)]

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Take no more tasks."""
        self._stopping = True

    async def finish(self, grace_s: float) -> None:
        """Once stopped: let running tasks end, and cancel those that have not within `grace_s`."""
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        _, late = await asyncio.wait(self.tasks, timeout=grace_s)
        if late:
            log.warning("%d tasks did not finish within the grace period: returning them to the queue", len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=_LAST_WORDS_S)

    def wake(self) -> None:
        """Signal that there are tasks to take."""
        if self._idle and not self._rousing:
            self._rousing = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        """Wake one more runner per turn of the event loop, or many if those awake are blocked by their handlers.

        Handlers that return at once need only one runner, and waking more costs more than their work.
        """
        self._rousing = False
        progress, self._ended_before = self._ended - self._ended_before, self._ended
        waiting = len(self._prefetcher.buffer)
        for _ in range(min(1 if progress else _WAKE_MANY, waiting, len(self._idle))):
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if waiting:
            self.wake()

    async def _work(self) -> None:
        while not self._stopping:
            item = self._prefetcher.buffer.take()
            if item is None:
                waiter = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
                continue
            try:
                await self._run(item)
            except Exception:
                log.exception(
                    "a task could not be settled: it will be redelivered", extra={"sequence": item.delivery.place}
                )
            _forget_cancellations()
            self._ended += 1
            self._in_turn += 1
            if self._in_turn >= _MOST_IN_TURN:
                await self._end_turn()

    async def _end_turn(self) -> None:
        """Let the event loop read, extend leases and stop: handlers that never await would prevent that."""
        await asyncio.sleep(0)
        self._in_turn = 0


def _forget_cancellations() -> None:
    """The runner goes on, and a TaskGroup in the next handler would take them for its own."""
    runner = asyncio.current_task()
    while runner is not None and runner.cancelling():
        runner.uncancel()

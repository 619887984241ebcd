"""Storing records: collected beside the work, which never waits for them."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from itertools import islice

from protoqueue.aio import cancel
from protoqueue.broker import Broker
from protoqueue.errors import PayloadTooLarge, ProtoQueueError

log = logging.getLogger(__name__)

PACE_S = 0.01
"""The time between two batches: records made meanwhile are sent together."""
MOST_TOGETHER, MOST_BYTES_TOGETHER = 1000, 1024 * 1024
MOST_BYTES = 16 * 1024 * 1024
"""How many bytes wait while NATS is slow or away; beyond that the oldest records are dropped."""

_TIMEOUT_S = 5.0
_RETRY_S = 0.5
_CLOSE_S = 2.0
_PER_RECORD = 200
"""The approximate memory of a record besides its data."""


class Recorder:
    """Stores records in the order they were made, those of about ten milliseconds with one publish.

    The first after an idle time is sent at once. What NATS may have stored before a connection broke is sent again.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._sending = 0
        """How many of the first are on their way."""
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._is_telling = False
        self.written = 0
        self.dropped = 0
        """Records that were not stored: there were too many while NATS did not take them, or it refuses them."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: tuple[str, bytes]) -> None:
        """Have a record, subject and data, stored. Returns at once; to be called in the event loop."""
        if len(record[1]) > self._broker.max_payload:
            self._drop(1, "NATS takes no messages of this size")
            return
        is_first = not self._waiting
        self._waiting.append(record)
        self._bytes += len(record[1]) + _PER_RECORD
        while self._bytes > MOST_BYTES:
            self._take_first()
            self._sending = max(0, self._sending - 1)
            self._drop(1, "NATS takes records more slowly than they are made")
        if is_first:  # the rest once for all that come after it
            self._some.set()
            self._none.clear()
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def clear(self) -> None:
        """Forget waiting records: the queue no longer keeps a history."""
        self._waiting.clear()
        self._bytes = self._sending = 0
        self._none.set()

    async def close(self, wait_s: float = _CLOSE_S) -> None:
        """Store waiting records, as far as possible within `wait_s`."""
        if self._running is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._none.wait()
        await cancel(self._running)
        self._running = None
        if self._waiting:
            self._drop(len(self._waiting), "NATS did not take them before the end")
            self.clear()

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            began = time.monotonic()
            batch = self._first_together()
            wait_s = PACE_S if not batch or await self._store(batch) else _RETRY_S
            if not self._waiting:
                self._some.clear()
                self._none.set()
            await asyncio.sleep(began + wait_s - time.monotonic())

    def _first_together(self) -> list[tuple[str, bytes]]:
        if len(self._waiting) <= MOST_TOGETHER and self._bytes <= MOST_BYTES_TOGETHER:
            return list(self._waiting)
        batch: list[tuple[str, bytes]] = []
        size = 0
        for record in islice(self._waiting, MOST_TOGETHER):
            size += len(record[1])
            if batch and size > MOST_BYTES_TOGETHER:
                break
            batch.append(record)
        return batch

    async def _store(self, batch: list[tuple[str, bytes]]) -> bool:
        """Whether it is done with. While it was sent, the oldest of it may have been dropped."""
        self._sending = len(batch)
        try:
            await self._broker.publish_many(batch, _TIMEOUT_S)
        except PayloadTooLarge as error:  # the last one, as often as it comes
            self._drop(1, str(error))
            self.written -= 1
        except ProtoQueueError as error:
            self._tell("what became of tasks cannot be recorded, retrying: %s", error)
            return False
        else:
            self._is_telling = False
        self.written += len(batch)
        for _ in range(self._sending):
            self._take_first()
        self._sending = 0
        return True

    def _take_first(self) -> None:
        _, data = self._waiting.popleft()
        self._bytes -= len(data) + _PER_RECORD

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        self._tell("records of what became of tasks are dropped: %s", why)

    def _tell(self, text: str, why: object) -> None:
        """Once, until it works again."""
        if not self._is_telling:
            self._is_telling = True
            log.warning(text, why)

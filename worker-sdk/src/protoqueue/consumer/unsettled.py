"""Outcomes that are not stored yet: kept beside the worker's slots, so that other tasks go on."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from protoqueue.aio import cancel
from protoqueue.consumer.buffer import InFlight

log = logging.getLogger(__name__)

PARK_AFTER_S = 2.0
"""A task whose outcome is not stored within this time yields its slot to another."""

TELL_AFTER_S = 10.0
"""The worker is not ready while an outcome has not been stored for so long."""


class Unsettled:
    """At most `most` per worker; `is_connected` tells whether NATS is there, and `why` what it last answered."""

    def __init__(self, most: int, is_connected: Callable[[], bool], why: Callable[[], str | None]) -> None:
        self._most = most
        self._is_connected = is_connected
        self._why = why
        self._since: dict[InFlight, float] = {}
        self._parked: dict[InFlight, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[InFlight]:
        """Those that no longer have a slot."""
        return iter(tuple(self._parked))

    def __len__(self) -> int:
        """How many outcomes are overdue, with or without a slot."""
        return len(self._since)

    @property
    def parked(self) -> int:
        return len(self._parked)

    @property
    def trouble(self) -> str | None:
        """The message for an operator, once an outcome is long overdue."""
        if not self._since or (oldest_s := time.monotonic() - min(self._since.values())) < TELL_AFTER_S:
            return None
        why = self._why() or "NATS does not answer"
        return f"{len(self._since)} outcomes cannot be stored, the first one for {oldest_s:.0f} s: {why}"

    async def settle(self, item: InFlight, work: Coroutine[Any, Any, None]) -> None:
        """Return once `work`, which stores an outcome, is done, or goes on without this slot."""
        settling, began = asyncio.create_task(work), time.monotonic()
        try:
            while not settling.done():
                await asyncio.wait([settling], timeout=PARK_AFTER_S)
                if settling.done():
                    break
                self._since.setdefault(item, began)
                # Without NATS no other task could arrive either.
                if self._is_connected() and len(self._parked) < self._most:
                    self._park(item, settling)
                    return
        except asyncio.CancelledError:  # the grace period is over
            self._park(item, settling)
            raise
        self._since.pop(item, None)
        settling.result()

    def _park(self, item: InFlight, settling: asyncio.Task[None]) -> None:
        if not self._parked:
            log.error("outcomes cannot be stored, retrying: %s", self._why() or "no answer")
        self._parked[item] = settling
        settling.add_done_callback(lambda _: self._settled(item, settling))

    def _settled(self, item: InFlight, settling: asyncio.Task[None]) -> None:
        del self._parked[item]
        self._since.pop(item, None)
        if not settling.cancelled() and (error := settling.exception()) is not None:
            log.error("a task could not be settled: it will be redelivered", exc_info=error)

    async def give_up(self, wait_s: float) -> tuple[InFlight, ...]:
        """Wait this long for parked outcomes; returns those still not stored, which are then given up."""
        if self._parked:
            await asyncio.wait(tuple(self._parked.values()), timeout=wait_s)
        left = dict(self._parked)
        await cancel(*left.values())
        return tuple(left)

"""Extending the leases of what a worker holds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from protoqueue.broker import IN_PROGRESS, Broker
from protoqueue.consumer.buffer import InFlight
from protoqueue.errors import Unavailable

log = logging.getLogger(__name__)


class LoopWatch:
    """Notices when the event loop has not turned for so long that leases are in danger."""

    def __init__(self, expected_s: float) -> None:
        self._expected_s = expected_s
        self._turned_at = time.monotonic()

    def turned(self, lease_s: float, running: int) -> None:
        """To be called every `expected_s` by the event loop."""
        now = time.monotonic()
        blocked_s = now - self._turned_at - self._expected_s
        self._turned_at = now
        if blocked_s > lease_s / 3:
            log.warning(
                "the event loop was blocked for %.1f s and leases last %g s: %d tasks may run again on another worker. "
                "An async handler must not block: make it a plain function, which runs in a thread, or await what "
                "takes long",
                blocked_s, lease_s, running,
            )  # fmt: skip


async def extend_leases(
    broker: Broker, in_flight: Callable[[], Iterable[InFlight]], lease_s: Callable[[], float], at_once: asyncio.Event
) -> None:
    """Extend what is held, three times per lease and `at_once`, until cancelled.

    A loop that is stuck does not, and loses its tasks to others.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lease_s() / 3):
                await at_once.wait()
        at_once.clear()
        if not broker.connected:  # it would wait in a buffer in which acks need the room
            continue
        with contextlib.suppress(Unavailable):
            for one in in_flight():
                # What has been settled meanwhile may wait for its turn: to extend that would cut its wait short.
                if not one.settled:
                    await broker.answer(one.delivery.reply, IN_PROGRESS)

"""Extending the leases of the tasks a worker holds."""

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
    """Notices when the event loop has been blocked for so long that leases are at risk."""

    def __init__(self, expected_s: float) -> None:
        self._expected_s = expected_s
        self._turned_at = time.monotonic()

    def turned(self, lease_s: float, running: int) -> None:
        """To be called by the event loop every `expected_s`."""
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
    """Extend held leases, three times per lease and `at_once`, until cancelled.

    A blocked event loop does not, and loses its tasks to other workers.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lease_s() / 3):
                await at_once.wait()
        at_once.clear()
        if not broker.connected:  # it would take room that acks need in nats-py's buffer
            continue
        with contextlib.suppress(Unavailable):
            for one in in_flight():
                # A task settled meanwhile may be waiting for its retry: extending it would cut that delay short.
                if not one.settled:
                    await broker.answer(one.delivery.reply, IN_PROGRESS)

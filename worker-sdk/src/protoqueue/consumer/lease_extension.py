"""Extending the leases of what a worker holds."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from protoqueue.connection import IN_PROGRESS, Broker
from protoqueue.errors import Unavailable
from protoqueue.lanes import Held


async def extend_leases(
    broker: Broker, held: Callable[[], Iterable[Held]], lease_s: Callable[[], float], at_once: asyncio.Event
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
            for one in held():
                # What has been settled meanwhile may wait for its turn: to extend that would cut its wait short.
                if not one.settled:
                    await broker.answer(one.delivery.reply, IN_PROGRESS)

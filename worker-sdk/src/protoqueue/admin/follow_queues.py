"""Following what all queues hold, without polling each of them.

An idle queue is listened to: the first message published for it is heard at once, and the queue is then polled until it
is idle again. What cannot be heard, such as a task that comes due, is found by polling the queues with such tasks in
turn, and by listing all streams from time to time.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

from protoqueue.admin.all_queues import AllQueues, QueueOverview
from protoqueue.aio import cancel
from protoqueue.broker import Broker, Subscription
from protoqueue.protocol.names import QueueName

_TIMEOUT_S = 10.0
_LISTING_S = 5.0
_LISTING_SHARE = 20
"""How often all streams are listed; if that takes long, less often, so that it takes a twentieth of the time."""
_AT_A_TIME = 48
"""How many queues are read at once: if more are busy, they take turns."""
_APART_S = 0.1
_LOOKED_FOR_S = 1.0
"""Interval at which an expected queue that does not exist yet is looked for."""
_RESTLESS_S = 3.0
"""How long a queue is polled after it was heard: the message may not be stored yet."""


class QueueFollower:
    """`interval_s` is the time between two reads while nothing is heard; `expected` queues are looked up by name."""

    def __init__(
        self, broker: Broker, queues: AllQueues, interval_s: float, expected: Callable[[], Iterable[QueueName]]
    ) -> None:
        self._broker = broker
        self._queues = queues
        self._interval_s = interval_s
        self._expected = expected
        self._subscriptions: dict[QueueName, Subscription] = {}
        self._restless: dict[QueueName, float] = {}
        self._looked_at: dict[QueueName, float] = {}
        self._heard = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()

    async def follow(self) -> AsyncGenerator[Mapping[QueueName, QueueOverview]]:
        """Raises Unavailable and PermissionDenied."""
        next_listing = 0.0
        try:
            while True:
                begun = time.monotonic()
                if begun >= next_listing:
                    found = await self._queues.read(_TIMEOUT_S, closely=False)
                    took_s = time.monotonic() - begun
                    next_listing = begun + max(_LISTING_S, _LISTING_SHARE * took_s)
                else:
                    found = await self._queues.look(self._whose_turn(begun), _TIMEOUT_S)
                await self._listen(found)
                yield found
                await asyncio.sleep(max(0.0, begun + _APART_S - time.monotonic()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, begun + self._interval_s - time.monotonic())):
                        await self._heard.wait()
                self._heard.clear()
        finally:
            await self._stop()

    def _whose_turn(self, now: float) -> list[QueueName]:
        """The least recently read, among those in which something may happen unheard."""
        known = self._queues.known
        wanted = [name for name, overview in known.items() if self._may_change(name, overview, now)]
        wanted += [
            name
            for name in self._expected()
            if name not in known and now - self._looked_at.get(name, 0.0) > _LOOKED_FOR_S
        ]
        wanted.sort(key=lambda name: self._looked_at.get(name, 0.0))
        turn = wanted[:_AT_A_TIME]
        for name in turn:
            self._looked_at[name] = now
        return turn

    def _may_change(self, name: QueueName, overview: QueueOverview, now: float) -> bool:
        stats = overview.stats
        if stats.waiting or stats.in_flight or stats.scheduled or self._queues.recurs(name):
            return True
        return self._restless.get(name, 0.0) > now

    async def _listen(self, found: Mapping[QueueName, QueueOverview]) -> None:
        """Listen to idle queues only: busy ones are polled anyway."""
        for gone in [name for name in self._subscriptions if name not in found]:
            await self._subscriptions.pop(gone).unsubscribe()
        for name, overview in found.items():
            rests = not (overview.stats.waiting or overview.stats.in_flight)
            if rests and name not in self._subscriptions:
                self._subscriptions[name] = await self._broker.listen(name.everything, self._hearing(name))
        for name in [name for name in self._restless if name not in found]:
            del self._restless[name]
        if len(self._looked_at) > 2 * len(found) + _AT_A_TIME:
            self._looked_at = {name: at for name, at in self._looked_at.items() if name in found}

    def _hearing(self, name: QueueName) -> Callable[[bytes], None]:
        def heard(_data: bytes) -> None:
            subscription = self._subscriptions.pop(name, None)
            if subscription is not None:  # once is enough
                task = asyncio.get_running_loop().create_task(subscription.unsubscribe())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
            self._restless[name] = time.monotonic() + _RESTLESS_S
            self._looked_at.pop(name, None)
            self._heard.set()

        return heard

    async def _stop(self) -> None:
        await cancel(*self._ending)
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions.values():
            with contextlib.suppress(Exception):  # the connection may be gone
                await subscription.unsubscribe()

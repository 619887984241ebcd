"""Fetching tasks into the process: how many to request, when, and what to do with those that get no slot."""

import asyncio
import time
from collections.abc import Callable

from protoqueue.broker import Broker, Delivery
from protoqueue.consumer.buffer import Buffer, InFlight
from protoqueue.consumer.isolation import Isolation
from protoqueue.consumer.move import Mover
from protoqueue.consumer.pull_requests import Puller
from protoqueue.consumer.throttle import GroupThrottle
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.ratelimit import Limiter

LOOKAHEAD_S = 0.02
"""Tasks are fetched ahead only as far as slots become free within this time."""

MOST_AHEAD = 1000

_SOON_S = 0.25
"""In a fair queue empty lanes are watched while slots become free within this time: what comes there is started next,
and looking into each of them for every task would take longer than many a task."""

_PACE_KEPT = 0.9
"""What a tick leaves of the pace as it was before."""


class Prefetcher:
    """Keeps as many tasks buffered as a worker's slots can take soon; `running()` slots are in use.

    `arrived` is called for each delivery.
    """

    def __init__(
        self, broker: Broker, slots: int, limiter: Limiter, isolation: Isolation, throttle: GroupThrottle,
        running: Callable[[], int], arrived: Callable[[], None],
    ) -> None:  # fmt: skip
        self._broker = broker
        self._slots = slots
        self._limiter = limiter
        self._isolation = isolation
        self._throttle = throttle
        self._running = running
        self._arrived = arrived
        self._puller: Puller | None = None
        self._pulled_by: tuple[object, ...] = ()
        self._mover: Mover | None = None
        self._moved_by: tuple[object, ...] = ()
        self._is_moved_to = False
        self._paused = False
        self._ordered = False
        self._has_lanes = False
        self._pace = 0.0
        self._wake = asyncio.Event()
        self._ahead = 0
        self.buffer = Buffer((), strict=False)
        broker.on_reconnect(self._reset)

    async def apply(self, queue: QueueSettings, group: GroupSettings) -> None:
        """Apply new settings; other consumers or another policy start with new requests."""
        self._paused = queue.paused or group.paused
        self._ordered, self._has_lanes = bool(queue.partitions), queue.lanes > 0
        pulled_by = (queue.stream, group.consumers, group.strict, self._has_lanes)
        if self._puller is None or self._pulled_by != pulled_by:
            await self.close()
            fetched, self.buffer = self.buffer, Buffer(group.consumers, group.strict)
            for item in fetched:
                self.buffer.add(0, item)
            self._puller = Puller(self._broker, queue.stream, group, self._add, self.wake, has_lanes=self._has_lanes)
            self._pulled_by = pulled_by
        if self._paused:
            await self._puller.withdraw()
        await self._apply_moved(queue, group)
        self.wake()

    async def _apply_moved(self, queue: QueueSettings, group: GroupSettings) -> None:
        moved_by = (queue.stream, group.moved, self._paused)
        if self._moved_by == moved_by:
            return
        await self._close_mover()
        self._moved_by = moved_by
        if group.moved and not self._paused:
            self._mover = Mover(self._broker, queue, group, self._has_moved)
            self._mover.start()

    def _has_moved(self) -> None:
        """Sources found empty have tasks again; a waiting request gets the first of them."""
        self._is_moved_to = True

    async def close(self) -> None:
        """Ask for nothing more; what was on its way is in the lanes when this returns."""
        puller, self._puller = self._puller, None
        if puller is not None:
            await puller.withdraw()
        await self._close_mover()

    async def _close_mover(self) -> None:
        mover, self._mover, self._moved_by = self._mover, None, ()
        if mover is not None:
            await mover.close()

    def _add(self, source: int, delivery: Delivery) -> None:
        self.buffer.add(source, InFlight(delivery, time.monotonic()))
        self._arrived()

    def _reset(self) -> None:
        if self._puller is not None:
            self._puller.reset()
        if self._mover is not None:
            self._mover.reset()

    def wake(self) -> None:
        """Plan requests again."""
        self._wake.set()

    def slot_freed(self) -> None:
        """Plan requests again unless enough is buffered: few large requests cost less than many small ones."""
        if len(self.buffer) <= self._ahead // 2:
            self._wake.set()

    @property
    def found_nothing(self) -> bool:
        """Whether every consumer is known to be empty or not allowed to deliver, and nothing is buffered."""
        if self._puller is None or len(self.buffer):
            return False
        if self._is_moved_to:
            self._is_moved_to = False
            self._puller.ask_anew()
            return False
        is_moving = self._mover is not None and not self._mover.found_nothing
        gives_nothing = self._paused or self._throttle.is_throttled
        return gives_nothing or (self._puller.found_nothing and not is_moving)

    @property
    def stalled_s(self) -> float:
        """How long no consumer has answered although there are slots to fill; 0 while there are none."""
        return 0.0 if self._puller is None or self._asks_nothing else time.monotonic() - self._puller.answered_at

    @property
    def unheard_s(self) -> float:
        """The same, where a refusal counts as an answer too."""
        return 0.0 if self._puller is None or self._asks_nothing else time.monotonic() - self._puller.heard_at

    @property
    def _asks_nothing(self) -> bool:
        is_kept = self._paused or self._may_not_start or bool(self._broker.acks_refused)
        return is_kept or self._limiter.limited or self._running() >= self._slots

    @property
    def _may_not_start(self) -> bool:
        """Whether fetched tasks would only be handed back."""
        return self._isolation.is_closed or self._throttle.is_closed

    @property
    def _watches_lanes(self) -> bool:
        """Whether what comes in an empty lane is to come here although no slot is free."""
        if not self._has_lanes or self._limiter.limited:
            return False
        return max(1, len(self.buffer)) <= self._pace * _SOON_S

    async def pump(self) -> None:
        """Request tasks whenever woken, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            puller = self._puller
            if puller is None or self._paused or not self._broker.connected or self._broker.acks_refused:
                continue  # tasks that cannot be acknowledged would run again and again
            if self._may_not_start:
                puller.no_slots(keep_watching=False)
                continue
            at_hand = len(self.buffer) + puller.requested
            free = self._slots + self._ahead - self._running() - at_hand
            if self._limiter.limited:
                free = min(free, self._limiter.room(self._slots) - at_hand)
            if free > 0 or self._watches_lanes:
                await puller.ask(free)
            elif not puller.requested:
                puller.no_slots(keep_watching=self._ahead > 0)

    def tick(self, pace: float) -> None:
        """To be called periodically with the tasks finished per second: adjust prefetching, detect lost requests."""
        if self._ordered:  # a fetched task blocks its partition
            self._ahead = 0
        else:
            self._ahead = min(MOST_AHEAD, int((self._ahead + pace * LOOKAHEAD_S) / 2))
        if self._puller is not None:
            if self._asks_nothing:
                self._puller.expect_answers()
            self._puller.check()
            if self._broker.acks_refused:
                self._puller.no_slots(keep_watching=False)
        self.wake()

"""Getting tasks into the process: how many to ask for, when, and what to do with those that find no slot."""

import asyncio
import time
from collections.abc import Callable

from protoqueue.connection import Broker, Delivery
from protoqueue.gate import Gate
from protoqueue.lanes import Held, Lanes
from protoqueue.pulling import Puller
from protoqueue.settings import GroupSettings, QueueSettings

LOOKAHEAD_S = 0.02
"""Tasks are fetched ahead of a free slot only as far as slots become free within this time."""

MOST_AHEAD = 1000


class Fetcher:
    """Keeps as many tasks at hand as a worker's slots can take soon, `running()` of which it is told.

    `arrived` is called with each delivery that came in.
    """

    def __init__(
        self, broker: Broker, slots: int, gate: Gate, running: Callable[[], int], arrived: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._slots = slots
        self._gate = gate
        self._running = running
        self._arrived = arrived
        self._puller: Puller | None = None
        self._pulled_by: tuple[object, ...] = ()
        self._paused = False
        self._wake = asyncio.Event()
        self._ahead = 0
        self.lanes = Lanes((), strict=False)
        broker.on_reconnect(self._reset)

    async def apply(self, queue: QueueSettings, group: GroupSettings) -> None:
        """Take over new settings; other consumers or another policy begin with new requests."""
        self._paused = queue.paused or group.paused
        pulled_by = (queue.stream, group.consumers, group.strict)
        if self._puller is None or self._pulled_by != pulled_by:
            await self.close()
            fetched, self.lanes = self.lanes, Lanes(group.consumers, group.strict)
            for held in fetched:
                self.lanes.add(0, held)
            self._puller, self._pulled_by = Puller(self._broker, queue.stream, group, self._add, self.wake), pulled_by
        if self._paused:
            await self._puller.withdraw()
        self.wake()

    async def close(self) -> None:
        """Ask for nothing more; what was on its way is in the lanes when this returns."""
        puller, self._puller = self._puller, None
        if puller is not None:
            await puller.withdraw()

    def _add(self, source: int, delivery: Delivery) -> None:
        self.lanes.add(source, Held(delivery, time.monotonic()))
        self._arrived()

    def _reset(self) -> None:
        if self._puller is not None:
            self._puller.reset()

    def wake(self) -> None:
        """Look again at what to ask for."""
        self._wake.set()

    def slot_freed(self) -> None:
        """Look again, unless there is enough ahead: few large requests cost less than many small ones."""
        if len(self.lanes) <= self._ahead // 2:
            self._wake.set()

    @property
    def found_nothing(self) -> bool:
        """Whether every consumer has said that it is empty, and nothing is waiting here."""
        return self._puller is not None and self._puller.found_nothing and not len(self.lanes)

    @property
    def stalled_s(self) -> float:
        """How long no consumer has said what it has although there are slots to fill; 0 while there are none."""
        return 0.0 if self._puller is None or self._asks_nothing else time.monotonic() - self._puller.answered_at

    @property
    def unheard_s(self) -> float:
        """The same, where a refusal too counts as an answer."""
        return 0.0 if self._puller is None or self._asks_nothing else time.monotonic() - self._puller.heard_at

    @property
    def _asks_nothing(self) -> bool:
        return self._paused or self._gate.limited or self._running() >= self._slots

    async def pump(self) -> None:
        """Ask whenever woken, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            puller = self._puller
            if puller is None or self._paused or not self._broker.connected:
                continue
            at_hand = len(self.lanes) + puller.requested
            free = self._slots + self._ahead - self._running() - at_hand
            if self._gate.limited:
                free = min(free, self._gate.room(self._slots) - at_hand)
            if free > 0:
                await puller.ask(free)
            elif not puller.requested:
                puller.no_slots(keep_watching=self._ahead > 0)

    def tick(self, pace: float) -> None:
        """To be called now and then with the tasks finished per second: look ahead accordingly, miss lost requests."""
        self._ahead = min(MOST_AHEAD, int((self._ahead + pace * LOOKAHEAD_S) / 2))
        if self._puller is not None:
            if self._asks_nothing:
                self._puller.expect_answers()
            self._puller.check()
        self.wake()

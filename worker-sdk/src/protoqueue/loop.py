"""The worker's loop: pull for free slots, run, settle, keep alive, stop in good order."""

import asyncio
import contextlib
import logging
import time
from collections import deque

from protoqueue.cancellation import cancel
from protoqueue.connection import IN_PROGRESS, Broker, Delivery
from protoqueue.errors import ConfigurationError, Unavailable
from protoqueue.execute import Executed, execute
from protoqueue.gate import Gate
from protoqueue.lanes import Held, Lanes
from protoqueue.ledger import Ledger
from protoqueue.metrics import WorkerMetrics
from protoqueue.outcomes import HAND_BACK, Dead
from protoqueue.pulling import Puller
from protoqueue.registry import Registry
from protoqueue.settings import GroupSettings, QueueSettings
from protoqueue.settle import Settler
from protoqueue.surroundings import Surroundings

log = logging.getLogger(__name__)

TICK_S = 0.05
LOOKAHEAD_S = 0.02
"""Tasks are fetched ahead of a free slot only as far as slots become free within this time."""

MOST_AHEAD = 1000
HOLD_S = 0.25
"""A fetched task that finds no slot within this time goes back, so that an idle worker can have it."""

_MOST_IN_TURN = 32
_WAKE_MANY = 16


class WorkLoop:
    """Runs tasks of one group until told to stop. Settings may change at any time through `apply`."""

    def __init__(
        self, broker: Broker, handlers: Registry, settler: Settler, metrics: WorkerMetrics, surroundings: Surroundings
    ) -> None:
        self._broker = broker
        self._handlers = handlers
        self._settler = settler
        self._metrics = metrics
        self._concurrency = surroundings.concurrency
        self._surroundings = surroundings
        self._gate = Gate(broker)
        self._ledger: Ledger | None = None
        self._applying = asyncio.Lock()
        self._queue: QueueSettings | None = None
        self._group: GroupSettings | None = None
        self._puller: Puller | None = None
        self._fetched = Lanes((), strict=False)
        self._running: set[Held] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._wake = asyncio.Event()
        self._applied = asyncio.Event()
        self._pulling = True
        self._rousing = False
        self._finished = 0
        self._finished_before = 0
        self._in_turn = 0
        self._ahead = 0

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def finished(self) -> int:
        """How many tasks have come to an outcome here."""
        return self._finished

    @property
    def is_drained(self) -> bool:
        """Whether every consumer has said that it is empty, and nothing is held."""
        held = self.running or len(self._fetched)
        return self._puller is not None and self._puller.found_nothing and not held

    @property
    def stalled_s(self) -> float:
        """How long no consumer has answered although this worker wants tasks; 0 while it wants none."""
        if self._puller is None or self._is_paused or self.running >= self._concurrency:
            return 0.0
        return time.monotonic() - self._puller.answered_at

    @property
    def _is_paused(self) -> bool:
        return self._queue is None or self._group is None or self._queue.paused or self._group.paused

    async def apply(self, queue: QueueSettings | None, group: GroupSettings | None) -> None:
        """Take over new settings; None means that the resource does not exist (any more)."""
        async with self._applying:
            await self._apply(queue, group)

    async def _apply(self, queue: QueueSettings | None, group: GroupSettings | None) -> None:
        before = (self._queue and self._queue.stream, self._group and (self._group.consumers, self._group.strict))
        if queue is None or group is None:
            await self._close_puller()
            # What still runs is settled by the settings it was started under.
            return
        self._queue, self._group = queue, group
        self._ledger = Ledger(self._broker, group.name) if group.exactly_once else None
        try:
            self._gate.apply(queue, group)
        except ConfigurationError as error:
            log.error("the limits before stay in force: %s", error)
        self._applied.set()  # the lease may be shorter now
        if self._puller is None or before != (queue.stream, (group.consumers, group.strict)):
            await self._close_puller()
            fetched, self._fetched = self._fetched, Lanes(group.consumers, group.strict)
            for held in fetched:
                self._fetched.add(0, held)
            self._puller = Puller(self._broker, queue.stream, group, self._arrived, self._wake.set)
        if self._is_paused and self._puller is not None:
            await self._puller.withdraw()
        self._wake.set()

    async def _close_puller(self) -> None:
        puller, self._puller = self._puller, None
        if puller is not None:
            await puller.withdraw()

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Work until `stop` is set; then finish what runs within `grace_s` and hand back the rest."""
        self._broker.on_reconnect(self._reconnected)
        runners = [asyncio.create_task(self._runner()) for _ in range(self._concurrency)]
        service = [asyncio.create_task(self._pump()), asyncio.create_task(self._ticker())]
        beat = asyncio.create_task(self._heartbeats())
        stopped = asyncio.create_task(stop.wait())
        try:
            # A service that ends has a bug: better to end the worker than to have it hang.
            await asyncio.wait([stopped, beat, *service, *runners], return_when=asyncio.FIRST_COMPLETED)
            for task in (beat, *service, *runners):
                if task.done():
                    task.result()
        finally:
            await self._shut_down(runners, service, grace_s)
            beat.cancel()
            stopped.cancel()

    async def _shut_down(
        self, runners: list[asyncio.Task[None]], service: list[asyncio.Task[None]], grace_s: float
    ) -> None:
        self._pulling = False
        self._gate.close()
        await cancel(*service)
        await self._close_puller()
        await self._return_fetched(older_than=0)
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        _, late = await asyncio.wait(runners, timeout=grace_s)
        if late:
            log.warning("%d tasks did not finish within the grace period: they go back", self.running)
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=5)

    def _reconnected(self) -> None:
        if self._puller is not None:
            self._puller.reset()

    def _arrived(self, source: int, delivery: Delivery) -> None:
        self._fetched.add(source, Held(delivery, time.monotonic()))
        self._rouse()

    def _rouse(self) -> None:
        if self._idle and not self._rousing:
            self._rousing = True
            asyncio.get_running_loop().call_soon(self._wake_runners)

    def _wake_runners(self) -> None:
        """Wake one more runner per turn of the event loop, or many when those awake are held up by what they run.

        Handlers that return at once need one runner, and waking more costs them more than their work.
        """
        self._rousing = False
        progress, self._finished_before = self._finished - self._finished_before, self._finished
        for _ in range(min(1 if progress else _WAKE_MANY, len(self._fetched), len(self._idle))):
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if len(self._fetched):
            self._rouse()

    async def _runner(self) -> None:
        while self._pulling:
            held = self._fetched.take()
            if held is None:
                waiter = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
                continue
            await self._run_one(held)
            self._in_turn += 1
            if self._in_turn >= _MOST_IN_TURN:
                await self._end_turn()

    async def _end_turn(self) -> None:
        """Let the event loop read, beat and stop: handlers that never wait would keep it from that."""
        await asyncio.sleep(0)
        self._in_turn = 0

    async def _run_one(self, held: Held) -> None:
        assert self._queue is not None
        assert self._group is not None
        queue, group, delivery = self._queue, self._group, held.delivery
        self._running.add(held)
        try:
            if self._gate.limited and not await self._gate.enter():
                executed = Executed(HAND_BACK, None)
            else:
                executed = await execute(delivery, self._handlers, group, self._surroundings, self._ledger)
        except asyncio.CancelledError:
            executed = Executed(HAND_BACK, None)  # the grace period is over
        try:
            await self._settler.settle(delivery, executed, queue, group)
        finally:
            self._running.discard(held)
            self._finished += 1
        self._measure(delivery, executed, queue)
        if isinstance(executed.outcome, Dead) and executed.task is not None:
            await self._handlers.died(executed.task, executed.outcome.reason.value, executed.outcome.failure.message)
        if len(self._fetched) <= self._ahead // 2:
            self._wake.set()

    def _measure(self, delivery: Delivery, executed: Executed, queue: QueueSettings) -> None:
        waited = max(0.0, time.time() - executed.seconds - delivery.stored_ns / 1e9)
        outcome = executed.outcome
        self._metrics.finished(
            executed.task.type if executed.task else "", type(outcome).__name__, executed.seconds, waited
        )
        if delivery.deliveries > 1:
            self._metrics.redelivered += 1
        if isinstance(outcome, Dead) and not queue.dead_letters:
            self._metrics.dropped += 1

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            puller = self._puller
            if puller is None or self._is_paused or not self._broker.connected:
                continue
            taken = self.running + len(self._fetched) + puller.requested
            free = self._concurrency + self._ahead - taken
            if self._gate.limited:
                free = min(free, self._gate.room(self._concurrency) - len(self._fetched) - puller.requested)
            if free > 0:
                await puller.ask(free)
            elif not puller.requested:
                puller.no_slots(keep_watching=self._ahead > 0)

    async def _ticker(self) -> None:
        """Measure the pace, look after lost requests, and hand back what has waited for a slot too long."""
        before, then = self._finished, time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            pace = (self._finished - before) / (now - then)
            before, then = self._finished, now
            self._ahead = min(MOST_AHEAD, int((self._ahead + pace * LOOKAHEAD_S) / 2))
            self._metrics.running = self.running
            if self._puller is not None:
                self._puller.check()
            if self._queue is not None and not self._queue.partitions:
                await self._return_fetched(older_than=HOLD_S)
            self._wake.set()

    async def _return_fetched(self, older_than: float) -> None:
        if self._queue is None or self._group is None:
            return
        for held in self._fetched.expire(time.monotonic() - older_than):
            await self._settler.hand_back(held.delivery, self._queue, self._group)

    async def _heartbeats(self) -> None:
        """Extend what is held, three times per lease. A loop that is stuck does not, and loses its tasks to others."""
        while True:
            self._applied.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((self._group.visibility_s if self._group else 1.0) / 3):
                    await self._applied.wait()
            with contextlib.suppress(Unavailable):
                for held in (*self._running, *self._fetched):
                    await self._broker.answer(held.delivery.reply, IN_PROGRESS)

"""The worker's loop: pull for free slots, run, settle, keep alive, stop in good order."""

import asyncio
import contextlib
import logging
import time

from protoqueue.cancellation import cancel
from protoqueue.codec import decode_task
from protoqueue.connection import Broker, Delivery
from protoqueue.errors import ConfigurationError, UndecodableTask
from protoqueue.execute import Executed, execute
from protoqueue.fetching import Fetcher
from protoqueue.gate import Gate
from protoqueue.heartbeats import extend_leases
from protoqueue.lanes import Held
from protoqueue.ledger import Ledger
from protoqueue.metrics import WorkerMetrics
from protoqueue.outcomes import CANCELLED, HAND_BACK, Dead, Done
from protoqueue.registry import Registry
from protoqueue.runners import Runners
from protoqueue.settings import GroupSettings, QueueSettings
from protoqueue.settle import Settler
from protoqueue.surroundings import Surroundings
from protoqueue.tally import Tallies
from protoqueue.tracing import Tracing

log = logging.getLogger(__name__)

TICK_S = 0.05
HOLD_S = 0.25
"""A fetched task that finds no slot within this time goes back, so that an idle worker can have it."""


class WorkLoop:
    """Runs tasks of one group until told to stop. Settings may change at any time through `apply`."""

    def __init__(
        self, broker: Broker, handlers: Registry, settler: Settler, metrics: WorkerMetrics, surroundings: Surroundings,
        tracing: Tracing | None = None,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._handlers = handlers
        self._settler = settler
        self._metrics = metrics
        self._tracing = tracing
        self._surroundings = surroundings
        self._gate = Gate(broker)
        self._ledger: Ledger | None = None
        self._tallies: Tallies | None = None
        self._applying = asyncio.Lock()
        self._queue: QueueSettings | None = None
        self._group: GroupSettings | None = None
        self._running: set[Held] = set()
        self._runners = Runners(surroundings.concurrency, self._run_one)
        self._fetcher = Fetcher(
            broker, surroundings.concurrency, self._gate, self._running.__len__, self._runners.rouse
        )
        self._beat_now = asyncio.Event()
        broker.on_reconnect(self._beat_now.set)
        self._finished = 0

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
        return self._fetcher.found_nothing and not self._running

    @property
    def stalled_s(self) -> float:
        """How long pulling has been without an answer although this worker wants tasks."""
        return self._fetcher.stalled_s

    @property
    def unheard_s(self) -> float:
        """How long NATS has not even refused a request of this worker."""
        return self._fetcher.unheard_s

    @property
    def left_behind(self) -> int:
        """How many functions run on that nobody waits for, once they leave too little room for others; else 0."""
        return self._surroundings.left_behind

    async def apply(self, queue: QueueSettings | None, group: GroupSettings | None) -> None:
        """Take over new settings; None means that the resource does not exist (any more)."""
        async with self._applying:
            if queue is None or group is None:
                # What still runs is settled by the settings it was started under.
                await self._fetcher.close()
                return
            self._queue, self._group = queue, group
            self._ledger = Ledger(self._broker, group.name) if group.exactly_once else None
            self._tallies = Tallies(self._broker, group.name) if queue.partitions else None
            try:
                self._gate.apply(queue, group)
            except ConfigurationError as error:
                log.error("the limits before stay in force: %s", error)
            self._beat_now.set()  # the lease may be shorter now
            await self._fetcher.apply(queue, group)

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Work until `stop` is set; then finish what runs within `grace_s` and hand back the rest."""
        self._runners.start(self._fetcher)
        service = [asyncio.create_task(self._fetcher.pump()), asyncio.create_task(self._ticker())]
        beat = asyncio.create_task(extend_leases(self._broker, self._held, self._lease_s, self._beat_now))
        stopped = asyncio.create_task(stop.wait())
        try:
            # A service that ends has a bug: better to end the worker than to have it hang.
            working = [beat, *service, *self._runners.tasks]
            await asyncio.wait([stopped, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()
        finally:
            await self._shut_down(service, grace_s)
            beat.cancel()
            stopped.cancel()

    async def _shut_down(self, service: list[asyncio.Task[None]], grace_s: float) -> None:
        self._runners.stop()
        self._gate.close()
        await cancel(*service)
        await self._fetcher.close()
        await self._return_fetched(older_than=0)
        await self._runners.finish(grace_s)

    async def _run_one(self, held: Held) -> None:
        assert self._queue is not None
        assert self._group is not None
        queue, group = self._queue, self._group
        if held.delivery.deliveries > 1 and self._is_running(held.delivery):
            return
        self._running.add(held)
        held.runner = asyncio.current_task()
        try:
            executed = await self._executed(held, group)
            held.runner = None  # from here on it is settled, which nobody may cancel
            await self._settler.settle(held.delivery, executed, queue, group)
        finally:
            held.settled = True
            self._running.discard(held)
            self._finished += 1
            self._fetcher.slot_freed()
        self._measure(held.delivery, executed, queue)
        if isinstance(executed.outcome, Dead) and executed.task is not None:
            await self._handlers.died(executed.task, executed.outcome.reason.value, executed.outcome.failure.message)

    def _is_running(self, delivery: Delivery) -> bool:
        """Whether this task comes again to where it runs, as when NATS was away for longer than the lease.

        The run goes on under the new lease.
        """
        for held in self._running:
            if held.delivery.sequence == delivery.sequence:
                held.delivery = delivery
                return True
        return False

    async def _executed(self, held: Held, group: GroupSettings) -> Executed:
        """What became of it, also where somebody cancelled it or the worker stops."""
        try:
            executed = await self._execute(held, group)
        except asyncio.CancelledError:
            executed = Executed(HAND_BACK, None)
        return _unless_cancelled(held, executed)

    async def _execute(self, held: Held, group: GroupSettings) -> Executed:
        if held.cancelled:
            return Executed(CANCELLED, None)
        if self._gate.limited and not await self._gate.enter():
            return Executed(HAND_BACK, None)
        if self._tallies is not None:
            held.delivery = await self._tallies.counted(held.delivery)
        return await execute(
            held.delivery,
            self._handlers,
            group,
            self._surroundings,
            lambda: held.cancelled or self._runners.is_stopping,
            self._ledger,
            self._tracing,
        )

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that this worker holds; False when there is none. A plain function's thread runs on."""
        for held in self._held():
            delivery = held.delivery
            with contextlib.suppress(UndecodableTask):
                if decode_task(delivery.data, delivery.headers, delivery.sequence).id != task_id:
                    continue
                is_settled = held in self._running and held.runner is None
                if not is_settled and not held.cancelled:
                    held.cancelled = True
                    if held.runner is not None:
                        held.runner.cancel()
                return not is_settled
        return False

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

    async def _ticker(self) -> None:
        """Measure the pace, look after lost requests, and hand back what has waited for a slot too long."""
        before, then = self._finished, time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            pace = (self._finished - before) / (now - then)
            before, then = self._finished, now
            self._fetcher.tick(pace)
            self._metrics.running = self.running
            self._metrics.limited_s, self._metrics.held_back_s = self._gate.waited_s, self._gate.held_back_s
            if self._queue is not None and not self._queue.partitions:
                await self._return_fetched(older_than=HOLD_S)

    async def _return_fetched(self, older_than: float) -> None:
        queue, group = self._queue, self._group
        if queue is None or group is None:
            return
        late = [
            held
            for held in self._fetcher.lanes.expire(time.monotonic() - older_than)
            if held.delivery.deliveries == 1 or not self._is_running(held.delivery)
        ]
        unrun = Executed(HAND_BACK, None)
        await asyncio.gather(
            *(self._settler.settle(held.delivery, _unless_cancelled(held, unrun), queue, group) for held in late)
        )

    def _held(self) -> tuple[Held, ...]:
        return (*self._running, *self._fetcher.lanes)

    def _lease_s(self) -> float:
        return self._group.visibility_s if self._group else 1.0


def _unless_cancelled(held: Held, executed: Executed) -> Executed:
    """What someone cancelled is done with, whatever its handler made of the cancellation."""
    if not held.cancelled:
        return executed
    return executed if isinstance(executed.outcome, Done) else Executed(CANCELLED, executed.task, executed.seconds)

"""The worker's loop: pull for free slots, run, settle, extend leases, shut down gracefully."""

import asyncio
import contextlib
import logging
import time
from datetime import timedelta

from protoqueue.aio import cancel
from protoqueue.broker import Broker, Delivery
from protoqueue.consumer.buffer import InFlight
from protoqueue.consumer.execute import execute, expired, policy_for
from protoqueue.consumer.isolation import Isolation
from protoqueue.consumer.lease_extension import LoopWatch, extend_leases
from protoqueue.consumer.prefetch import Prefetcher
from protoqueue.consumer.slots import Slots
from protoqueue.consumer.throttle import GroupThrottle
from protoqueue.consumer.unsettled import Unsettled
from protoqueue.errors import ConfigurationError, ProtoQueueError, UndecodableTask
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.registry import Registry
from protoqueue.history.encode import RecordEncoder
from protoqueue.history.recorder import Recorder
from protoqueue.observability.metrics import WorkerMetrics
from protoqueue.observability.tracing import Tracing
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.task_codec import attempt_of, decode_task
from protoqueue.protocol.worker_status import HeldTask
from protoqueue.ratelimit import Limiter
from protoqueue.settlement.attempt_count import NO_PAST, RETURNED, TRIAL, TRIAL_OVER, AttemptCounts, Past
from protoqueue.settlement.firings import Firings
from protoqueue.settlement.ledger import Ledger
from protoqueue.settlement.outcome import CANCELLED, HAND_BACK, Dead, Done, Executed, HandBack, Throttled
from protoqueue.settlement.replaced import is_replaceable, replaced_meanwhile
from protoqueue.settlement.retry_forever import retry_forever
from protoqueue.settlement.settle import Settler, process_name
from protoqueue.settlement.unique_keys import claiming, may_start, must_claim

log = logging.getLogger(__name__)

TICK_S = 0.05
HOLD_S = 0.25
"""A fetched task that gets no slot within this time is handed back, so that an idle worker can take it."""

_PARKED_PER_SLOT, _LEAST_PARKED = 10, 100
"""How many outcomes that cannot be stored are kept beside the slots; beyond that no more tasks run."""

_NEXT_TURN = timedelta(seconds=1)
"""When a suspect that could not run alone here is redelivered."""


class WorkLoop:
    """Runs tasks of one group until told to stop. Settings may change at any time through `apply`."""

    def __init__(
        self, broker: Broker, group: GroupName, handlers: Registry, settler: Settler, metrics: WorkerMetrics,
        executors: Executors, tracing: Tracing | None = None,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._handlers = handlers
        self._settler = settler
        self._metrics = metrics
        self._recorder = Recorder(broker)
        self._encoder: RecordEncoder | None = None
        self._tracing = tracing
        self._executors = executors
        self._limiter = Limiter(broker)
        self._isolation = Isolation(self._look_again)
        self._throttle = GroupThrottle(broker, group, self._look_again)
        self._ledger: Ledger | None = None
        self._attempt_counts: AttemptCounts
        self._applying = asyncio.Lock()
        self._queue: QueueSettings | None = None
        self._group: GroupSettings | None = None
        self._running: set[InFlight] = set()
        self._slots = Slots(executors.concurrency, self._run_one)
        self._prefetcher = Prefetcher(
            broker, executors.concurrency, self._limiter, self._isolation, self._throttle, self._running.__len__,
            self._slots.wake,
        )  # fmt: skip
        self._unsettled = Unsettled(
            max(_LEAST_PARKED, _PARKED_PER_SLOT * executors.concurrency),
            lambda: broker.connected,
            lambda: settler.trouble,
        )
        self._beat_now = asyncio.Event()
        broker.on_reconnect(self._beat_now.set)
        self._finished = 0
        self._skips_grace = False
        self.keeps_first_error = False
        self.first_error: BaseException | None = None
        """What the first failed attempt raised, if that is to be kept."""

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def finished(self) -> int:
        """How many tasks have ended in this worker."""
        return self._finished

    @property
    def is_drained(self) -> bool:
        """Whether every consumer is known to be empty or not allowed to deliver, and no task is held.

        Raises ConfigurationError if NATS refuses acknowledgements, as then no task can be finished.
        """
        if refused := self._broker.acks_refused:
            raise ConfigurationError(f"NATS rejects this worker's acknowledgements: {refused}")
        return self._prefetcher.found_nothing and not self._running and not self._unsettled.parked

    def skip_grace(self) -> None:
        """Stop without a grace period."""
        self._skips_grace = True

    @property
    def stalled_s(self) -> float:
        """How long pull requests have had no answer although this worker wants tasks."""
        return self._prefetcher.stalled_s

    @property
    def unheard_s(self) -> float:
        """How long NATS has not even refused a request of this worker."""
        return self._prefetcher.unheard_s

    @property
    def left_behind(self) -> int:
        """How many abandoned functions still run, once they leave too little room for others; else 0."""
        return self._executors.left_behind

    @property
    def is_rate_limited(self) -> bool:
        """Whether tasks wait for a rate limit now, or did a moment ago."""
        return self._limiter.is_holding_back

    @property
    def unsettled(self) -> str | None:
        """Why outcomes cannot be stored, as a sentence; None if they can."""
        return self._unsettled.trouble

    async def apply(self, queue: QueueSettings | None, group: GroupSettings | None) -> None:
        """Apply new settings; None means that the resource does not exist (any more)."""
        async with self._applying:
            if queue is None or group is None:
                # Running tasks are settled by the settings under which they started.
                await self._prefetcher.close()
                return
            self._queue, self._group = queue, group
            self._encoder = RecordEncoder.of(queue, group, process_name(), self._broker.max_payload)
            if self._encoder is None:
                self._recorder.clear()
            self._ledger = Ledger(self._broker, group.name) if group.exactly_once else None
            self._attempt_counts = AttemptCounts(self._broker, group.name, ordered=bool(queue.partitions))
            try:
                self._limiter.update(queue, group)
            except ConfigurationError as error:
                log.error("the rate limit is not valid, the previous one stays in force: %s", error)
            self._beat_now.set()  # the lease may be shorter now
            await self._prefetcher.apply(queue, group)

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Work until `stop` is set; then finish running tasks within `grace_s` and hand back the rest."""
        self._slots.start(self._prefetcher)
        service = [asyncio.create_task(self._prefetcher.pump()), asyncio.create_task(self._ticker())]
        throttle = asyncio.create_task(self._throttle.run())
        beat = asyncio.create_task(extend_leases(self._broker, self._in_flight, self._lease_s, self._beat_now))
        stopped = asyncio.create_task(stop.wait())
        try:
            # A service that ends has a bug: better to end the worker than to let it hang.
            working = [beat, throttle, *service, *self._slots.tasks]
            await asyncio.wait([stopped, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()
        finally:
            await self._shut_down(service, grace_s)
            beat.cancel()
            stopped.cancel()
            await cancel(throttle)

    async def _shut_down(self, service: list[asyncio.Task[None]], grace_s: float) -> None:
        self._slots.stop()
        self._limiter.close()
        self._isolation.stop()
        noting = asyncio.create_task(self._note_stop())
        await cancel(*service)
        await self._prefetcher.close()
        await self._return_fetched(older_than=0)
        grace_s = 0 if self._skips_grace else grace_s
        deadline = time.monotonic() + grace_s
        await self._slots.finish(grace_s)
        await self._give_up_unsettled(deadline)
        await self._recorder.close()
        await cancel(noting)

    async def _give_up_unsettled(self, deadline: float) -> None:
        """Hand back tasks whose outcome still cannot be stored: they run again."""
        left = await self._unsettled.give_up(max(0.0, deadline - time.monotonic()))
        if left:
            log.error(
                "%d outcomes could not be stored in time: these tasks return to the queue and run again", len(left)
            )
        back = Executed(HandBack(started=True), None)
        queue, group = self._queue, self._group
        if queue is not None and group is not None:
            await asyncio.gather(*(self._settler.settle(item.delivery, back, queue, group) for item in left))

    async def _note_stop(self) -> None:
        """Record at once which tasks are held: if this process is killed before it is done, that is not their crash."""

        async def note(item: InFlight) -> bool:
            try:
                await self._attempt_counts.note(item.delivery, RETURNED, started=item.started)
            except ProtoQueueError as error:
                log.warning("could not record that a task is in flight at shutdown: %s", error)
                return False
            return True

        noted = sum(await asyncio.gather(*map(note, (*self._running, *self._unsettled))))
        if noted:
            log.info("recorded %d tasks as in flight at shutdown: a kill from now on does not count as a crash", noted)

    async def _run_one(self, item: InFlight) -> None:
        assert self._queue is not None
        assert self._group is not None
        queue, group = self._queue, self._group
        if item.delivery.deliveries > 1 and self._is_running(item.delivery):
            return
        self._running.add(item)
        item.runner = asyncio.current_task()
        try:
            executed = await self._executed(item, queue, group)
            if isinstance(executed.outcome, Throttled):
                self._throttle.close(executed.outcome.delay, executed.outcome.why)
            if self.keeps_first_error and self.first_error is None:
                self.first_error = executed.error
            item.runner = None  # from here on it is being settled, which must not be cancelled
            if isinstance(executed.outcome, Done) and await self._settler.try_done(item.delivery, executed, group):
                item.settled = True
                self._note_outcome(item, executed, queue)
            else:
                await self._unsettled.settle(item, self._settle(item, executed, queue, group))
        finally:
            self._running.discard(item)
            self._finished += 1
            self._prefetcher.slot_freed()

    async def _settle(self, item: InFlight, executed: Executed, queue: QueueSettings, group: GroupSettings) -> None:
        try:
            await self._settler.settle(item.delivery, executed, queue, group)
        finally:
            item.settled = True
        self._note_outcome(item, executed, queue)
        if isinstance(executed.outcome, Dead) and executed.task is not None:
            await self._handlers.died(executed.task, executed.outcome.reason.value, executed.outcome.failure.message)

    def _is_running(self, delivery: Delivery) -> bool:
        """Whether this task was redelivered to the worker that runs it, as after NATS was away for long.

        The run then goes on under the new lease.
        """
        for item in (*self._running, *self._unsettled):
            if item.delivery.sequence == delivery.sequence and item.delivery.stream == delivery.stream:
                delivery.is_continued = True
                item.delivery = delivery
                return True
        return False

    async def _executed(self, item: InFlight, queue: QueueSettings, group: GroupSettings) -> Executed:
        """Its outcome, also if it was cancelled or the worker stops."""
        try:
            executed = await self._execute(item, queue, group)
        except asyncio.CancelledError:
            executed = Executed(HandBack(started=item.started), None)
        return _unless_cancelled(item, executed)

    async def _execute(self, item: InFlight, queue: QueueSettings, group: GroupSettings) -> Executed:
        if item.cancelled:
            return Executed(CANCELLED, None)
        if Header.RECURS in item.delivery.headers:
            ended = await Firings(self._broker, group.name).before_start(item.delivery)
            if ended is not None:
                return ended
        if must_claim(item.delivery, queue):
            return claiming(item.delivery)
        if is_replaceable(item.delivery) and (gone := await replaced_meanwhile(self._broker, item.delivery, queue)):
            return gone
        if self._throttle.is_closed or (self._limiter.limited and not await self._limiter.acquire()):
            return Executed(HAND_BACK, None)
        past = NO_PAST
        if item.delivery.deliveries > 1:
            past = await self._attempt_counts.past_of(item.delivery)
            item.delivery = self._attempt_counts.counted(item.delivery, past)
        if past.is_suspect:
            if past.crashes < policy_for(item.delivery, group, self._handlers).most_crashes:
                return await self._try_alone(item, group, past)
            return await self._handle(item, group, past)  # which dead-letters it
        if self._isolation.is_closed or self._throttle.is_closed:  # by now
            return Executed(HAND_BACK, None)
        self._isolation.begin()
        try:
            return await self._handle(item, group, past)
        finally:
            self._isolation.end()

    async def _try_alone(self, item: InFlight, group: GroupSettings, past: Past) -> Executed:
        """Run on trial a task that may have killed its worker."""
        attempt_counts, delivery = self._attempt_counts, item.delivery

        async def note(how: str, beside: int | None = None) -> None:
            await retry_forever(lambda: attempt_counts.note(item.delivery, how, beside=beside), "a task on trial")

        async def trial_over() -> None:
            if self._executors.concurrency > 1:  # otherwise it stays alone
                await note(TRIAL_OVER)

        async with self._isolation.alone(past.late, trial_over) as beside:
            if beside is None:
                return Executed(HandBack(_NEXT_TURN), None)
            log.warning(
                "a task was in flight in a worker that crashed: running it alone",
                extra={"queue": str(group.name.queue), "sequence": delivery.place, "crashes": past.crashes},
            )
            await note(TRIAL, beside)
            return await self._handle(item, group, past)

    async def _handle(self, item: InFlight, group: GroupSettings, past: Past) -> Executed:
        if not await may_start(self._broker, item.delivery, group):
            return expired(item.delivery)
        item.started, item.began = True, time.monotonic()
        return await execute(
            item.delivery,
            self._handlers,
            group,
            self._executors,
            lambda: item.cancelled or self._slots.is_stopping,
            self._ledger,
            self._tracing,
            past,
            self._broker.now,
        )

    def _look_again(self) -> None:
        self._prefetcher.wake()

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that this worker holds; False if it holds none of that id.

        A plain function's thread runs on.
        """
        item = self._find(task_id)
        if item is None:
            return False
        is_settled = item.runner is None and (item in self._running or item in self._unsettled)
        if not is_settled and not item.cancelled:
            item.cancelled = True
            if item.runner is not None:
                item.runner.cancel()
        return not is_settled

    def held(self, task_id: str) -> HeldTask | None:
        """What is known of a task that this worker holds; None if it holds none of that id."""
        item = self._find(task_id)
        if item is None or self._group is None:
            return None
        began_s = time.time() - (time.monotonic() - item.began) if item.started else 0.0
        return HeldTask(process_name(), self._group.name.name, attempt_of(item.delivery.headers), began_s)

    def _find(self, task_id: str) -> InFlight | None:
        for item in self._in_flight():
            delivery = item.delivery
            with contextlib.suppress(UndecodableTask):
                if decode_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream).id == task_id:
                    return item
        return None

    def _note_outcome(self, item: InFlight, executed: Executed, queue: QueueSettings) -> None:
        """Count it, and record it where the queue keeps a history."""
        now_s = self._broker.now().timestamp()
        self._measure(item.delivery, executed, queue, now_s)
        if self._encoder is not None:
            ran_s = executed.seconds or (time.monotonic() - item.began if item.started else 0.0)
            record = self._encoder.encode(executed, item.delivery, now_s, ran_s if _has_run(item, executed) else None)
            if record is not None:
                self._recorder.add(record)

    def _measure(self, delivery: Delivery, executed: Executed, queue: QueueSettings, now_s: float) -> None:
        waited = max(0.0, now_s - executed.seconds - delivery.stored_ns / 1e9)
        outcome = executed.outcome
        self._metrics.finished(
            executed.task.type if executed.task else "", type(outcome).__name__, executed.seconds, waited
        )
        if delivery.deliveries > 1:
            self._metrics.redelivered += 1
        if isinstance(outcome, Dead):
            self._metrics.dead_lettered(outcome.reason.value)
            self._metrics.dropped += not queue.dead_letters

    async def _ticker(self) -> None:
        """Measure the pace, detect lost requests, and hand back tasks that have waited for a slot too long."""
        before, then = self._finished, time.monotonic()
        watch = LoopWatch(TICK_S)
        while True:
            await asyncio.sleep(TICK_S)
            watch.turned(self._lease_s(), self.running)
            now = time.monotonic()
            pace = (self._finished - before) / (now - then)
            before, then = self._finished, now
            self._prefetcher.tick(pace)
            self._metrics.running, self._metrics.unsettled = self.running, len(self._unsettled)
            self._metrics.records, self._metrics.dropped_records = self._recorder.written, self._recorder.dropped
            self._metrics.limited_s, self._metrics.held_back_s = self._limiter.waited_s, self._limiter.held_back_s
            is_closed = self._isolation.is_closed or self._throttle.is_throttled
            await self._return_fetched(older_than=0 if is_closed else HOLD_S)

    async def _return_fetched(self, older_than: float) -> None:
        queue, group = self._queue, self._group
        if queue is None or group is None:
            return
        late = [
            item
            for item in self._prefetcher.buffer.expire(time.monotonic() - older_than)
            if item.delivery.deliveries == 1 or not self._is_running(item.delivery)
        ]

        async def give_back(item: InFlight) -> None:
            executed = _unless_cancelled(item, Executed(HAND_BACK, None))
            await self._settler.settle(item.delivery, executed, queue, group)
            if item.cancelled:
                self._note_outcome(item, executed, queue)

        await asyncio.gather(*map(give_back, late))

    def _in_flight(self) -> tuple[InFlight, ...]:
        return (*self._running, *self._unsettled, *self._prefetcher.buffer)

    def _lease_s(self) -> float:
        return self._group.visibility_s if self._group else 1.0


def _has_run(item: InFlight, executed: Executed) -> bool:
    """Whether a handler ran: not if the task was already dead on arrival."""
    return item.started and not (isinstance(executed.outcome, Dead) and executed.error is None)


def _unless_cancelled(item: InFlight, executed: Executed) -> Executed:
    """A cancelled task has ended, whatever its handler did upon the cancellation."""
    if not item.cancelled:
        return executed
    return executed if isinstance(executed.outcome, Done) else Executed(CANCELLED, executed.task, executed.seconds)

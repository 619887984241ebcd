"""Looks at the backlog of every queue, and tells the scaler and the statuses.

`STREAM.LIST` pages find the streams that hold anything; only of those the consumers are asked, every second. Where
there are so many streams that a sweep over all of them takes long, sweeps come less often.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import ceil

from protoqueue.naming import SCHEDULED_CONSUMER, QueueName
from protoqueue_operator.core.load import (
    NO_STREAM,
    NOTHING,
    ConsumerState,
    Sample,
    StreamState,
    age_seconds,
    consumer_state,
    group_state,
    load_of,
    measure,
    stream_state,
)
from protoqueue_operator.core.refusals import BrokerRefused, BrokerUnavailable
from protoqueue_operator.core.resources import Group, Key, Queue
from protoqueue_operator.core.status import oldest_age, tasks
from protoqueue_operator.reconcile.brokers import Broker
from protoqueue_operator.reconcile.drift import DriftWatch
from protoqueue_operator.reconcile.runtime import GroupState, Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.waking import Alarms

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
_SWEEP_SHARE = 20
_LONGEST_PAUSE_S = 5.0
"""A sweep may take one twentieth of the time, so that with thousands of streams the load stays low, within bounds."""

_QUEUES_AT_ONCE = 16
_EVERYBODY_S = 240.0
"""Within this time the consumers of every queue, also of an idle one, were looked at."""

_WAKE_LOOKS_S = (0.0, 0.02, 0.1, 0.3)
"""When to look after a first publish was heard: it may be heard before it is stored."""


class Sampler:
    """Of one broker: while one NATS is away, the queues of another are looked at as ever."""

    def __init__(self, runtime: Runtime, scaler: Scaler, broker: Broker, look_again: Callable[[Key], None]) -> None:
        """`look_again` is told of queues whose assets somebody else has changed."""
        self._runtime = runtime
        self._scaler = scaler
        self._broker = broker
        self._jetstream = broker.jetstream
        self._alarms = Alarms(broker.connection, self._rung)
        self._drift = DriftWatch(runtime, broker, look_again)
        self._turn = 0
        self._streams: dict[str, StreamState] = {}
        self._scheduled: dict[QueueName, tuple[StreamState, int]] = {}
        self._active: set[Key] = set()
        self._quiet: dict[Key, object] = {}
        self._told: dict[Key, object] = {}
        self._next_sweep = 0.0
        self._is_blind = False
        self._waking: set[asyncio.Task[None]] = set()
        self.sampled_at = time.monotonic()
        """When the last round ended, well or badly, in monotonic seconds: what liveness goes by."""

    async def run(self) -> None:
        """Sample until cancelled; what goes wrong in one round does not end the next."""
        try:
            while True:
                started = time.monotonic()
                await self._round_or_say_why()
                self.sampled_at = time.monotonic()
                await asyncio.sleep(max(0.05, INTERVAL_S - (self.sampled_at - started)))
        finally:
            for task in self._waking:
                task.cancel()

    async def _round_or_say_why(self) -> None:
        try:
            await self._round()
            self._is_blind = False
        except BrokerUnavailable as error:
            await self._go_blind(error)
        except Exception:
            logger.exception("sampling failed; it will be tried again")

    async def _round(self) -> None:
        """On a sweep every queue, else those with work."""
        queues = self._queues()
        await self._drift.listen()
        swept = time.monotonic() >= self._next_sweep
        if swept:
            await self._sweep(queues)
        keys = [key for key in (queues if swept else self._active) if key in queues and not self._is_quiet(key)]
        in_turn = self._whose_turn(list(queues))
        slots = asyncio.Semaphore(_QUEUES_AT_ONCE)

        async def look(key: Key) -> None:
            async with slots:
                if queue := queues.get(key):
                    await self._look_at(queue, closely=key in in_turn)

        await asyncio.gather(*(look(key) for key in {*keys, *in_turn}))
        if swept:
            self._active &= queues.keys()
            await self._forget_others({queue.name for queue in queues.values()})

    async def _forget_others(self, names: set[QueueName]) -> None:
        """What is kept of queues and groups that are gone, or held elsewhere, goes."""
        for name in self._alarms.queues() - names:
            await self._alarms.clear(name)
        for key in [key for key in self._quiet if QueueName(key.namespace, key.name) not in names]:
            del self._quiet[key]
        for name in self._scheduled.keys() - names:
            del self._scheduled[name]
        for key in [key for key in self._told if self._runtime.cache.get(key) is None]:
            del self._told[key]

    def _is_quiet(self, key: Key) -> bool:
        """Whether an empty queue, with nothing left to decide, is as it was when it was last looked at."""
        name = QueueName(key.namespace, key.name)
        held = self._streams.get(name.stream)
        if held is None or held.messages or key in self._active:
            return False
        states = [
            self._runtime.state_of(group.meta.key, group.meta.uid) for group in self._runtime.cache.groups_of(key)
        ]
        if not all(state.established and (state.resting or not state.established.spec.autoscale) for state in states):
            return False
        others = (self._streams.get(name.later_stream), self._streams.get(name.dead_letter_stream))
        now = (held, *others, name in self._alarms, *((state.uid, state.established) for state in states))
        before, self._quiet[key] = self._quiet.get(key), now
        return before == now

    def _queues(self) -> dict[Key, Queue]:
        queues = self._runtime.cache.queues
        return {key: queues[key] for key in self._runtime.brokers.queues_of(self._broker) if key in queues}

    def _whose_turn(self, keys: list[Key]) -> set[Key]:
        """A few at a time, so that each queue's consumers are looked at now and then although it is idle."""
        count = ceil(len(keys) * INTERVAL_S / _EVERYBODY_S)
        start, self._turn = self._turn, self._turn + count
        if self._turn >= len(keys):
            self._turn = 0
        return set(keys[start : start + count])

    async def _sweep(self, keys: Iterable[Key]) -> None:
        started = time.monotonic()
        streams, configs, comparing = {}, {}, self._drift.streams_are_due()
        async for info in self._jetstream.streams():
            config = info["config"]
            streams[config["name"]] = stream_state(info)
            if comparing:
                configs[config["name"]] = config
        self._streams = streams
        if comparing:
            self._drift.compare_streams(keys, configs)
        pause_s = min(_LONGEST_PAUSE_S, _SWEEP_SHARE * (time.monotonic() - started))
        self._next_sweep = started + max(INTERVAL_S * 0.9, pause_s)

    async def _look_at(self, queue: Queue, *, closely: bool) -> None:
        try:
            sample = await self._sample(queue, closely=closely)
        except BrokerRefused as error:
            logger.warning("queue not sampled: object=%s error=%s", queue.meta.key, error)
            return
        await self._conclude(queue, sample)

    async def _sample(self, queue: Queue, *, closely: bool) -> Sample:
        """Asks for consumers only where the stream holds something, or `closely`."""
        name = queue.name
        seen = self._streams.get
        held = seen(name.stream)
        consumers = None
        if closely or (held and held.messages) or queue.meta.key in self._active:
            infos = await self._jetstream.consumers(name.stream)
            consumers = {info["name"]: consumer_state(info) for info in infos or ()}
            self._drift.compare_consumers(queue, infos or ())
        later = seen(name.later_stream, NO_STREAM)
        return Sample(held, seen(name.dead_letter_stream, NO_STREAM), await self._count(name, later), consumers)

    async def _count(self, name: QueueName, later: StreamState) -> int:
        """Tasks not yet due; asked again only when the stream has moved."""
        if not later.messages:
            return 0
        before = self._scheduled.get(name)
        if before and before[0] == later:
            return before[1]
        info = await self._jetstream.consumer(name.later_stream, SCHEDULED_CONSUMER)
        count: int = info["num_pending"] if info else 0
        self._scheduled[name] = (later, count)
        return count

    async def _conclude(self, queue: Queue, sample: Sample) -> bool:
        """Tell the statuses and the scaler; returns whether any group has something to do."""
        groups = self._runtime.cache.groups_of(queue.meta.key)
        states = [(group, self._runtime.state_of(group.meta.key, group.meta.uid)) for group in groups]
        totals = [await self._conclude_group(group, state, sample) for group, state in states]
        known = [total for total in totals if total is not None]
        works = any(total.pending or total.in_flight for total in known)
        if works:
            self._active.add(queue.meta.key)
        else:
            self._active.discard(queue.meta.key)
        self._tell_queue(queue, sample, known)
        await self._set_alarm(queue, states)
        return works

    async def _conclude_group(self, group: Group, state: GroupState, sample: Sample) -> ConsumerState | None:
        established = state.established
        if established is None:
            return None
        if sample.consumers is not None:
            total = group_state((consumer.name for consumer in established.consumers), sample.consumers)
        else:
            total = NOTHING if sample.tasks else None
        if total is not None:
            self._tell(group, (total.pending, total.in_flight), {"tasks": tasks(total.pending, total.in_flight)})
        if established.spec.worker and established.spec.autoscale:
            await self._scale(group, state, sample, total)
        return total

    async def _scale(self, group: Group, state: GroupState, sample: Sample, total: ConsumerState | None) -> None:
        assert state.established
        assert state.established.spec.autoscale
        if total is None:
            await self._scaler.settle(group, None)
            return
        idle = not (total.pending or total.in_flight)
        if idle and state.resting:
            return
        size = self._scaler.known_size(group, state)
        if sample.consumers is not None:
            state.rates = measure(state.rates, total, size.observed if size else 0, time.monotonic())
        load = load_of(total, state.rates, paused=state.established.paused)
        wanted = await self._scaler.settle(group, load)
        state.resting = idle and wanted == state.established.spec.autoscale.min_replicas

    def _tell_queue(self, queue: Queue, sample: Sample, known: list[ConsumerState]) -> None:
        """Without groups everything in the stream waits; of a stream that is not there nothing is known."""
        stored = sample.tasks
        if stored is None:
            return
        in_flight = sum(total.in_flight for total in known)
        waiting = sum(total.pending for total in known) if known else stored.messages
        counts = (waiting, in_flight, sample.scheduled, sample.dead.messages)
        age = age_seconds(stored.first_at, self._runtime.now()) if waiting and stored.messages else None
        self._tell(queue, (*counts, age), {"tasks": tasks(*counts), "oldestTaskAge": oldest_age(age)})

    def _tell(self, resource: Queue | Group, numbers: object, fields: dict[str, object]) -> None:
        """Say what has changed since it was last said; the first word at once."""
        told = (resource.meta.uid, numbers)
        if self._told.get(resource.meta.key) != told:
            self._told[resource.meta.key] = told
            self._runtime.reporter.report(resource, fields, urgent=resource.status.tasks is None)

    async def _set_alarm(self, queue: Queue, states: Iterable[tuple[Group, GroupState]]) -> None:
        if not any(self._sleeps(group, state) for group, state in states):
            await self._alarms.clear(queue.name)
        elif await self._alarms.arm(queue.name):
            # What was published a moment before the alarm was set is found by looking once more.
            self._active.add(queue.meta.key)

    def _sleeps(self, group: Group, state: GroupState) -> bool:
        established = state.established
        if not established or not established.spec.autoscale or established.paused:
            return False
        size = self._scaler.known_size(group, state)
        return size is not None and size.wanted == 0

    def _rung(self, name: QueueName) -> None:
        task = asyncio.create_task(self._wake(name), name=f"wake {name}")
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _wake(self, name: QueueName) -> None:
        with suppress(BrokerUnavailable, BrokerRefused):
            for delay_s in _WAKE_LOOKS_S:
                await asyncio.sleep(delay_s)
                queue = self._queues().get(Key("Queue", name.namespace, name.name))
                if queue is None or await self._conclude(queue, await self._sample(queue, closely=True)):
                    return

    async def _go_blind(self, error: BrokerUnavailable) -> None:
        """Once per outage: every size is held, and says why."""
        if self._is_blind:
            return
        self._is_blind = True
        logger.warning("backlogs unknown: error=%s; every group keeps its size", error)
        for group in [group for key in self._queues() for group in self._runtime.cache.groups_of(key)]:
            state = self._runtime.state_of(group.meta.key, group.meta.uid)
            state.resting = False
            if state.established and state.established.spec.autoscale:
                await self._scaler.settle(group, None)

"""Samples the backlog of every queue in time.

Each queue with work has its slot within a round, so that requests are spread evenly. Sweeps over all streams run
concurrently; if there are so many that one takes long, they run less often.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import ceil

from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable, Unanswered
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.autoscaling.activation import Activation
from protoqueue_operator.autoscaling.backlog import Backlogs
from protoqueue_operator.autoscaling.evaluation import Evaluation
from protoqueue_operator.autoscaling.executor import Executor
from protoqueue_operator.autoscaling.state import GroupStates
from protoqueue_operator.jetstream.broker import Broker, Brokers
from protoqueue_operator.jetstream.drift import DriftWatch
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.runtime.cache import Index
from protoqueue_operator.timeseries.recorder import Recorder

logger = logging.getLogger(__name__)

ROUND_S = 0.8
"""Each queue with work is sampled once in this time, so that even a delayed sample is not older than 1 s."""
_TICKS = 8
"""Slots in a round."""

SWEEP_INTERVAL_S = 1.0
_SWEEP_SHARE = 20
_LONGEST_PAUSE_S = 5.0
"""Sweeps may take one twentieth of the time, within bounds, so that the load stays low with thousands of streams."""

_FOUND_AT_ONCE = 16
"""How many of the queues that a sweep found changed are read at once."""

_EVERYBODY_S = 240.0
"""Within this time the consumers of every queue are read, even of an idle one."""


class Sampler:
    """The sampler of one broker: while one NATS is away, the queues of others are sampled as usual."""

    def __init__(
        self,
        broker: Broker,
        brokers: Brokers,
        queues: Mapping[Key, Queue],
        groups_of: Index[Group, Key],
        states: GroupStates,
        executor: Executor,
        drift: DriftWatch,
        layout: Callable[[Key], Layout | None],
        is_redriven: Callable[[Key], bool],
        evaluation: Callable[[Activation], Evaluation],
        recorder: Recorder,
        swept: Callable[[], None],
    ) -> None:
        """`layout` is asked in which streams a queue's tasks lie, and `swept` called after each sweep.

        `is_redriven`: whether Redrives may have stored something in the streams of a queue.
        """
        self._broker = broker
        self._brokers = brokers
        self._cached_queues = queues
        self._groups_of = groups_of
        self._states = states
        self._executor = executor
        self._swept = swept
        self._activation = Activation(broker.connection, self._look_closely_at, self._start)
        self._backlogs = Backlogs(broker.jetstream, drift, layout, is_redriven)
        self._evaluation = evaluation(self._activation)
        self._recorder = recorder
        self._quiet: dict[Key, object] = {}
        self._unsampled: set[Key] = set()
        """Queues whose failed samples were logged."""
        self._ticks = 0
        self._turn = 0
        self._next_sweep = 0.0
        self._is_blind = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: dict[Key | None, float] = {}
        """Since when a queue is being read, or (None) a sweep is running."""
        self._ticked_at = self._swept_at = time.monotonic()

    @property
    def sampled_at(self) -> float:
        """When the oldest pending read started, in monotonic seconds, for liveness.

        Failed ones count too: they are retried.
        """
        return min(self._ticked_at, self._swept_at, *self._begun.values())

    async def run(self) -> None:
        """Sample until cancelled; a failed read does not affect the next one."""
        due = time.monotonic()
        recording = asyncio.create_task(self._recorder.run(), name="samples")
        try:
            while True:
                self._tick()
                now = self._ticked_at = time.monotonic()
                # Delays are caught up with, so that each queue's pace stays even; but only within limits.
                due = due + ROUND_S / _TICKS if now - due < ROUND_S else now
                await asyncio.sleep(max(0.0, due - now))
        finally:
            self._activation.close()
            for task in (recording, *self._tasks):
                task.cancel()

    def _tick(self) -> None:
        """Start what is due without waiting for it: one slow answer delays no other."""
        if time.monotonic() >= self._next_sweep and None not in self._begun:
            self._begin(None, self._sweep)
        if self._is_blind:  # a sweep will show when NATS is back
            return
        moment = self._ticks % _TICKS
        self._ticks += 1
        due = [key for key in self._evaluation.active if hash(key) % _TICKS == moment]
        if moment == 0:
            due += self._whose_turn()
        for key in due:
            if key not in self._begun:
                self._begin(key, partial(self._look_at, key, closely=True))

    def _whose_turn(self) -> list[Key]:
        """A few at a time, so that each queue's consumers are read periodically even while it is idle."""
        keys = list(self._queues())
        start, count = self._turn, ceil(len(keys) * ROUND_S / _EVERYBODY_S)
        self._turn = start + count if start + count < len(keys) else 0
        return keys[start : start + count]

    def _begin(self, what: Key | None, work: Callable[[], Awaitable[object]]) -> None:
        self._begun[what] = time.monotonic()
        self._start(work).add_done_callback(lambda _: self._begun.pop(what))

    def _start(self, work: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._saying_why(work), name="sampling")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _saying_why(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except BrokerUnavailable as error:
            await self._go_blind(error)
        except Exception:
            logger.exception("sampling failed; retrying")

    async def _sweep(self) -> None:
        """Read all streams, and then the queues that have changed in detail."""
        started, queues = time.monotonic(), self._queues()
        self._next_sweep = started + SWEEP_INTERVAL_S
        try:
            await self._backlogs.sweep(queues)
            self._is_blind = False
            pause_s = min(_LONGEST_PAUSE_S, _SWEEP_SHARE * (time.monotonic() - started))
            self._next_sweep = started + max(SWEEP_INTERVAL_S, pause_s)
            slots = asyncio.Semaphore(_FOUND_AT_ONCE)

            async def look(key: Key) -> None:
                async with slots:
                    await self._look_at(key)

            found = [key for key in queues if key not in self._evaluation.active and not self._is_quiet(key)]
            await asyncio.gather(*(look(key) for key in found))
            await self._forget_others(queues)
            self._recorder.swept()
            self._swept()
        finally:
            self._swept_at = time.monotonic()

    async def _forget_others(self, queues: dict[Key, Queue]) -> None:
        """Forget queues and groups that are gone or live elsewhere."""
        await self._activation.disarm_others({queue.name for queue in queues.values()})
        for key in self._quiet.keys() - queues.keys():
            del self._quiet[key]
        self._unsampled.intersection_update(queues)
        self._backlogs.forget_others(queues.keys())
        self._evaluation.forget_others(queues)

    def _is_quiet(self, key: Key) -> bool:
        """Whether a queue with nothing due, and nothing left to decide, is unchanged since it was last read."""
        queue = self._queue(key)
        if queue is None or not self._backlogs.is_resting(queue):
            return False
        states = [self._states.of(group) for group in self._groups_of.get(key)]
        if not all(
            each.last_applied and each.is_counted and (each.is_settled or not each.last_applied.spec.autoscale)
            for each in states
        ):
            return False
        stored, is_armed = self._backlogs.stored(queue), self._activation.is_armed(queue.name)
        now = (*stored, is_armed, *((state.uid, state.last_applied) for state in states))
        before, self._quiet[key] = self._quiet.get(key), now
        return before == now

    def _queues(self) -> dict[Key, Queue]:
        queues = self._cached_queues
        return {key: queues[key] for key in self._brokers.queues_of(self._broker) if key in queues}

    def _queue(self, key: Key) -> Queue | None:
        """None if it is gone or lives elsewhere."""
        return self._cached_queues.get(key) if self._brokers.known(key) is self._broker else None

    async def _look_at(self, key: Key, *, closely: bool = False) -> bool:
        """Returns whether any of the queue's groups has work. Raises BrokerUnavailable."""
        queue = self._queue(key)
        if queue is None:
            return False
        states = [self._states.of(group) for group in self._groups_of.get(key)]
        is_new = any(state.last_applied and not state.is_counted for state in states)
        try:
            sample = await self._backlogs.sample(queue, closely=closely or is_new)
        except (BrokerRefused, Unanswered) as error:  # of this queue only
            if key not in self._unsampled:
                logger.warning("queue not sampled: object=%s error=%s; its groups keep their size", key, error)
            self._unsampled.add(key)
            await self._hold(key)
            return False
        self._unsampled.discard(key)
        return sample is not None and await self._evaluation.evaluate(queue, sample)

    async def _look_closely_at(self, name: QueueName) -> bool:
        return await self._look_at(Key("Queue", name.namespace, name.name), closely=True)

    async def _go_blind(self, error: BrokerUnavailable) -> None:
        """Every size is kept, with the reason: once per outage, and at each try where a group has a fallback."""
        if self._is_blind:
            for key in list(self._queues()):
                if self._falls_back(key):
                    await self._hold(key)
            return
        self._is_blind, self._next_sweep = True, 0.0
        logger.warning("backlogs unknown: error=%s; every group keeps its size", error)
        for key in list(self._queues()):
            await self._hold(key)

    def _falls_back(self, key: Key) -> bool:
        """Whether a group of the queue is to have another size once its backlog has been unknown for a while."""
        applied = (self._states.of(group).last_applied for group in self._groups_of.get(key))
        return any(each and each.spec.autoscale and each.spec.autoscale.fallback for each in applied)

    async def _hold(self, key: Key) -> None:
        """Set the status of the queue's groups to an unknown backlog."""
        if queue := self._queue(key):
            self._recorder.lose_sight(queue)
        for group in self._groups_of.get(key):
            state = self._states.of(group)
            state.is_settled = False
            if state.last_applied and state.last_applied.spec.autoscale:
                await self._executor.scale(group, None)

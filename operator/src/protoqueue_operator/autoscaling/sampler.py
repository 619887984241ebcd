"""Sees to it that the backlog of every queue is looked at in time.

Each queue with work has its moment within a round: it is asked for at an even pace, and not all of them at once. Sweeps
over all streams go on beside that; where there are so many that one takes long, they come less often.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil

from protoqueue.naming import QueueName
from protoqueue_operator.core.refusals import BrokerRefused, BrokerUnavailable, Unanswered
from protoqueue_operator.core.resources import Key, Queue
from protoqueue_operator.reconcile.backlogs import Backlogs
from protoqueue_operator.reconcile.brokers import Broker
from protoqueue_operator.reconcile.concluding import Conclusions
from protoqueue_operator.reconcile.drift import DriftWatch
from protoqueue_operator.reconcile.runtime import Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.waking import Alarms

logger = logging.getLogger(__name__)

ROUND_S = 0.8
"""Each queue with work is looked at once in this time: what holds a look up still leaves no sample older than 1 s."""
_TICKS = 8
"""Moments in a round."""

SWEEP_INTERVAL_S = 1.0
_SWEEP_SHARE = 20
_LONGEST_PAUSE_S = 5.0
"""A sweep may take one twentieth of the time, so that with thousands of streams the load stays low, within bounds."""

_FOUND_AT_ONCE = 16
"""How many of the queues that a sweep found changed are looked at together."""

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
        self._alarms = Alarms(broker.connection, self._rung)
        self._backlogs = Backlogs(broker.jetstream, DriftWatch(runtime, broker, look_again))
        self._conclusions = Conclusions(runtime, scaler, self._alarms)
        self._quiet: dict[Key, object] = {}
        self._unsampled: set[Key] = set()
        """Of these it was said that they could not be looked at."""
        self._ticks = 0
        self._turn = 0
        self._next_sweep = 0.0
        self._is_blind = False
        self._is_over = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking: set[Key] = set()
        self._begun: dict[Key | None, float] = {}
        """Since when a queue is being looked at, or (None) a sweep is under way."""
        self._ticked_at = self._swept_at = time.monotonic()

    @property
    def sampled_at(self) -> float:
        """How far back the oldest look reaches, in monotonic seconds: what liveness goes by.

        What ended badly counts too: it will be tried again.
        """
        return min(self._ticked_at, self._swept_at, *self._begun.values())

    async def run(self) -> None:
        """Sample until cancelled; what goes wrong with one look does not end the next."""
        due = time.monotonic()
        try:
            while True:
                self._tick()
                now = self._ticked_at = time.monotonic()
                # What comes late is caught up with, so that the pace of each queue stays even; but not for ever.
                due = due + ROUND_S / _TICKS if now - due < ROUND_S else now
                await asyncio.sleep(max(0.0, due - now))
        finally:
            self._is_over = True
            for task in self._tasks:
                task.cancel()

    def _tick(self) -> None:
        """Begin what is due. Nothing is waited for: one slow answer keeps nobody else waiting."""
        if time.monotonic() >= self._next_sweep and None not in self._begun:
            self._begin(None, self._sweep)
        if self._is_blind:  # a sweep will tell when NATS is back
            return
        moment = self._ticks % _TICKS
        self._ticks += 1
        due = [key for key in self._conclusions.active if hash(key) % _TICKS == moment]
        if moment == 0:
            due += self._whose_turn()
        for key in due:
            if key not in self._begun:
                self._begin(key, partial(self._look_at, key, closely=True))

    def _whose_turn(self) -> list[Key]:
        """A few at a time, so that each queue's consumers are looked at now and then although it is idle."""
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
            logger.exception("sampling failed; it will be tried again")

    async def _sweep(self) -> None:
        """Look at everything, and closer at the queues that are not as they were."""
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

            found = [key for key in queues if key not in self._conclusions.active and not self._is_quiet(key)]
            await asyncio.gather(*(look(key) for key in found))
            await self._forget_others(queues)
            self._runtime.tenure.told(len(self._runtime.cache))
        finally:
            self._swept_at = time.monotonic()

    async def _forget_others(self, queues: dict[Key, Queue]) -> None:
        """What is kept of queues and groups that are gone, or held elsewhere, goes."""
        names = {queue.name for queue in queues.values()}
        for name in self._alarms.queues() - names:
            await self._alarms.clear(name)
        for key in self._quiet.keys() - queues.keys():
            del self._quiet[key]
        self._unsampled.intersection_update(queues)
        self._backlogs.forget_others(queues.keys())
        self._conclusions.forget_others(queues)

    def _is_quiet(self, key: Key) -> bool:
        """Whether an empty queue, with nothing left to decide, is as it was when it was last looked at."""
        name = QueueName(key.namespace, key.name)
        stored = self._backlogs.stored(name)
        if stored[0] is None or stored[0].messages:
            return False
        states = [
            self._runtime.state_of(group.meta.key, group.meta.uid) for group in self._runtime.cache.groups_of(key)
        ]
        if not all(state.established and (state.resting or not state.established.spec.autoscale) for state in states):
            return False
        now = (*stored, name in self._alarms, *((state.uid, state.established) for state in states))
        before, self._quiet[key] = self._quiet.get(key), now
        return before == now

    def _queues(self) -> dict[Key, Queue]:
        queues = self._runtime.cache.queues
        return {key: queues[key] for key in self._runtime.brokers.queues_of(self._broker) if key in queues}

    def _queue(self, key: Key) -> Queue | None:
        """None where it is gone, or held elsewhere."""
        return self._runtime.cache.queues.get(key) if self._runtime.brokers.known(key) is self._broker else None

    async def _look_at(self, key: Key, *, closely: bool = False) -> bool:
        """Returns whether any of the queue's groups has something to do. Raises BrokerUnavailable."""
        queue = self._queue(key)
        if queue is None:
            return False
        try:
            sample = await self._backlogs.sample(queue, closely=closely)
        except (BrokerRefused, Unanswered) as error:  # of this queue alone
            if key not in self._unsampled:
                logger.warning("queue not sampled: object=%s error=%s; its groups keep their size", key, error)
            self._unsampled.add(key)
            await self._hold(key)
            return False
        self._unsampled.discard(key)
        return sample is not None and await self._conclusions.draw(queue, sample)

    def _rung(self, name: QueueName) -> None:
        """What is heard while the queue is being woken is seen by the looks to come, or by those of the next round.

        Not all that is published is stored, a duplicate for one, and then the alarm rings again and again.
        """
        key = Key("Queue", name.namespace, name.name)
        if key not in self._waking and not self._is_over:  # alarms last as long as the connection
            self._waking.add(key)
            self._start(partial(self._wake, key)).add_done_callback(lambda _: self._waking.discard(key))

    async def _wake(self, key: Key) -> None:
        for delay_s in _WAKE_LOOKS_S:
            await asyncio.sleep(delay_s)
            if await self._look_at(key, closely=True):
                return

    async def _go_blind(self, error: BrokerUnavailable) -> None:
        """Once per outage: every size is held, and says why."""
        if self._is_blind:
            return
        self._is_blind, self._next_sweep = True, 0.0
        logger.warning("backlogs unknown: error=%s; every group keeps its size", error)
        for key in list(self._queues()):
            await self._hold(key)

    async def _hold(self, key: Key) -> None:
        """Let the queue's groups say that their backlog is unknown."""
        for group in self._runtime.cache.groups_of(key):
            state = self._runtime.state_of(group.meta.key, group.meta.uid)
            state.resting = False
            if state.established and state.established.spec.autoscale:
                await self._scaler.settle(group, None)

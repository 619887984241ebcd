"""What follows from a sample: the statuses are told, the scaler decides, and a sleeping queue gets its alarm."""

import time
from collections.abc import Iterable

from protoqueue_operator.core.load import NOTHING, ConsumerState, Sample, age_seconds, group_state, load_of, measure
from protoqueue_operator.core.resources import Group, Key, Queue
from protoqueue_operator.core.status import oldest_age, tasks
from protoqueue_operator.reconcile.runtime import GroupState, Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.waking import Alarms


class Conclusions:
    """`active` holds the queues that have work, or had a moment ago: those are to be sampled all the time."""

    def __init__(self, runtime: Runtime, scaler: Scaler, alarms: Alarms) -> None:
        self._runtime = runtime
        self._scaler = scaler
        self._alarms = alarms
        self._told: dict[Key, object] = {}
        self.active: set[Key] = set()

    async def draw(self, queue: Queue, sample: Sample) -> bool:
        """Tell the statuses and the scaler; returns whether any group has something to do. Raises BrokerUnavailable."""
        groups = self._runtime.cache.groups_of(queue.meta.key)
        states = [(group, self._runtime.state_of(group.meta.key, group.meta.uid)) for group in groups]
        totals = [await self._of_group(group, state, sample) for group, state in states]
        known = [total for total in totals if total is not None]
        works = any(total.pending or total.in_flight for total in known)
        if works:
            self.active.add(queue.meta.key)
        else:
            self.active.discard(queue.meta.key)
        self._tell_queue(queue, sample, known)
        await self._set_alarm(queue, states)
        return works

    def forget_others(self, queues: Iterable[Key]) -> None:
        """What is kept of queues and groups that are gone, or held elsewhere, goes."""
        self.active.intersection_update(queues)
        for key in [key for key in self._told if self._runtime.cache.get(key) is None]:
            del self._told[key]
        groups = self._runtime.groups
        for key in groups.keys() - self._runtime.cache.groups.keys():
            del groups[key]

    async def _of_group(self, group: Group, state: GroupState, sample: Sample) -> ConsumerState | None:
        established = state.established
        if established is None:
            return None
        if sample.consumers is not None:
            total = group_state((consumer.name for consumer in established.consumers), sample.consumers)
        else:
            total = NOTHING if sample.tasks else None
        if established.spec.worker and established.spec.autoscale:
            await self._scale(group, state, sample, total)
        if total is not None:
            self._tell(group, (total.pending, total.in_flight), {"tasks": tasks(total.pending, total.in_flight)})
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
        state.resting = idle and wanted == state.established.spec.autoscale.min_replicas and state.resized is None

    def _tell_queue(self, queue: Queue, sample: Sample, known: list[ConsumerState]) -> None:
        """Without groups everything in the stream waits; of a stream that is not there nothing is known.

        What nobody tells of is as it was last told.
        """
        stored, last = sample.tasks, queue.status.tasks
        scheduled = last.scheduled if sample.scheduled is None and last else sample.scheduled
        dead = last.dead if sample.dead is None and last else sample.dead
        if stored is None or scheduled is None or dead is None:
            return
        in_flight = sum(total.in_flight for total in known)
        waiting = sum(total.pending for total in known) if known else stored.messages
        counts = (waiting, in_flight, scheduled, dead)
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
            self.active.add(queue.meta.key)

    def _sleeps(self, group: Group, state: GroupState) -> bool:
        established = state.established
        if not established or not established.spec.autoscale or established.paused:
            return False
        size = self._scaler.known_size(group, state)
        return size is not None and size.wanted == 0

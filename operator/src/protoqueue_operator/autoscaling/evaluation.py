"""Acting on a sample: writing statuses, scaling groups, and listening to queues at zero."""

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping

from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.status import tasks
from protoqueue_operator.autoscaling.activation import Activation
from protoqueue_operator.autoscaling.backlog_conditions import full_condition, stranded_condition
from protoqueue_operator.autoscaling.executor import Executor
from protoqueue_operator.autoscaling.load import (
    NOTHING,
    ConsumerState,
    Sample,
    backlog_of,
    first_moment,
    has_work,
    measure,
    seconds,
)
from protoqueue_operator.autoscaling.state import GroupState, GroupStates
from protoqueue_operator.autoscaling.throttles import Throttles, throttled_condition
from protoqueue_operator.autoscaling.worker_health import WorkerHealth
from protoqueue_operator.runtime.cache import Index
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.timeseries.recorder import Recorder
from protoqueue_operator.timeseries.series import Counts, Progress


class Evaluation:
    """`active` holds the queues that have work, or had recently: those are sampled continuously."""

    def __init__(
        self,
        groups_of: Index[Group, Key],
        states: GroupStates,
        executor: Executor,
        health: WorkerHealth,
        activation: Activation,
        throttles: Throttles,
        status: StatusWriter,
        recorder: Recorder,
        stored: MutableMapping[Key, int],
        monotonic: Callable[[], float],
    ) -> None:
        """`stored` receives, for each queue, how many tasks have ever been stored in its stream."""
        self._groups_of = groups_of
        self._states = states
        self._executor = executor
        self._health = health
        self._activation = activation
        self._throttles = throttles
        throttles.on_told(lambda queue: self.active.add(Key("Queue", queue.namespace, queue.name)))
        self._status = status
        self._recorder = recorder
        self._stored = stored
        self._monotonic = monotonic
        self._told: dict[Key, object] = {}
        self.active: set[Key] = set()

    async def evaluate(self, queue: Queue, sample: Sample) -> bool:
        """Write the statuses and scale; returns whether any group has something to do. Raises BrokerUnavailable."""
        groups = self._groups_of.get(queue.meta.key)
        states = [(group, self._states.of(group)) for group in groups]
        totals = [await self._of_group(group, state, sample) for group, state in states]
        known = [total for total in totals if total is not None]
        works = any(total.pending or total.in_flight for total in known) or any(state.throttle for _, state in states)
        if works:
            self.active.add(queue.meta.key)
        else:
            self.active.discard(queue.meta.key)
        by_name = {group.meta.name: total for (group, _), total in zip(states, totals, strict=True) if total}
        is_told = self._tell_queue(queue, sample, by_name)
        for (_, state), total in zip(states, totals, strict=True):
            state.is_counted |= is_told and sample.consumers is not None and total is not None
        await self._arm(queue, states)
        return works

    def forget_others(self, queues: Collection[Key]) -> None:
        """Forget queues and groups that are gone or live elsewhere."""
        self.active.intersection_update(queues)
        self._throttles.forget_others({QueueName(key.namespace, key.name) for key in queues})
        kept = set(queues) | {group.meta.key for queue in queues for group in self._groups_of.get(queue)}
        for key in self._told.keys() - kept:
            del self._told[key]

    async def _of_group(self, group: Group, state: GroupState, sample: Sample) -> ConsumerState | None:
        applied = state.last_applied
        if applied is None:
            return None
        if sample.consumers is not None:
            total = backlog_of(applied.consumers, sample.consumers)
        else:
            total = NOTHING if sample.tasks else None
        await self._look_for_throttle(group, state, total)
        if applied.spec.worker:
            await self._look_after_workers(group, state, total)
        if applied.spec.worker and applied.spec.autoscale:
            await self._scale(group, state, sample, total)
        if total is not None:
            said = [condition for condition in [throttled_condition(group, state.throttle)] if condition]
            numbers = (total.pending, total.in_flight, *(each.message for each in said))
            self._tell(group, numbers, {"tasks": tasks(total.pending, total.in_flight)}, said)
        return total

    async def _look_for_throttle(self, group: Group, state: GroupState, total: ConsumerState | None) -> None:
        """Asks nothing about a group without work."""
        closely = total is not None and (has_work(total) or state.throttle is not None)
        state.throttle = await self._throttles.of(group.name, closely=closely)

    async def _look_after_workers(self, group: Group, state: GroupState, total: ConsumerState | None) -> None:
        assert state.last_applied
        size = self._executor.known_size(group, state)
        if total is None or size is None:
            return
        works = has_work(total) and not state.last_applied.paused
        if works:
            await self._health.count_available(group, state, size)
            size = self._executor.known_size(group, state) or size
        if works or state.failure:
            await self._health.check(group, state, size, works)

    async def _scale(self, group: Group, state: GroupState, sample: Sample, total: ConsumerState | None) -> None:
        assert state.last_applied
        assert state.last_applied.spec.autoscale
        if total is None:
            await self._executor.scale(group, None)
            return
        idle = not (total.pending or total.in_flight)
        is_active = self._take_in(group, state, sample, total)
        if idle and state.is_settled:
            return
        wanted = await self._executor.scale(group, self._executor.load(group, total, is_active=is_active))
        state.is_settled = idle and wanted == state.last_applied.spec.autoscale.min_replicas and state.resized is None

    def _take_in(self, group: Group, state: GroupState, sample: Sample, total: ConsumerState) -> bool:
        """Measure, and return whether a task arrived, started, or ended since the last sample.

        If consumers were not read, nothing has happened.
        """
        assert state.last_applied
        if sample.consumers is None:
            return False
        size = self._executor.known_size(group, state)
        is_kept = state.last_applied.paused or state.throttle is not None
        workers = size.ready if size and not is_kept else 0
        state.rates = measure(state.rates, total, workers, self._monotonic())
        return state.rates.has_moved

    def _tell_queue(self, queue: Queue, sample: Sample, groups: Mapping[str, ConsumerState]) -> bool:
        """Write the queue's counts and keep them as a sample; returns whether they are known.

        Without groups everything in the stream waits; without a stream nothing is known. Unknown counts keep their
        last value.
        """
        stored, last = sample.tasks, queue.status.tasks
        if stored is not None:
            self._stored[queue.meta.key] = stored.last_sequence
        scheduled = last.scheduled if sample.scheduled is None and last else sample.scheduled
        dead = last.dead if sample.dead is None and last else sample.dead
        if stored is None or scheduled is None or dead is None:
            return False
        in_flight = sum(total.in_flight for total in groups.values())
        waiting = sum(total.pending for total in groups.values()) if groups else stored.messages
        counts = (waiting, in_flight, scheduled, dead, sum(sample.stranded.values()))
        oldest = first_moment(stored.first_at) if waiting and stored.first_at else None
        oldest_at = seconds(stored.first_at) if (waiting or in_flight) and stored.first_at else None
        self._recorder.observe(
            queue,
            Counts(waiting, in_flight, scheduled, dead, oldest_at),
            None if sample.consumers is None else {name: _progress(total) for name, total in groups.items()},
        )
        conditions = [stranded_condition(queue, sample.stranded)]
        if isinstance(queue.spec, QueueSpec) and sample.limited:
            conditions.append(full_condition(queue, queue.spec, sample.limited, groups))
        said = [condition for condition in conditions if condition]
        numbers = (*counts, oldest, *((each.type, each.message) for each in said))
        self._tell(queue, numbers, {"tasks": tasks(*counts), "oldestTaskTime": oldest}, said)
        return True

    def _tell(
        self, resource: Queue | Group, numbers: object, fields: dict[str, object], said: Iterable[Condition] = ()
    ) -> None:
        """Write what has changed since the last write; the first status at once."""
        told = (resource.meta.uid, numbers)
        if self._told.get(resource.meta.key) != told:
            self._told[resource.meta.key] = told
            self._status.report(resource, fields, said, urgent=resource.status.tasks is None)

    async def _arm(self, queue: Queue, states: Iterable[tuple[Group, GroupState]]) -> None:
        if not any(self._sleeps(group, state) for group, state in states):
            await self._activation.disarm(queue.name)
        elif await self._activation.arm(queue.name):
            # A task published just before it listened is found by checking once more.
            self.active.add(queue.meta.key)

    def _sleeps(self, group: Group, state: GroupState) -> bool:
        applied = state.last_applied
        if not applied or not applied.spec.autoscale or applied.paused:
            return False
        size = self._executor.known_size(group, state)
        return size is not None and size.wanted == 0


def _progress(total: ConsumerState) -> Progress:
    return Progress(arrived=total.pending + total.delivered, ended=total.delivered - total.in_flight)

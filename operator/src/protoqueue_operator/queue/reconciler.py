"""Reconciles a Queue: its streams, its counting consumer and its entry in `pq-config`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from protoqueue.protocol.v1 import config_pb2 as pb
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable, LevelsGrowing, Refusal
from protoqueue_operator.api.v1alpha1.location import NatsLocation
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.status import Fields, is_ready, not_ready, noted, ready, tasks
from protoqueue_operator.api.v1alpha1.validation import check_reservation, valid_queue_spec
from protoqueue_operator.jetstream.apply import apply_config, read_config
from protoqueue_operator.jetstream.assets import Stream
from protoqueue_operator.jetstream.broker import Broker, Brokers
from protoqueue_operator.jetstream.diff import (
    Action,
    CreateStream,
    described,
)
from protoqueue_operator.jetstream.runtime_config import queue_config
from protoqueue_operator.nats.pool import CONNECTING_AGAIN_S
from protoqueue_operator.queue.clock_change import clock_change_notes
from protoqueue_operator.queue.dead_letter_target import DeadLetterTargets
from protoqueue_operator.queue.deletion import QueueDeletion
from protoqueue_operator.queue.queue_conditions import clock_change_conditions, loss_conditions, schedule_fields
from protoqueue_operator.queue.relocation import Relocation, location_of
from protoqueue_operator.queue.schedule_writer import apply_schedules, seconds_to_next_firing, zones_of
from protoqueue_operator.queue.schedules import next_firings
from protoqueue_operator.queue.state import QueueStates
from protoqueue_operator.queue.streams import QueueStreams
from protoqueue_operator.runtime.cache import Cache, Index
from protoqueue_operator.runtime.controller import requeue_after
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.finalizers import Finalizers
from protoqueue_operator.runtime.namespaces import Namespaces
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.runtime.workqueue import Requeue


class QueueReconciler:
    """`requeue_groups` adds a queue's groups to the work queue, `requeue_senders` the queues whose letters it gets."""

    def __init__(
        self,
        *,
        queues: Cache[Queue],
        groups_of: Index[Group, Key],
        states: QueueStates,
        brokers: Brokers,
        relocation: Relocation,
        namespaces: Namespaces,
        finalizers: Finalizers,
        deletion: QueueDeletion,
        dead_letters: DeadLetterTargets,
        status: StatusWriter,
        events: EventRecorder,
        max_bytes_per_namespace: int | None,
        requeue_groups: Callable[[Key], None],
        requeue_senders: Callable[[Key], None],
        count_error: Callable[[Key, Refusal | BrokerUnavailable], None],
        now: Callable[[], datetime],
    ) -> None:
        self._queues = queues
        self._groups_of = groups_of
        self._states = states
        self._brokers = brokers
        self._relocation = relocation
        self._namespaces = namespaces
        self._finalizers = finalizers
        self._deletion = deletion
        self._dead_letters = dead_letters
        self._status = status
        self._events = events
        self._max_bytes_per_namespace = max_bytes_per_namespace
        self._requeue_groups = requeue_groups
        self._requeue_senders = requeue_senders
        self._count_error = count_error
        self._now = now
        self._streams = QueueStreams(states, groups_of, now)

    async def reconcile(self, queue: Queue) -> Requeue | None:
        """Raises ApiError."""
        key = queue.meta.key
        try:
            if queue.meta.deleting_since:
                condition = queue.status.condition("Ready")
                if condition and condition.status == "True":
                    self._requeue_groups(key)
                return await self._deletion.delete(queue)
            look_again, wrong = await self.apply(queue)
            if look_again:
                self._requeue_groups(key)
        except (Refusal, BrokerUnavailable) as error:
            return self._refused(queue, error)
        assert isinstance(queue.spec, QueueSpec)
        if wrong is not None:
            self._count_error(key, wrong)
        waits_s = (seconds_to_next_firing(queue.spec, self._now()), wrong.retry_s if wrong else None)
        wait_s = min(filter(None, waits_s), default=None)
        return Requeue(wait_s) if wait_s else None

    async def apply(self, queue: Queue) -> tuple[bool, Refusal | None]:
        """Apply the queue's specification.

        Returns whether its groups must be reconciled again, and why its dead letters cannot go where it says, which
        does not block the rest. Raises Refusal, BrokerUnavailable and ApiError.
        """
        spec = valid_queue_spec(queue)
        queue = replace(queue, namespace_uid=await self._namespaces.uid_of(queue.meta))
        home = await self._relocation.home_of(queue, spec)
        if home.secret is None:
            check_reservation(queue, self._neighbours(queue), self._max_bytes_per_namespace)
        await self._finalizers.add(queue.meta)  # before anything is created, and only if anything can be
        broker = home.broker
        told = await read_config(broker.configs, queue.name.config_key, pb.QueueConfig)
        layout, desired, plan = await self._streams.apply(queue, spec, broker.jetstream)
        await apply_schedules(queue, spec, layout, broker.jetstream)
        await self._wait_for_new_levels(queue, spec, told, broker)
        broker.configs.replicate(spec.replicas)
        letters_to, wrong = await self._dead_letters.of(queue, spec, broker.configs)
        config = queue_config(queue, spec, layout, letters_to)
        changed = await apply_config(broker.configs, queue.name.config_key, config)
        if told is None:
            self._requeue_senders(queue.meta.key)
        self._states.streams[queue.meta.key] = desired
        await self._relocation.refuse_while_moving(queue, home)
        self._states.refused.discard(queue.meta.key)
        fields = status_fields(queue, spec, await location_of(home)) | _first_counts(queue, desired, plan)
        self._report(queue, spec, fields, [_ready(queue, spec, wrong), *loss_conditions(queue, plan, told)])
        if wrong or not is_ready(queue):
            return True, wrong
        if plan or changed:
            what = ", ".join(map(described, plan)) or "the entry in pq-config"
            self._events.drift(queue.meta, "changed", what)
        return bool(plan) or changed, None

    def _report(self, queue: Queue, spec: QueueSpec, fields: Fields, conditions: list[Condition]) -> None:
        """Report the status, with the next times of its schedules."""
        now, zones = self._now(), zones_of(spec)
        # These change whenever one fires, in thousands of queues in the same second: written with the counters.
        self._status.report(queue, schedule_fields(next_firings(spec, zones, now)), urgent=False)
        clock_changes = clock_change_conditions(queue, clock_change_notes(spec, zones, now))
        self._status.report(queue, fields, [*conditions, *clock_changes])

    def refuse(self, queue: Queue, reason: str, message: str) -> None:
        """Report why the queue is not as specified."""
        generation = queue.meta.generation
        self._status.report(queue, {"observedGeneration": generation}, [not_ready(generation, reason, message)])

    def forget(self, key: Key) -> None:
        self._status.forget(key)
        self._brokers.forget(key)
        self._states.forget(key)

    def _refused(self, queue: Queue, error: Refusal | BrokerUnavailable) -> Requeue | None:
        key = queue.meta.key
        if isinstance(error, BrokerUnavailable) and self._brokers.is_connecting(key):
            return Requeue(CONNECTING_AGAIN_S)
        if isinstance(error, Refusal):
            self._states.refused.add(key)
            self._requeue_groups(key)
        self._count_error(key, error)
        self.refuse(queue, error.reason, str(error))
        return requeue_after(error)

    def _neighbours(self, queue: Queue) -> list[Queue]:
        """The Queues of the same namespace."""
        if self._max_bytes_per_namespace is None:
            return []
        return [each for each in self._queues.values() if each.meta.namespace == queue.meta.namespace]

    async def _wait_for_new_levels(
        self, queue: Queue, spec: QueueSpec, told: pb.QueueConfig | None, broker: Broker
    ) -> None:
        """Producers learn of a new level only when every group consumes it.

        In a Broadcast queue a task that no group consumes is dropped. Raises LevelsGrowing.
        """
        if spec.delivery != "Broadcast":
            return
        if told is None or told.priority_levels >= spec.effective_priority_levels:
            return
        names = {info["name"] for info in await broker.jetstream.consumers(queue.name.stream) or ()}
        for group in self._groups_of.get(queue.meta.key):
            first, last = group.name.level_consumer(0), group.name.level_consumer(spec.effective_priority_levels - 1)
            if first in names and last not in names:
                raise LevelsGrowing(f"the group {group.meta.name} does not listen to the new priority levels yet")


def _ready(queue: Queue, spec: QueueSpec, wrong: Refusal | None) -> Condition:
    if wrong:
        return not_ready(queue.meta.generation, wrong.reason, str(wrong))
    return ready(queue.meta.generation, noted("the streams are as specified", queue.unknown), paused=spec.paused)


def status_fields(queue: Queue, spec: QueueSpec, location: NatsLocation) -> dict[str, object]:
    return {
        "observedGeneration": queue.meta.generation,
        "stream": queue.name.stream,
        "priorityLevels": spec.effective_priority_levels or None,
        "deadLetterStream": queue.name.dead_letter_stream if spec.dead_letter.enabled else None,
        "nats": location.model_dump(by_alias=True, exclude_none=True),
    }


def _first_counts(queue: Queue, desired: tuple[Stream, ...], plan: list[Action]) -> Fields:
    """A queue whose streams were all just created is empty; the counts of any other come from sampling."""
    anew = {action.stream.name for action in plan if isinstance(action, CreateStream)}
    is_new = queue.status.tasks is None and anew.issuperset(stream.name for stream in desired)
    return {"tasks": tasks(0, 0, 0, 0, 0)} if is_new else {}

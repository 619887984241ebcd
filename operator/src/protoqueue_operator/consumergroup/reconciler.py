"""Reconciles a ConsumerGroup: its consumers, its entry in `pq-config` and, with a template, its Deployment."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.errors import (
    BrokerUnavailable,
    QueueHasGroup,
    QueueNotFound,
    QueueNotReady,
    Refusal,
    ScaleTargetTaken,
)
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.status import Fields, not_ready, tasks
from protoqueue_operator.api.v1alpha1.validation import valid_group_spec, valid_queue_spec
from protoqueue_operator.autoscaling.executor import Executor
from protoqueue_operator.autoscaling.load import ConsumerState, backlog_of, consumer_state
from protoqueue_operator.autoscaling.scale_target import ScaleTargets
from protoqueue_operator.autoscaling.state import GroupStates, LastApplied
from protoqueue_operator.autoscaling.target_claims import Target, TargetClaims
from protoqueue_operator.consumergroup.deletion import GroupDeletion
from protoqueue_operator.consumergroup.last_applied import recovered
from protoqueue_operator.consumergroup.readiness import ready_condition
from protoqueue_operator.consumergroup.workload import Workload
from protoqueue_operator.jetstream.apply import apply_config, apply_plan
from protoqueue_operator.jetstream.assets import Consumer, Owner, Stream
from protoqueue_operator.jetstream.broker import Brokers, Home, Homes
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.desired import group_consumers, queue_stream_names
from protoqueue_operator.jetstream.diff import (
    Action,
    CreateConsumer,
    PauseConsumer,
    UpdateConsumer,
    described,
    plan_consumers,
)
from protoqueue_operator.jetstream.layout import Layout, layout_of
from protoqueue_operator.jetstream.runtime_config import group_config
from protoqueue_operator.nats.pool import CONNECTING_AGAIN_S
from protoqueue_operator.runtime.cache import Cache, Index
from protoqueue_operator.runtime.client import Gone, Kubernetes
from protoqueue_operator.runtime.controller import requeue_after
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.finalizers import Finalizers
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.runtime.workqueue import Requeue


class GroupReconciler:
    """`layout` is asked in which streams a queue's tasks lie; `requeue` adds another group to the work queue."""

    def __init__(
        self,
        *,
        kubernetes: Kubernetes,
        queues: Cache[Queue],
        groups_of: Index[Group, Key],
        deployments: Cache[Deployment],
        states: GroupStates,
        brokers: Brokers,
        homes: Homes,
        finalizers: Finalizers,
        workload: Workload,
        targets: ScaleTargets,
        claims: TargetClaims,
        executor: Executor,
        deletion: GroupDeletion,
        status: StatusWriter,
        events: EventRecorder,
        refused_queues: Set[Key],
        layout: Callable[[Key], Layout | None],
        requeue: Callable[[Key], None],
        count_error: Callable[[Key, Refusal | BrokerUnavailable], None],
    ) -> None:
        self._kubernetes = kubernetes
        self._queues = queues
        self._groups_of = groups_of
        self._deployments = deployments
        self._states = states
        self._brokers = brokers
        self._homes = homes
        self._finalizers = finalizers
        self._workload = workload
        self._targets = targets
        self._claims = claims
        self._executor = executor
        self._deletion = deletion
        self._status = status
        self._events = events
        self._refused_queues = refused_queues
        self._layout = layout
        self._requeue = requeue
        self._count_error = count_error
        self._claim_of: dict[Key, tuple[Target, bool]] = {}
        """What each group last sized, or named, and whether it shares that."""

    async def reconcile(self, group: Group) -> Requeue | None:
        """Raises ApiError."""
        try:
            again = await self._reconcile(group)
            if group.queue_key not in self._queues:
                self._brokers.forget(group.queue_key)  # it was deleted meanwhile, which is not reported again
            return again
        finally:
            self._requeue_rivals(group.meta.key)

    async def apply(self, group: Group) -> ConsumerState:
        """Apply the group's specification; returns its backlog.

        Raises Refusal, BrokerUnavailable and ApiError.
        """
        queue, owner, home = await self._queue(group)
        spec = effective_spec(valid_group_spec(group, queue), queue)
        self._refuse_second_group(group, queue)
        state = self._states.of(group)
        await self._targets.refuse_taken(group, state)
        await self._finalizers.add(group.meta)
        observed = await _own_streams(group, owner, home.broker.jetstream)
        layout = self._layout(group.queue_key) or layout_of(group.name.queue, observed)
        assert layout, "the queue's own stream is there"
        consumers = group_consumers(group, spec, queue, layout)
        plan, infos = await self._apply_consumers(group, consumers, layout, home.broker.jetstream)
        self._announce_drift(group, plan, state.last_applied)
        entry = group_config(group, spec, queue, consumers)
        await apply_config(home.broker.configs, group.name.config_key, entry)
        await self._workload.apply(group, spec, home)
        async with state.lock:
            await self._targets.observe(group, spec, state)
        state.last_applied = LastApplied(
            spec, consumers, spec.paused, queue.ordering is not None, group.meta.generation
        )
        state.is_settled = state.is_refused = False
        backlog = _backlog(consumers, infos)
        fields = {"observedGeneration": group.meta.generation, **_first_counts(group, backlog)}
        self._status.report(group, fields, [ready_condition(group, state, self._claims, self._deployments)])
        return backlog

    def report_readiness(self, group: Group) -> None:
        """Report again whether the group is Ready, as when its workers have started to fail."""
        condition = ready_condition(group, self._states.of(group), self._claims, self._deployments)
        self._status.report(group, {}, [condition])

    def refuse(self, group: Group, reason: str, message: str) -> None:
        """Report why the group is not as specified."""
        generation = group.meta.generation
        self._status.report(group, {"observedGeneration": generation}, [not_ready(generation, reason, message)])

    def forget(self, key: Key) -> None:
        self._status.forget(key)
        self._states.forget(key)
        self._requeue_rivals(key)

    async def _reconcile(self, group: Group) -> Requeue | None:
        """Raises ApiError."""
        try:
            if group.meta.deleting_since:
                return await self._deletion.delete(group, self.apply)
            backlog = await self.apply(group)
        except (Refusal, BrokerUnavailable) as error:
            return await self._refused(group, error)
        await self._executor.group_applied(group, backlog)
        again_s = self._executor.contended_for_s(group)
        return Requeue(again_s) if again_s else None

    async def _queue(self, group: Group) -> tuple[QueueSpec, Owner, Home]:
        queue = self._queues.get(group.queue_key)
        if queue is None:
            raise QueueNotFound(
                f"there is no Queue {group.queue_name} in namespace {group.meta.namespace}: "
                "create it, or correct the name",
                field="spec.queueRef.name",
            )
        if queue.meta.deleting_since and not group.meta.deleting_since:  # otherwise it goes on until the queue is empty
            raise QueueNotFound(f"the Queue {group.queue_name} is being deleted", field="spec.queueRef.name")
        try:
            spec = valid_queue_spec(queue)
            return spec, Owner.of(queue.meta), await self._homes.home_of(queue, spec)
        except Refusal as error:
            message = f"the Queue {group.queue_name} is refused: {error}"
            raise QueueNotReady(message, field="spec.queueRef.name") from error

    def _refuse_second_group(self, group: Group, queue: QueueSpec) -> None:
        """A group being deleted still counts: its consumers exist until it is gone."""
        if queue.delivery == "Broadcast":
            return
        first = self._groups_of.get(group.queue_key)[0]
        if first.meta.key != group.meta.key:
            raise QueueHasGroup(
                f"the Queue {group.queue_name} is consumed by the group {first.meta.name} already; a WorkQueue queue "
                "has one group: add workers to that one, or make the queue a Broadcast queue",
                field="spec.queueRef.name",
            )

    async def _apply_consumers(
        self, group: Group, desired: tuple[Consumer, ...], layout: Layout, jetstream: JetStream
    ) -> tuple[list[Action], list[Mapping[str, Any]]]:
        """Returns what was done, and the server's state of the consumers of the queue's streams."""
        done: list[Action] = []
        told: list[Mapping[str, Any]] = []
        living = {other.meta.key for other in self._groups_of.get(group.queue_key)}
        for stream in layout.consumed:
            infos = await jetstream.consumers(stream)
            if infos is None:
                raise QueueNotReady(f"the stream {stream} is not there yet", field="spec.queueRef.name")
            wanted = [consumer for consumer in desired if consumer.stream == stream]
            plan = plan_consumers(wanted, [Consumer.observed(info) for info in infos], Owner.of(group.meta), living)
            made = await apply_plan(jetstream, plan, {info["name"]: info["config"] for info in infos})
            done += plan
            told += [*infos, *made]
        return done, told

    def _announce_drift(self, group: Group, plan: list[Action], before: LastApplied | None) -> None:
        """If a consumer with an unchanged specification had to be repaired, others had changed it."""
        known = before.consumers if before else ()
        repaired = [
            described(action)
            for action in plan
            if isinstance(action, CreateConsumer | UpdateConsumer | PauseConsumer) and action.consumer in known
        ]
        if repaired:
            self._events.drift(group.meta, "changed", ", ".join(repaired))

    async def _refused(self, group: Group, error: Refusal | BrokerUnavailable) -> Requeue | None:
        """Raises ApiError."""
        if isinstance(error, BrokerUnavailable) and self._brokers.is_connecting(group.queue_key):
            return Requeue(CONNECTING_AGAIN_S)
        if isinstance(error, Refusal):
            await self._keep_last_applied(group, error)
        if await self._queue_will_call(group, error):
            return None
        self._count_error(group.meta.key, error)
        self.refuse(group, error.reason, str(error))
        return requeue_after(error)

    async def _keep_last_applied(self, group: Group, error: Refusal) -> None:
        """What was applied last stays in force, including its scaling, unless the queue is gone, or another group's."""
        state = self._states.of(group)
        state.is_refused = True
        if isinstance(error, QueueNotFound | QueueHasGroup):
            state.last_applied = None
        # A group that must yield its target to another, not yet known group, would size it.
        elif state.last_applied is None and not isinstance(error, ScaleTargetTaken):
            state.last_applied = await recovered(group, self._queues.get(group.queue_key), self._homes)
            state.is_settled = False
        if state.last_applied is None:
            self._executor.report_unknown(group)

    async def _queue_will_call(self, group: Group, error: Refusal | BrokerUnavailable) -> bool:
        """Whether the group's queue is being created: it requeues its groups when it exists. Raises ApiError."""
        queue = self._queues.get(group.queue_key)
        if queue is not None:  # both may have been created together
            is_new = not queue.status.conditions and group.queue_key not in self._refused_queues
            return isinstance(error, QueueNotReady) and is_new
        if not isinstance(error, QueueNotFound):
            return False
        # The watch of the groups may be ahead of the queues', as after a start with thousands of each.
        try:
            await self._kubernetes.get(group.queue_key)
        except Gone:
            return False
        return True

    def _requeue_rivals(self, group: Key) -> None:
        """If the group now sizes another object than before, or none, requeue the groups that gain or lose theirs."""
        before, now = self._claim_of.pop(group, None), self._claims.claim_of(group)
        if now:
            self._claim_of[group] = now
        if before == now:
            return
        for target, _ in filter(None, (before, now)):
            for rival in self._claims.naming(target):
                if rival.meta.key != group:
                    self._requeue(rival.meta.key)


async def _own_streams(group: Group, owner: Owner, jetstream: JetStream) -> dict[str, Stream]:
    """The existing streams of the group's queue, if it owns them, by name. Raises QueueNotReady."""
    infos = await asyncio.gather(*map(jetstream.stream, queue_stream_names(group.name.queue)))
    streams = {info["config"]["name"]: Stream.observed(info["config"]) for info in infos if info}
    main = group.name.queue.stream
    if main not in streams:
        message = f"the stream of the Queue {group.queue_name} is not there yet"
        raise QueueNotReady(message, field="spec.queueRef.name")
    if streams[main].owner != owner:
        message = f"the stream {main} is not the Queue's own: its condition says why"
        raise QueueNotReady(message, field="spec.queueRef.name")
    return {name: stream for name, stream in streams.items() if stream.owner == owner}


def _backlog(consumers: Iterable[Consumer], infos: Iterable[Mapping[str, Any]]) -> ConsumerState:
    total = backlog_of(consumers, {(info["stream_name"], info["name"]): consumer_state(info) for info in infos})
    assert total, "what was missing has just been made"
    return total


def _first_counts(group: Group, backlog: ConsumerState) -> Fields:
    """The first counts of a new group; later ones come from sampling."""
    return {} if group.status.tasks is not None else {"tasks": tasks(backlog.pending, backlog.in_flight)}

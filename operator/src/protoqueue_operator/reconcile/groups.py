"""A ConsumerGroup becomes its consumers, its entry in `pq-config` and, where it has a template, its Deployment."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.core.assets import Consumer, Owner, Stream
from protoqueue_operator.core.conditions import Condition
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.layout import group_consumers
from protoqueue_operator.core.load import ConsumerState, consumer_state, group_state
from protoqueue_operator.core.plan import (
    Action,
    CreateConsumer,
    PauseConsumer,
    UpdateConsumer,
    described,
    plan_consumers,
)
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import (
    InvalidSpec,
    QueueHasGroup,
    QueueNotFound,
    QueueNotReady,
    Refusal,
    ScaleTargetTaken,
)
from protoqueue_operator.core.resources import Group
from protoqueue_operator.core.runtime_config import group_config
from protoqueue_operator.core.status import Fields, not_ready, ready, tasks
from protoqueue_operator.core.validation import check_group
from protoqueue_operator.reconcile.applying import apply_config, apply_plan
from protoqueue_operator.reconcile.brokers import Home
from protoqueue_operator.reconcile.finalizing import hold
from protoqueue_operator.reconcile.moving import home_of
from protoqueue_operator.reconcile.queues import valid_spec
from protoqueue_operator.reconcile.runtime import Established, Runtime
from protoqueue_operator.reconcile.targets import look_at_target, refuse_taken_target, taken_by_another
from protoqueue_operator.reconcile.workers import bring_workers, workers_trouble


async def reconcile_group(group: Group, runtime: Runtime) -> ConsumerState:
    """Bring the group into being; returns the backlog it was found with.

    Raises Refusal, BrokerUnavailable and ApiError.
    """
    queue, owner, home = await _queue(group, runtime)
    broker = home.broker
    spec = _valid_spec(group, queue)
    _refuse_second_group(group, queue, runtime)
    await refuse_taken_target(group, runtime)
    await hold(group, runtime)
    consumers = group_consumers(group, spec, queue)
    state = runtime.state_of(group.meta.key, group.meta.uid)
    plan, infos = await _consumers(group, consumers, owner, broker.jetstream, runtime)
    _announce_drift(group, plan, state.established, runtime)
    await apply_config(broker.configs, group.name.config_key, group_config(group, spec, queue, consumers))
    await bring_workers(group, spec, home, runtime)
    async with state.lock:
        await look_at_target(group, spec, state, runtime)
    state.established = Established(spec, consumers, paused=spec.paused or queue.paused)
    state.resting = False
    backlog = _backlog(consumers, infos)
    fields = {"observedGeneration": group.meta.generation, **_first_counts(group, backlog)}
    runtime.reporter.report(group, fields, [_condition(group, runtime)])
    return backlog


def _condition(group: Group, runtime: Runtime) -> Condition:
    """Made as specified is not enough where there is nothing to size, another sizes it, or no worker may come up."""
    if taken := taken_by_another(group, runtime):
        return not_ready(group.meta.generation, ScaleTargetTaken.reason, str(taken))
    scale = runtime.state_of(group.meta.key, group.meta.uid).scale
    if scale and scale.trouble:
        return not_ready(group.meta.generation, "TargetNotFound", f"spec.worker.scaleTargetRef: {scale.trouble}")
    if trouble := workers_trouble(group, runtime):
        return not_ready(group.meta.generation, "WorkersFailing", f"the Deployment {group.meta.name}: {trouble}")
    return ready(group.meta.generation, "consumers and workers are as specified")


def refuse_group(group: Group, reason: str, message: str, runtime: Runtime) -> None:
    """Say why the group is not as specified."""
    generation = group.meta.generation
    runtime.reporter.report(group, {"observedGeneration": generation}, [not_ready(generation, reason, message)])


async def _queue(group: Group, runtime: Runtime) -> tuple[QueueSpec, Owner, Home]:
    queue = runtime.cache.queues.get(group.queue_key)
    if queue is None:
        raise QueueNotFound(
            f"there is no Queue {group.queue_name} in namespace {group.meta.namespace}: create it, or correct the name",
            field="spec.queueRef.name",
        )
    if queue.meta.deleting_since:
        raise QueueNotFound(f"the Queue {group.queue_name} is being deleted", field="spec.queueRef.name")
    try:
        spec = valid_spec(queue)
        return spec, Owner.of(queue.meta), await home_of(queue, spec, runtime)
    except Refusal as error:
        raise QueueNotReady(f"the Queue {group.queue_name} is refused: {error}", field="spec.queueRef.name") from error


def _valid_spec(group: Group, queue: QueueSpec) -> ConsumerGroupSpec:
    if isinstance(group.spec, InvalidSpec):
        raise group.spec
    check_group(group.spec, queue)
    return group.spec


def _refuse_second_group(group: Group, queue: QueueSpec, runtime: Runtime) -> None:
    """A group on its way out still counts: its consumers are there until it is gone."""
    if queue.delivery == "Broadcast":
        return
    first = runtime.cache.groups_of(group.queue_key)[0]
    if first.meta.key != group.meta.key:
        raise QueueHasGroup(
            f"the Queue {group.queue_name} is consumed by the group {first.meta.name} already; a WorkQueue queue has "
            "one group: add workers to that one, or make the queue a Broadcast queue",
            field="spec.queueRef.name",
        )


async def _consumers(
    group: Group, desired: tuple[Consumer, ...], owner: Owner, jetstream: JetStream, runtime: Runtime
) -> tuple[list[Action], list[Mapping[str, Any]]]:
    """What was done, and what the server says of the consumers of the stream that `owner` is to have."""
    stream = group.name.queue.stream
    infos, held = await asyncio.gather(jetstream.consumers(stream), jetstream.stream(stream))
    if infos is None or held is None:
        raise QueueNotReady(f"the stream of the Queue {group.queue_name} is not there yet", field="spec.queueRef.name")
    if Stream.observed(held["config"]).owner != owner:
        raise QueueNotReady(
            f"the stream {stream} is not the Queue's own: its condition says why", field="spec.queueRef.name"
        )
    there = {info["name"]: info["config"] for info in infos}
    living = {other.meta.key for other in runtime.cache.groups_of(group.queue_key)}
    plan = plan_consumers(desired, [Consumer.observed(info) for info in infos], Owner.of(group.meta), living)
    made = await apply_plan(jetstream, plan, there)
    return plan, [*infos, *made]


def _backlog(consumers: Iterable[Consumer], infos: Iterable[Mapping[str, Any]]) -> ConsumerState:
    there = {info["name"]: consumer_state(info) for info in infos}
    total = group_state((consumer.name for consumer in consumers), there)
    assert total, "what was missing has just been made"
    return total


def _first_counts(group: Group, backlog: ConsumerState) -> Fields:
    """So that a new group is told of with its numbers; later ones come from sampling."""
    return {} if group.status.tasks is not None else {"tasks": tasks(backlog.pending, backlog.in_flight)}


def _announce_drift(group: Group, plan: list[Action], before: Established | None, runtime: Runtime) -> None:
    """What had to be done to a consumer that was to be the same before has been somebody else's doing."""
    known = before.consumers if before else ()
    repaired = [
        described(action)
        for action in plan
        if isinstance(action, CreateConsumer | UpdateConsumer | PauseConsumer) and action.consumer in known
    ]
    if repaired:
        runtime.reporter.drift(group.meta, "changed", ", ".join(repaired))

"""A Queue becomes its streams, its counter and its entry in `pq-config`."""

import asyncio
from collections.abc import Mapping

from protoqueue.v1 import config_pb2 as pb
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.core.assets import Consumer, Stream
from protoqueue_operator.core.layout import queue_streams, scheduled_counter
from protoqueue_operator.core.places import Place
from protoqueue_operator.core.plan import Action, CreateStream, described, is_lost, plan_consumer, plan_stream
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import InvalidSpec, LevelsGrowing, TakenOver
from protoqueue_operator.core.resources import Queue
from protoqueue_operator.core.runtime_config import queue_config
from protoqueue_operator.core.status import Fields, is_ready, loss_conditions, not_ready, ready, tasks
from protoqueue_operator.core.validation import check_queue
from protoqueue_operator.core.yielding import is_yielded, lose
from protoqueue_operator.reconcile.applying import apply_config, apply_plan, read_config
from protoqueue_operator.reconcile.brokers import Broker
from protoqueue_operator.reconcile.finalizing import hold
from protoqueue_operator.reconcile.moving import home_of, place_of, refuse_while_moving
from protoqueue_operator.reconcile.recurring import apply_schedules
from protoqueue_operator.reconcile.runtime import Runtime


def valid_spec(queue: Queue) -> QueueSpec:
    """Raises InvalidSpec."""
    if isinstance(queue.spec, InvalidSpec):
        raise queue.spec
    check_queue(queue.spec)
    return queue.spec


async def reconcile_queue(queue: Queue, runtime: Runtime) -> bool:
    """Bring the queue into being; returns whether its groups should look at it again.

    Raises Refusal, BrokerUnavailable and ApiError.
    """
    spec = valid_spec(queue)
    home = await home_of(queue, spec, runtime)
    await hold(queue, runtime)  # before anything is made, and not where nothing can be
    broker = home.broker
    desired = queue_streams(queue, spec)
    plan = await _streams(queue, desired, broker.jetstream, runtime)
    plan += await _counter(queue, broker.jetstream)
    await apply_schedules(queue, spec, broker.jetstream)
    await _wait_for_new_levels(queue, spec, broker, runtime)
    broker.configs.replicate(spec.replicas)
    changed = await apply_config(broker.configs, queue.name.config_key, queue_config(queue, spec))
    runtime.streams[queue.meta.key] = desired
    await refuse_while_moving(queue, home, runtime)
    conditions = [ready(queue.meta.generation, "the streams are as specified"), *loss_conditions(queue, plan)]
    fields = status_fields(queue, spec, await place_of(home)) | _first_counts(queue, desired, plan)
    runtime.reporter.report(queue, fields, conditions)
    if not is_ready(queue):
        return True
    if plan or changed:
        what = ", ".join(map(described, plan)) or "the entry in pq-config"
        runtime.reporter.drift(queue.meta, "changed", what)
    return bool(plan) or changed


def refuse_queue(queue: Queue, reason: str, message: str, runtime: Runtime) -> None:
    """Say why the queue is not as specified."""
    generation = queue.meta.generation
    runtime.reporter.report(queue, {"observedGeneration": generation}, [not_ready(generation, reason, message)])


def status_fields(queue: Queue, spec: QueueSpec, place: Place) -> dict[str, object]:
    return {
        "observedGeneration": queue.meta.generation,
        "stream": queue.name.stream,
        "priorityLevels": spec.effective_priority_levels or None,
        "deadLetterStream": queue.name.dead_letter_stream if spec.dead_letter.enabled else None,
        "nats": place.model_dump(by_alias=True, exclude_none=True),
    }


def _first_counts(queue: Queue, desired: tuple[Stream, ...], plan: list[Action]) -> Fields:
    """A queue whose streams were all made just now is empty; of any other, sampling tells."""
    anew = {action.stream for action in plan if isinstance(action, CreateStream)}
    return {"tasks": tasks(0, 0, 0, 0)} if queue.status.tasks is None and anew.issuperset(desired) else {}


async def _streams(queue: Queue, desired: tuple[Stream, ...], jetstream: JetStream, runtime: Runtime) -> list[Action]:
    infos = await asyncio.gather(*(jetstream.stream(stream.name) for stream in desired))
    there = {info["config"]["name"]: info["config"] for info in infos if info}
    observed = {name: Stream.observed(config) for name, config in there.items()}
    _refuse_lost(queue, observed, runtime)
    plan = [action for stream in desired for action in plan_stream(stream, observed.get(stream.name))]
    await apply_plan(jetstream, plan, there)
    return plan


def _refuse_lost(queue: Queue, observed: Mapping[str, Stream], runtime: Runtime) -> None:
    """Raises TakenOver, until it is time to take back what somebody else has taken."""
    key, now = queue.meta.key, runtime.now()
    lost = [each.name for each in runtime.streams.get(key, ()) if is_lost(each, observed.get(each.name))]
    if not lost:
        if is_yielded(runtime.yielded.get(key)):  # the other one is gone, and its streams with it
            del runtime.yielded[key]
        return
    yielded = runtime.yielded[key] = lose(runtime.yielded.get(key), now)
    if not yielded.is_back:
        raise TakenOver(
            f"the stream {lost[0]} was taken over by another {key}, as of another cluster that uses the same NATS "
            "account: give each cluster an account of its own, or delete one of the two Queues. "
            f"The stream is taken back at {yielded.until:%Y-%m-%dT%H:%MZ}"
        )


async def _wait_for_new_levels(queue: Queue, spec: QueueSpec, broker: Broker, runtime: Runtime) -> None:
    """Producers learn of a new level only when every group listens to it.

    In a Broadcast queue a task that no group waits for is dropped. Raises LevelsGrowing.
    """
    if spec.delivery != "Broadcast":
        return
    told = await read_config(broker.configs, queue.name.config_key, pb.QueueConfig)
    if told is None or told.priority_levels >= spec.effective_priority_levels:
        return
    names = {info["name"] for info in await broker.jetstream.consumers(queue.name.stream) or ()}
    for group in runtime.cache.groups_of(queue.meta.key):
        first, last = group.name.level_consumer(0), group.name.level_consumer(spec.effective_priority_levels - 1)
        if first in names and last not in names:
            raise LevelsGrowing(f"the group {group.meta.name} does not listen to the new priority levels yet")


async def _counter(queue: Queue, jetstream: JetStream) -> list[Action]:
    desired = scheduled_counter(queue)
    info = await jetstream.consumer(desired.stream, desired.name)
    plan = plan_consumer(desired, Consumer.observed(info) if info else None)
    await apply_plan(jetstream, plan, {desired.name: info["config"]} if info else {})
    return plan

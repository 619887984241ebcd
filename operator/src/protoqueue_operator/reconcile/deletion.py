"""What happens to JetStream's assets when a resource is deleted."""

from protoqueue_operator.adapters.buckets import finished_tasks
from protoqueue_operator.core.assets import Consumer, Owner
from protoqueue_operator.core.plan import DeleteStream, plan_group_removal
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import (
    BrokerRefused,
    BrokerUnavailable,
    InvalidSpec,
    Moving,
    SecretInvalid,
    SecretNotFound,
)
from protoqueue_operator.core.resources import FINALIZER, Group, Key, Queue
from protoqueue_operator.core.status import not_ready
from protoqueue_operator.core.yielding import is_yielded
from protoqueue_operator.reconcile.applying import apply_plan
from protoqueue_operator.reconcile.brokers import Broker
from protoqueue_operator.reconcile.finalizing import release
from protoqueue_operator.reconcile.holdings import contents, own_streams
from protoqueue_operator.reconcile.moving import home_of
from protoqueue_operator.reconcile.recurring import remove_schedules
from protoqueue_operator.reconcile.runtime import Runtime
from protoqueue_operator.reconcile.work import Again

PATIENCE_S = 15.0
"""How long a namespace on its way out waits for NATS, or for a queue to run empty, before the streams are left."""

_LOOK_AGAIN_S = 2.0


async def delete_queue(queue: Queue, runtime: Runtime) -> Again | None:
    """Wait for the groups, then do as `deletionPolicy` says. Raises ApiError."""
    if FINALIZER not in queue.meta.finalizers:
        return None
    groups = [group.meta.name for group in runtime.cache.groups_of(queue.meta.key)]
    if groups:
        return _wait(queue, "WaitingForGroups", f"waits for these ConsumerGroups to go: {', '.join(groups)}", runtime)
    if is_yielded(runtime.yielded.get(queue.meta.key)):
        _leave(queue, f"the streams belong to another {queue.meta.key}, as of another cluster, and were left", runtime)
        await release(queue, runtime)
        return None
    # A queue that was never valid has made nothing that would have to go.
    policy = "Retain" if isinstance(queue.spec, InvalidSpec) else queue.spec.deletion_policy
    try:
        left = await _dispose(queue, policy, runtime)
    except (BrokerUnavailable, BrokerRefused) as error:
        if policy != "Retain" and not await _out_of_patience(queue, runtime):
            return _wait(queue, error.reason, f"cannot delete the streams: {error}", runtime)
        left = ""
        _leave(queue, f"the streams and the entry in pq-config were left behind: {error}", runtime)
    if left and not await _out_of_patience(queue, runtime):
        return _wait(queue, "NotEmpty", f"deletionPolicy is DeleteIfEmpty, and the queue still holds {left}", runtime)
    if left:
        _leave(queue, f"the namespace goes, and the queue still holds {left}: the streams were left", runtime)
    await release(queue, runtime)
    return None


async def delete_group(group: Group, runtime: Runtime) -> Again | None:
    """Remove consumers and configuration; unacknowledged tasks stay in the queue. Raises ApiError."""
    if FINALIZER not in group.meta.finalizers:
        return None
    # It never had a queue, so nothing was made for it; or what was made belongs to another cluster's group now.
    if not group.queue_name or is_yielded(runtime.yielded.get(group.queue_key)):
        await release(group, runtime)
        return None
    try:
        broker = await _broker(group.queue_key, runtime)
        await broker.configs.purge(group.name.config_key)
        infos = await broker.jetstream.consumers(group.name.queue.stream)
        plan = plan_group_removal(Owner.of(group.meta), [Consumer.observed(info) for info in infos or ()])
        await apply_plan(broker.jetstream, plan, {})
    except (BrokerUnavailable, BrokerRefused) as error:
        if not await _out_of_patience(group, runtime):
            return _wait(group, error.reason, f"cannot remove the consumers: {error}", runtime)
        _leave(group, f"the consumers and the entry in pq-config were left behind: {error}", runtime)
    await release(group, runtime)
    return None


async def _dispose(queue: Queue, policy: str, runtime: Runtime) -> str:
    """Returns what stands in the way of DeleteIfEmpty, in words, or nothing when it is done."""
    broker = await _broker(queue.meta.key, runtime)
    if policy == "Retain":
        await remove_schedules(queue, broker.jetstream)
    else:
        streams = await own_streams(queue, broker.jetstream)
        if policy == "DeleteIfEmpty" and (what := contents(queue, streams)):
            return what
        # The queue before what it sources, so that nothing comes due into a stream that is gone.
        await apply_plan(broker.jetstream, [DeleteStream(name) for name in reversed(streams)], {})
        # Sequences, and the ids and notes that hold them, begin anew with a queue of the same name.
        await broker.jetstream.purge(*finished_tasks(queue.name))
    await broker.configs.purge(queue.name.config_key)
    return ""


async def _broker(queue_key: Key, runtime: Runtime) -> Broker:
    """Raises BrokerUnavailable also where nothing says any more where NATS is."""
    queue = runtime.cache.queues.get(queue_key)
    if queue is not None and isinstance(queue.spec, QueueSpec):
        try:
            return (await home_of(queue, queue.spec, runtime)).broker
        except (Moving, SecretNotFound, SecretInvalid) as error:
            if (known := runtime.brokers.known(queue_key)) is None:
                raise BrokerUnavailable(str(error)) from error
            return known
    return runtime.brokers.known(queue_key) or runtime.brokers.own


async def _out_of_patience(resource: Queue | Group, runtime: Runtime) -> bool:
    """A namespace on its way out must not be held for ever. Raises ApiError."""
    since = resource.meta.deleting_since
    if since is None or (runtime.now() - since).total_seconds() < PATIENCE_S:
        return False
    return await runtime.kubernetes.namespace_is_terminating(resource.meta.namespace)


def _wait(resource: Queue | Group, reason: str, message: str, runtime: Runtime) -> Again:
    before = resource.status.condition("Ready")
    is_news = before is None or before.reason != reason  # else it is the numbers that have changed
    condition = not_ready(resource.meta.generation, reason, message)
    runtime.reporter.report(resource, {}, [condition], urgent=is_news)
    return Again(_LOOK_AGAIN_S)


def _leave(resource: Queue | Group, message: str, runtime: Runtime) -> None:
    runtime.reporter.event(resource.meta, "Warning", "LeftBehind", message)

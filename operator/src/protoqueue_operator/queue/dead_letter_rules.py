"""Which Queue gets the dead letters of another, and why it may not. Pure."""

from collections.abc import Mapping

from protoqueue_operator.api.v1alpha1.errors import DeadLetterQueueNotFound, DeadLetterQueueNotReady, InvalidSpec
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec

_FIELD = "spec.deadLetter.queueRef.name"
_MEANWHILE = "until then dead letters stay in this queue's own stream"


def target_of(queue: Queue) -> Key | None:
    """The Queue that `queue` names for its dead letters."""
    if isinstance(queue.spec, InvalidSpec) or queue.spec.dead_letter.queue_ref is None:
        return None
    return Key("Queue", queue.meta.namespace, queue.spec.dead_letter.queue_ref.name)


def check_target(queue: Queue, spec: QueueSpec, target: Queue | None, queues: Mapping[Key, Queue]) -> None:
    """Whether the letters of `queue` may become tasks of the Queue that it names, which is `target` if there is one.

    Raises InvalidSpec, DeadLetterQueueNotFound and DeadLetterQueueNotReady.
    """
    named = target_of(queue)
    assert named
    if named == queue.meta.key:
        raise InvalidSpec("must name another Queue", field=_FIELD)
    if target is None:
        raise DeadLetterQueueNotFound(
            f"there is no Queue {named.name} in namespace {named.namespace}: create it, or correct the name; "
            f"{_MEANWHILE}",
            field=_FIELD,
        )
    if target.meta.deleting_since:
        raise DeadLetterQueueNotFound(f"the Queue {named.name} is being deleted; {_MEANWHILE}", field=_FIELD)
    if cycle := _cycle(queue, queues):
        raise InvalidSpec(f"leads back to this Queue ({cycle}): dead letters would go round for ever", field=_FIELD)
    if isinstance(target.spec, InvalidSpec):
        raise DeadLetterQueueNotReady(f"the Queue {named.name} is refused: {target.spec}; {_MEANWHILE}", field=_FIELD)
    if target.spec.delivery == "Broadcast":
        raise InvalidSpec(
            f"the Queue {named.name} has delivery Broadcast, which keeps nothing while it has no ConsumerGroup: name a "
            "WorkQueue",
            field=_FIELD,
        )
    if target.spec.nats != spec.nats:
        raise InvalidSpec(
            f"the Queue {named.name} has another NATS connection: spec.nats must be the same in both", field=_FIELD
        )


def not_made_yet(target: Key) -> DeadLetterQueueNotReady:
    """If clients do not know the Queue yet."""
    return DeadLetterQueueNotReady(f"the Queue {target.name} is not ready yet; {_MEANWHILE}", field=_FIELD)


def _cycle(queue: Queue, queues: Mapping[Key, Queue]) -> str:
    """The cycle by which the letters of `queue` come back to it, in words; empty if there is none."""
    way, at = [queue.meta.name], target_of(queue)
    while at is not None and at.name not in way:
        way.append(at.name)
        known = queues.get(at)
        at = target_of(known) if known else None
    return " → ".join([*way, queue.meta.name]) if at == queue.meta.key else ""

"""Conditions of a Queue about its backlog: that it is full, or holds messages that no group consumes."""

from collections.abc import Mapping

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.text import counted
from protoqueue_operator.autoscaling.load import ConsumerState, StreamState
from protoqueue_operator.jetstream.stranded import described

_NEARLY = 0.95
"""Fraction of `maxBytes`: a task that no longer fits leaves some space."""


def stranded_condition(queue: Queue, found: Mapping[str, int]) -> Condition | None:
    """Stranded, while messages are stored that no consumer takes; None if it is false and was never set."""
    if not found and not _holds(queue, "Stranded"):
        return None
    message = (
        f"{counted(sum(found.values()), 'message')} without a consumer, on {described(found)}: they count against "
        "spec.limits. They were not stored by a client of this queue, or its priority levels or partitions have "
        "changed; remove "
        "them with `nats stream purge --subject`"
    )
    return _condition(queue, "Stranded", "NoConsumer", message if found else "")


def full_condition(
    queue: Queue, spec: QueueSpec, stored: StreamState, groups: Mapping[str, ConsumerState]
) -> Condition | None:
    """Full, while a limit of the queue is reached, naming the group that is furthest behind; None as above.

    A Broadcast queue keeps a task until every group is done with it, so one group can fill it for all.
    """
    limits = spec.limits
    reached = []
    if limits.max_tasks and stored.messages >= limits.max_tasks:
        reached.append(f"it holds {counted(stored.messages, 'task')}, and spec.limits.maxTasks is {limits.max_tasks}")
    if limits.max_bytes and stored.size >= _NEARLY * limits.max_bytes:
        reached.append(f"it holds {stored.size} bytes, and spec.limits.maxBytes is {limits.max_bytes}")
    if not reached and not _holds(queue, "Full"):
        return None
    message = ""
    if reached:
        what = "new tasks are refused" if limits.on_full == "Reject" else "the oldest tasks are dropped"
        message = f"{' and '.join(reached)}: {what}"
        behind = {name: state.pending + state.in_flight for name, state in groups.items()}
        if last := max(behind, key=lambda name: (behind[name], name), default=None):
            state = groups[last]
            message += (
                f"; the group {last} is furthest behind, with {state.pending} waiting and {state.in_flight} in flight"
            )
    return _condition(queue, "Full", "LimitReached", message)


def _holds(queue: Queue, kind: str) -> bool:
    before = queue.status.condition(kind)
    return before is not None and before.status == "True"


def _condition(queue: Queue, kind: str, reason: str, message: str) -> Condition:
    """True where there is something to say."""
    return Condition(
        type=kind,
        status="True" if message else "False",
        reason=reason,
        message=message,
        observed_generation=queue.meta.generation,
    )

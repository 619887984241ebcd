"""What can go wrong, as one tree.

ProtoQueueError
├── ConfigurationError      the worker or client is set up wrongly; nothing was sent
│   ├── QueueNotFound       no Queue of that name has been reconciled on this NATS server
│   ├── GroupNotFound       the queue has no ConsumerGroup of that name
│   └── HistoryDisabled     the queue keeps no history, or no results: spec.history
├── InvalidTask             this task cannot be enqueued as it is; nothing was stored
│   └── PayloadTooLarge
├── QueueFull               spec.limits of the queue are reached and spec.limits.onFull is Reject; it was not stored
├── AlreadySettled          a received task was acked, retried or rejected before
├── LeaseLost               a received task that is settled by its token is not lent any more
├── Unavailable             NATS did not answer in time; the task may be stored or not: enqueue it again with dedup_id
│   └── PermissionDenied    NATS refuses this to the user; nothing was stored
├── TaskFailed              the task whose result was asked for failed for good, was cancelled, or expired
├── ResultNotStored         the task is done; what its handler returned was too large, or could not be encoded
├── NoHandler               the worker has no handler for the task's type: the task waits for a newer worker
└── UndecodableTask         bytes of another producer that are no task, or a payload that is not what the handler takes
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protoqueue.task import Receipt


class ProtoQueueError(Exception):
    """Base of every error that ProtoQueue raises.

    What `enqueue_batch` raises says what was stored before it: `receipts` has an entry for each item, None where it is
    not known to be stored, and `first_not_stored` is the index of the first such item. They are empty and 0 otherwise.
    """

    receipts: "Sequence[Receipt | None]" = ()
    first_not_stored: int = 0


class ConfigurationError(ProtoQueueError):
    """The worker or client is set up wrongly."""


class QueueNotFound(ConfigurationError):
    """No Queue of that name has been reconciled on this NATS server."""


class GroupNotFound(ConfigurationError):
    """The queue has no ConsumerGroup of that name."""


class HistoryDisabled(ConfigurationError):
    """The queue does not record what became of tasks, or not their results: `spec.history` of the Queue says so."""


class InvalidTask(ProtoQueueError, ValueError):
    """The task cannot be enqueued as it is; nothing was stored."""


class PayloadTooLarge(InvalidTask):
    """The encoded task is larger than the queue or the server takes; nothing was stored."""


class QueueFull(ProtoQueueError):
    """The queue has reached its limits and rejects new tasks.

    Nothing of an `enqueue` was stored; of an `enqueue_batch` only what `receipts` names.
    """


class Unavailable(ProtoQueueError):
    """NATS did not answer in time. Whether the task is stored is unknown: enqueue again with the same `dedup_id`."""


class PermissionDenied(Unavailable):
    """NATS refuses a subject to this user; nothing was stored. `docs/security.md` lists what each user needs."""


class AlreadySettled(ProtoQueueError):
    """The task has been acked, retried or rejected before; it ends in one way only."""


class LeaseLost(ProtoQueueError):
    """The task is not lent any more: its time ran out, or it was settled, cancelled or purged."""


class TaskFailed(ProtoQueueError):
    """The task whose result was asked for has none: it failed for good, was cancelled, or expired.

    `reason` is one of `Reason`, or `Cancelled`; `error` and `error_type` are what its last attempt raised, `traceback`
    is shortened. They are empty where no handler raised.
    """

    def __init__(
        self, task_id: str, reason: str, error: str = "", traceback: str = "", *, error_type: str = ""
    ) -> None:
        raised = f": {error_type}: {error}" if error_type else f": {error}" if error else ""
        super().__init__(f"task {task_id} failed ({reason}){raised}")
        self.task_id = task_id
        self.reason = reason
        self.error = error
        self.error_type = error_type
        self.traceback = traceback

    def __reduce__(self) -> "tuple[object, ...]":
        return _failed, (self.task_id, self.reason, self.error, self.traceback, self.error_type)


def _failed(task_id: str, reason: str, error: str, traceback: str, error_type: str) -> TaskFailed:
    return TaskFailed(task_id, reason, error, traceback, error_type=error_type)


class ResultNotStored(ProtoQueueError):
    """The task is done, and its result was not kept: it is too large, or cannot be encoded."""


class NoHandler(ProtoQueueError):
    """The worker has no handler for the task's type; the task waits for a newer worker (`retry.rolloutGrace`)."""


class UndecodableTask(ProtoQueueError):
    """Bytes that are no task, or a payload that does not fit what the handler takes."""

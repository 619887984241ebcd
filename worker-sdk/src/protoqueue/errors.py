"""What can go wrong, as one tree.

ProtoQueueError
├── ConfigurationError      the worker or client is set up wrongly; nothing was sent
│   ├── QueueNotFound       no Queue of that name has been reconciled on this NATS server
│   └── GroupNotFound       the queue has no ConsumerGroup of that name
├── InvalidTask             this task cannot be enqueued as it is; nothing was stored
│   └── PayloadTooLarge
├── QueueFull               spec.limits of the queue are reached and spec.limits.onFull is Reject; nothing was stored
├── AlreadySettled          a received task was acked, retried or rejected before
├── Unavailable             NATS did not answer in time; the task may be stored or not: enqueue it again with dedup_id
├── NoHandler               the worker has no handler for the task's type: the attempt fails
└── UndecodableTask         bytes of another producer that are no task, or a payload that is not what the handler takes
"""


class ProtoQueueError(Exception):
    """Base of every error that ProtoQueue raises."""


class ConfigurationError(ProtoQueueError):
    """The worker or client is set up wrongly."""


class QueueNotFound(ConfigurationError):
    """No Queue of that name has been reconciled on this NATS server."""


class GroupNotFound(ConfigurationError):
    """The queue has no ConsumerGroup of that name."""


class InvalidTask(ProtoQueueError, ValueError):
    """The task cannot be enqueued as it is; nothing was stored."""


class PayloadTooLarge(InvalidTask):
    """The encoded task is larger than the queue or the server takes; nothing was stored."""


class QueueFull(ProtoQueueError):
    """The queue has reached its limits and rejects new tasks; nothing was stored."""


class Unavailable(ProtoQueueError):
    """NATS did not answer in time. Whether the task is stored is unknown: enqueue again with the same `dedup_id`."""


class AlreadySettled(ProtoQueueError):
    """The task has been acked, retried or rejected before; it ends in one way only."""


class NoHandler(ProtoQueueError):
    """The worker has no handler for the task's type; the attempt fails, since another version may have one."""


class UndecodableTask(ProtoQueueError):
    """Bytes that are no task, or a payload that does not fit what the handler takes."""

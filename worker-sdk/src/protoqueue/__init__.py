"""ProtoQueue: work queues on NATS JetStream, declared in Kubernetes."""

from protoqueue.client import Client, Queue, connect
from protoqueue.dead_letters import DeadLetter
from protoqueue.errors import (
    AlreadySettled,
    ConfigurationError,
    GroupNotFound,
    InvalidTask,
    NoHandler,
    PayloadTooLarge,
    ProtoQueueError,
    QueueFull,
    QueueNotFound,
    Unavailable,
    UndecodableTask,
)
from protoqueue.outcomes import Reject, Retry, Snooze
from protoqueue.receive import ReceivedTask
from protoqueue.stats import GroupStats, QueueStats
from protoqueue.task import Outgoing, Receipt, Task
from protoqueue.worker import Worker

__all__ = [
    "AlreadySettled",
    "Client",
    "ConfigurationError",
    "DeadLetter",
    "GroupNotFound",
    "GroupStats",
    "InvalidTask",
    "NoHandler",
    "Outgoing",
    "PayloadTooLarge",
    "ProtoQueueError",
    "Queue",
    "QueueFull",
    "QueueNotFound",
    "QueueStats",
    "Receipt",
    "ReceivedTask",
    "Reject",
    "Retry",
    "Snooze",
    "Task",
    "Unavailable",
    "UndecodableTask",
    "Worker",
    "connect",
]

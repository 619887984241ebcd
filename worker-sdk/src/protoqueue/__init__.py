"""ProtoQueue: work queues on NATS JetStream, declared in Kubernetes.

Producers       `connect` gives a `Client`, that a `Queue`; `Queue.enqueue` takes a payload, a `NewTask` or what a
                `TaskType` makes, and returns a `Receipt`
Workers         `Worker`, or several with `run_workers`; handlers get a payload and a `Task`, and may raise `Retry`,
                `Reject`, `Snooze` or `Redrive`; `DeadLetterInfo` is why a task of a dead letter queue died
By hand         `Queue.receive` gives `ReceivedTask`s; `Queue.lease` gives the `Lease` of a token
Administration  `QueueStats`, `QueueOverview`, `GroupStats`, `Progress`, `QueueSamples` of `QueueSample`s and
                `WorkerChange`s, `WorkerStatus`, `ScheduledTask`, `DeadLetter` and its `Reason`
What became     `Queue.status` gives a `TaskStatus` with its `TaskState`, `Receipt.result` what the handler returned;
                `Queue.history` finds `TaskRecord`s, each with its `AttemptOutcome` and its result, a `RecordedValue`
Errors          all derive from `ProtoQueueError`; `protoqueue.errors` has the tree
Other modules   `protoqueue.sync`, the client without an event loop, and `protoqueue.testing`, queues in memory

These names are the public interface. Everything else in this package is private and changes without notice, except
`protoqueue.protocol`, which the operator and the gateway share with the SDK.

A name is loaded when it is first used, so producers load nothing that only workers need.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protoqueue.admin.all_queues import QueueOverview
    from protoqueue.admin.dead_letters import DeadLetter
    from protoqueue.admin.peek import ScheduledTask
    from protoqueue.admin.samples import QueueSample, QueueSamples, WorkerChange
    from protoqueue.admin.stats import GroupStats, Progress, QueueStats
    from protoqueue.client import Client
    from protoqueue.connection import connect
    from protoqueue.consumer.lease import Lease
    from protoqueue.consumer.receive import ReceivedTask
    from protoqueue.errors import (
        AlreadySettled,
        ConfigurationError,
        GroupNotFound,
        HistoryDisabled,
        InvalidTask,
        LeaseLost,
        NoHandler,
        PayloadTooLarge,
        PermissionDenied,
        ProtoQueueError,
        QueueFull,
        QueueNotFound,
        ResultNotStored,
        TaskFailed,
        Unavailable,
        UndecodableTask,
    )
    from protoqueue.history.model import AttemptOutcome, RecordedValue, TaskRecord, TaskState, TaskStatus
    from protoqueue.outcomes import Reason, Redrive, Reject, Retry, Snooze, Throttle
    from protoqueue.protocol.worker_status import WorkerStatus
    from protoqueue.queue import Queue
    from protoqueue.task import DeadLetterInfo, NewTask, Receipt, Retries, Task
    from protoqueue.task_type import TaskType
    from protoqueue.worker import Worker
    from protoqueue.workers import run_workers

    __version__: str

__all__ = [
    "AlreadySettled",
    "AttemptOutcome",
    "Client",
    "ConfigurationError",
    "DeadLetter",
    "DeadLetterInfo",
    "GroupNotFound",
    "GroupStats",
    "HistoryDisabled",
    "InvalidTask",
    "Lease",
    "LeaseLost",
    "NewTask",
    "NoHandler",
    "PayloadTooLarge",
    "PermissionDenied",
    "Progress",
    "ProtoQueueError",
    "Queue",
    "QueueFull",
    "QueueNotFound",
    "QueueOverview",
    "QueueSample",
    "QueueSamples",
    "QueueStats",
    "Reason",
    "Receipt",
    "ReceivedTask",
    "RecordedValue",
    "Redrive",
    "Reject",
    "ResultNotStored",
    "Retries",
    "Retry",
    "ScheduledTask",
    "Snooze",
    "Task",
    "TaskFailed",
    "TaskRecord",
    "TaskState",
    "TaskStatus",
    "TaskType",
    "Throttle",
    "Unavailable",
    "UndecodableTask",
    "Worker",
    "WorkerChange",
    "WorkerStatus",
    "__version__",
    "connect",
    "run_workers",
]

_HOMES = {
    "client": ("Client",),
    "connection": ("connect",),
    "queue": ("Queue",),
    "admin.all_queues": ("QueueOverview",),
    "admin.dead_letters": ("DeadLetter",),
    "errors": (
        "AlreadySettled",
        "ConfigurationError",
        "GroupNotFound",
        "HistoryDisabled",
        "InvalidTask",
        "LeaseLost",
        "NoHandler",
        "PayloadTooLarge",
        "PermissionDenied",
        "ProtoQueueError",
        "QueueFull",
        "QueueNotFound",
        "ResultNotStored",
        "TaskFailed",
        "Unavailable",
        "UndecodableTask",
    ),
    "history.model": (
        "AttemptOutcome",
        "RecordedValue",
        "TaskRecord",
        "TaskState",
        "TaskStatus",
    ),
    "outcomes": (
        "Reason",
        "Redrive",
        "Reject",
        "Retry",
        "Snooze",
        "Throttle",
    ),
    "admin.peek": ("ScheduledTask",),
    "consumer.lease": ("Lease",),
    "consumer.receive": ("ReceivedTask",),
    "admin.samples": (
        "QueueSample",
        "QueueSamples",
        "WorkerChange",
    ),
    "admin.stats": (
        "GroupStats",
        "Progress",
        "QueueStats",
    ),
    "task": (
        "DeadLetterInfo",
        "NewTask",
        "Receipt",
        "Retries",
        "Task",
    ),
    "protocol.worker_status": ("WorkerStatus",),
    "task_type": ("TaskType",),
    "worker": ("Worker",),
    "workers": ("run_workers",),
}
_MODULES = ("http", "sync", "testing")
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = _import_module("importlib.metadata").version("protoqueue")
    elif name in _MODULES:
        return _import_module(f"protoqueue.{name}")
    elif name in _MODULE_OF:
        value = getattr(_import_module(f"protoqueue.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'protoqueue' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | {name for name in globals() if name.startswith("__")})

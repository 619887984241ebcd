"""Tasks as users hold them: what they send, what a handler gets, what an enqueue returns.

One task on its way, in the order in which the SDK handles it:

type                       module                 is
`NewTask`                  task                   payload and options, as a producer states them
`Prepared`                 producer.prepare       its message: subject, headers and encoded body, with the task's id
`v1.Task`                  protocol.v1.task_pb2   the body of every message of the task, as the wire has it
`Receipt`                  task                   what the producer gets once it is stored
`Message`                  broker.interface       what is published: a new task, a retry, a dead letter
`StoredMessage`            broker.interface       a message as it lies in a stream, read without consuming it
`Delivery`                 broker.interface       a message delivered to this process, with its lease
`Task`                     task                   one attempt, as a handler gets it
`Executed`                 settlement.outcome     the finished attempt: its outcome and how long it ran
`ReceivedTask`, `Lease`    consumer               the same for programs that settle tasks themselves
`ScheduledTask`            admin.peek             a task that is not due yet, and when it is
`DeadLetter`               admin.dead_letters     a task that failed for good, and why
`DeadLetterInfo`           task                   why, where the dead letter is a task of another queue
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

from protoqueue.errors import ConfigurationError

MIN_PRIORITY, DEFAULT_PRIORITY, MAX_PRIORITY = 1, 5, 10
DEFAULT_TIMEOUT_S = 5.0
DEFAULT_RESULT_TIMEOUT_S = 30.0

_Kind = TypeVar("_Kind")


class ResultSource(Protocol):
    """A queue."""

    async def result(self, task_id: str, kind: Any = ..., *, timeout: float | timedelta | None = ...) -> Any: ...


UniqueUntil: TypeAlias = Literal["end", "start"]
"""For how long a task keeps its unique key from others."""


@dataclass(frozen=True)
class Retries:
    """How often and when a task is tried, of a task (`enqueue(retry=…)`) or of a handler (`retries=…`).

    `max_attempts` counts the first; `initial_delay` and `max_delay` are seconds or a timedelta; each delay is
    `multiplier` times the one before, spread by the share `jitter` to both sides. None leaves a field to whoever is
    less specific: the task goes before the handler, that before the group, and that before the queue.
    """

    max_attempts: int | None = None
    initial_delay: float | timedelta | None = None
    multiplier: float | None = None
    max_delay: float | timedelta | None = None
    jitter: float | None = None


@dataclass(frozen=True)
class NewTask:
    """One item of `enqueue_batch` with options of its own; they mean what they mean for `enqueue`."""

    payload: Any
    type: str = ""
    priority: int = DEFAULT_PRIORITY
    delay: float | timedelta | None = None
    at: datetime | None = None
    expires: float | timedelta | datetime | None = None
    dedup_id: str | None = None
    ordering_key: str = ""
    metadata: Mapping[str, Any] | None = None
    retry: Retries | None = None
    unique: str | None = None
    unique_until: UniqueUntil = "end"
    fairness_key: str = ""
    replace: str | None = None


@dataclass(frozen=True)
class Receipt:
    """The queue has stored the task `id`; with `duplicate` it had one already, and stored nothing.

    `matched` says what that has in common with this one, `dedup_id` or `unique`.

    The `id` of a duplicate is that of the task that is there. It is empty where that task has left the queue's stream,
    as it has been run or dropped, or where this user may not look: then there is none to be cancelled.

    `replaced` is the id of the task that this one was stored in place of; empty where there was none that was not due.
    """

    id: str
    duplicate: bool = False
    matched: Literal["", "dedup_id", "unique"] = ""
    replaced: str = ""
    _queue: ResultSource | None = field(default=None, repr=False, compare=False)

    @overload
    async def result(
        self, kind: type[_Kind], /, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> _Kind: ...
    @overload
    async def result(
        self, kind: Any = Any, /, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> Any: ...

    async def result(self, kind: Any = Any, /, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S) -> Any:
        """What the task's handler returned, once it has: `Queue.result` tells more.

        Raises ConfigurationError for a receipt that no queue of this process gave.
        """
        if self._queue is None:
            raise ConfigurationError("no queue gave this receipt in this process: use queue.result(receipt.id)")
        return await self._queue.result(self.id, kind, timeout=timeout)

    def bound(self, queue: ResultSource) -> "Receipt":
        """The same receipt: from now on it asks `queue` for its result."""
        object.__setattr__(self, "_queue", queue)
        return self

    def __reduce__(self) -> tuple[type["Receipt"], tuple[str, bool, str, str]]:
        return Receipt, (self.id, self.duplicate, self.matched, self.replaced)


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """Why a task is a dead letter, and where it was given up: `queue` (`namespace/name`), `group` and `worker`.

    `reason` is one of `Reason`; `error`, `error_type` and `traceback`, which may be cut, are those of the last of its
    `attempts`. `previous` is what it was before, where its letter of one queue became a letter of the next.
    """

    reason: str
    queue: str
    group: str
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    attempts: int = 0
    failed_at: datetime | None = None
    worker: str = ""
    previous: "DeadLetterInfo | None" = None


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at a task. `attempt` counts from 1; `data` is the payload's bytes, encoded as `content_type` says.

    `scheduled_for` is, of a recurring task, the time at which its schedule made it due; None of others. `dead_letter`
    is, of a dead letter that is a task of this queue (`deadLetter.queueRef` of another), why it died; None of others.
    `retries` is what its producer said about its attempts. `max_attempts` is how many it may have; None where no group
    has the task, as in `peek`. `unique` is its unique key.
    """

    id: str
    data: bytes
    type: str = ""
    content_type: str = ""
    attempt: int = 1
    priority: int = DEFAULT_PRIORITY
    enqueued_at: datetime | None = None
    ordering_key: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    scheduled_for: datetime | None = None
    dead_letter: DeadLetterInfo | None = None
    retries: Retries | None = None
    max_attempts: int | None = None
    unique: str = ""
    fairness_key: str = ""

    @property
    def is_last_attempt(self) -> bool:
        """Whether the task is a dead letter if this attempt fails."""
        return self.max_attempts is not None and self.attempt >= self.max_attempts

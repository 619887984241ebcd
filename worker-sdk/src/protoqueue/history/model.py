"""What users learn of what became of a task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, overload

from protoqueue.errors import ResultNotStored
from protoqueue.protocol.payloads import decoder_for

_Kind = TypeVar("_Kind")


class TaskState(StrEnum):
    """Where a task is, or what became of it."""

    SCHEDULED = "Scheduled"
    WAITING = "Waiting"
    RUNNING = "Running"
    RETRYING = "Retrying"
    """An attempt failed, and the next one is not yet due."""
    DONE = "Done"
    DEAD = "Dead"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    REPLACED = "Replaced"
    """A later one of its replace key was stored in its place before it was due."""
    UNKNOWN = "Unknown"
    """There is no such task, or what became of it is not known any more."""


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    DONE = "Done"
    RETRIED = "Retried"
    """It failed, and there is to be another."""
    SNOOZED = "Snoozed"
    DEAD = "Dead"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    THROTTLED = "Throttled"
    REDRIVEN = "Redriven"
    """It was a dead letter, and went back to the queue that it came from."""
    REPLACED = "Replaced"
    """Before there was one: a later task of its replace key was stored in its place."""

    @property
    def token(self) -> str:
        """What the subject of a record says."""
        return self.value.lower()


FAILURES = (AttemptOutcome.RETRIED, AttemptOutcome.DEAD, AttemptOutcome.EXPIRED)


@dataclass(frozen=True, slots=True)
class RecordedValue:
    """A result or a payload; `omitted` says why there is no data although there was a value."""

    data: bytes
    content_type: str = ""
    omitted: str = ""

    @overload
    def read(self, kind: type[_Kind], /) -> _Kind: ...
    @overload
    def read(self, kind: Any = Any, /) -> Any: ...

    def read(self, kind: Any = Any, /) -> Any:
        """The value as `kind`, anything a handler's annotation may be.

        Raises ResultNotStored where it was left out, and UndecodableTask where it is not of that kind.
        """
        if self.omitted:
            raise ResultNotStored(self.omitted)
        return decoder_for(kind)(self.data, self.content_type)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One finished attempt. Times are None where they are not known; `due_at` is when the next attempt is due.

    `reason` is, of a task that failed for good, one of `Reason`. `traceback` begins at the handler and is shortened.
    `payload` is there where the queue records payloads. `sequence` counts the records of a queue.
    """

    id: str
    outcome: AttemptOutcome
    type: str = ""
    group: str = ""
    attempt: int = 1
    reason: str = ""
    error: str = ""
    error_type: str = ""
    traceback: str = field(default="", repr=False)
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    worker: str = ""
    priority: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    result: RecordedValue | None = None
    payload: RecordedValue | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Where a task is, or what became of it, and as much as is known of how.

    `attempts` is how many attempts were begun. `due_at` is when a task is due that is not yet. `worker` runs it, or ran
    it last. `reason`, `error`, `error_type` and `traceback` are of the last attempt that failed. `records` are those of
    its attempts, oldest first: none where the queue keeps no history. `payload` is there where that keeps payloads.
    """

    id: str
    state: TaskState
    attempts: int = 0
    type: str = ""
    group: str = ""
    worker: str = ""
    priority: int = 0
    enqueued_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = ""
    error: str = ""
    error_type: str = ""
    traceback: str = field(default="", repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    result: RecordedValue | None = None
    payload: RecordedValue | None = None
    records: tuple[TaskRecord, ...] = field(default=(), repr=False)

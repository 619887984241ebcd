"""A type of task that producers and workers share: its name and what its payload is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from protoqueue.errors import InvalidTask
from protoqueue.task import DEFAULT_PRIORITY, NewTask, Retries, UniqueUntil

Payload = TypeVar("Payload")


@dataclass(frozen=True)
class TaskType(Generic[Payload]):
    """`WELCOME = TaskType("welcome", Email)`, in a module that both sides import.

    A producer writes `queue.enqueue(WELCOME(Email(...)))`, a worker `@worker.handler(WELCOME)`: type checkers then hold
    the payload against the type on both sides.
    """

    name: str
    payload: type[Payload]

    def __call__(
        self,
        payload: Payload,
        *,
        priority: int = DEFAULT_PRIORITY,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
        expires: float | timedelta | datetime | None = None,
        dedup_id: str | None = None,
        ordering_key: str = "",
        metadata: Mapping[str, Any] | None = None,
        retry: Retries | None = None,
        unique: str | None = None,
        unique_until: UniqueUntil = "end",
        fairness_key: str = "",
        replace: str | None = None,
    ) -> NewTask:
        """A task of this type, for `enqueue` and `enqueue_batch`; raises InvalidTask for another payload."""
        if isinstance(self.payload, type) and not isinstance(payload, self.payload):
            raise InvalidTask(
                f"a task of type {self.name!r} has a payload of type {self.payload.__name__}, "
                f"not {type(payload).__name__}"
            )
        return NewTask(
            payload, self.name, priority, delay, at, expires, dedup_id, ordering_key, metadata, retry, unique,
            unique_until, fairness_key, replace,
        )  # fmt: skip

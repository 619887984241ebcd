"""The fields of a dead letter, common to the client, the synchronous client, and commands through a gateway."""

from dataclasses import dataclass, field
from datetime import datetime

from protoqueue.task import Task


@dataclass(frozen=True)
class Letter:
    """A task that was given up. `reason` is one of `Reason`.

    `task.max_attempts` is how many attempts it might have had, where the letter says it.
    """

    task: Task
    reason: str
    error: str
    error_type: str
    attempts: int
    group: str
    worker: str
    failed_at: datetime | None
    sequence: int
    redrives: int
    traceback: str = field(repr=False)
    """Of the last attempt, from the handler on, shortened; empty where no handler raised."""

    def matches(self, task_type: str | None, reason: str | None) -> bool:
        return (task_type is None or self.task.type == task_type) and (reason is None or self.reason == reason)

"""Tasks for the dashboard: those that wait, run or are not due yet; found, cancelled, run at once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from protoqueue import ScheduledTask, Task
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import NoSuchTask

_MOST_SEARCHED = 1000


@dataclass(frozen=True)
class TaskSearch:
    """What a task has to have: each text is a part of it, in any case; of metadata, of what it is as JSON."""

    id: str = ""
    type: str = ""
    metadata: str = ""

    @property
    def is_empty(self) -> bool:
        return self == TaskSearch()

    def matches(self, task: Task) -> bool:
        return (
            self.id.lower() in task.id.lower()
            and self.type.lower() in task.type.lower()
            and (not self.metadata or self.metadata.lower() in _as_text(task))
        )


@dataclass(frozen=True)
class FoundTask:
    """A task, and when it is due that is not yet."""

    task: Task
    due_at: datetime | None = None


@dataclass(frozen=True)
class FoundTasks:
    """The oldest first. `is_whole` if all existing tasks were read."""

    tasks: Sequence[FoundTask]
    looked_at: int
    is_whole: bool


class Tasks:
    """Every method raises NoSuchQueue, Away and Unavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def waiting(self, queue: QueueName, wanted: TaskSearch, limit: int) -> FoundTasks:
        """Those that wait for a worker, or are with one."""
        tasks = await (await self._connection.queue(queue)).peek(_reach(wanted, limit) + 1)
        return _found([FoundTask(task) for task in tasks], wanted, limit)

    async def scheduled(self, queue: QueueName, wanted: TaskSearch, limit: int) -> FoundTasks:
        """Those that are not due yet: delayed ones, and those that wait for their next attempt."""
        tasks: list[ScheduledTask] = await (await self._connection.queue(queue)).peek_scheduled(
            _reach(wanted, limit) + 1
        )
        return _found([FoundTask(each.task, each.due_at) for each in tasks], wanted, limit)

    async def cancel(self, queue: QueueName, task_id: str) -> None:
        """Raises NoSuchTask."""
        if not await (await self._connection.queue(queue)).cancel(task_id):
            raise NoSuchTask(f"queue {queue} has no task {task_id} any more")

    async def run_now(self, queue: QueueName, task_id: str) -> None:
        """Raises NoSuchTask."""
        if not await (await self._connection.queue(queue)).run_now(task_id):
            raise NoSuchTask(f"queue {queue} has no task {task_id} that is not due yet")


def _reach(wanted: TaskSearch, limit: int) -> int:
    """How many tasks are read."""
    return limit if wanted.is_empty else _MOST_SEARCHED


def _found(tasks: list[FoundTask], wanted: TaskSearch, limit: int) -> FoundTasks:
    reach = _reach(wanted, limit)
    looked_at = tasks[:reach]
    matching = [each for each in looked_at if wanted.matches(each.task)]
    return FoundTasks(matching[:limit], len(looked_at), len(tasks) <= reach)


def _as_text(task: Task) -> str:
    return json.dumps(task.metadata, ensure_ascii=False, default=str).lower()

"""What became of tasks, as far as a queue keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass

from protoqueue import HistoryDisabled, Task, TaskRecord, TaskState, TaskStatus
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import NoSuchTask
from protoqueue_gateway.service.tasks import Tasks, TaskSearch


@dataclass(frozen=True)
class RecordSearch:
    """Which finished attempts: all, those that failed, or those that did not; of a type and an error type if stated."""

    failed: bool | None = None
    type: str = ""
    error_type: str = ""


@dataclass(frozen=True)
class FoundRecords:
    """The newest first, and before which sequence the next page is; `is_kept` is False where there is no history."""

    records: Sequence[TaskRecord]
    following: int | None = None
    is_kept: bool = True


@dataclass(frozen=True)
class TaskDetails:
    """A task's status, and the task itself where it waits, runs or is not due yet."""

    status: TaskStatus
    task: Task | None


class TaskHistory:
    """Every method raises NoSuchQueue, Away and Unavailable."""

    def __init__(self, connection: Connection, tasks: Tasks) -> None:
        self._connection = connection
        self._tasks = tasks

    async def records(self, queue: QueueName, wanted: RecordSearch, before: int | None, limit: int) -> FoundRecords:
        """A page of finished attempts."""
        try:
            found = await (await self._connection.queue(queue)).history(
                failed=wanted.failed, type=wanted.type or None, error_type=wanted.error_type or None, before=before,
                limit=limit + 1,
            )  # fmt: skip
        except HistoryDisabled:
            return FoundRecords([], is_kept=False)
        page = found[:limit]
        return FoundRecords(page, page[-1].sequence if len(found) > limit else None)

    async def task(self, queue: QueueName, task_id: str) -> TaskDetails:
        """Raises NoSuchTask where nothing is known of it."""
        status = await (await self._connection.queue(queue)).status(task_id)
        task = await self._stored(queue, status)
        if status.state is TaskState.UNKNOWN and task is None and not status.records:
            raise NoSuchTask(f"nothing is known of task {task_id} of queue {queue}")
        return TaskDetails(status, task)

    async def _stored(self, queue: QueueName, status: TaskStatus) -> Task | None:
        """None also where it is not among the oldest."""
        look = {
            TaskState.WAITING: self._tasks.waiting,
            TaskState.RUNNING: self._tasks.waiting,
            TaskState.SCHEDULED: self._tasks.scheduled,
            TaskState.RETRYING: self._tasks.scheduled,
        }.get(status.state)
        if look is None:
            return None
        found = await look(queue, TaskSearch(id=status.id), 1)
        return found.tasks[0].task if found.tasks and found.tasks[0].task.id == status.id else None

"""Where tasks are and what became of them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import protoqueue
from protoqueue import (
    AttemptOutcome,
    DeadLetter,
    HistoryDisabled,
    ScheduledTask,
    Task,
    TaskRecord,
    TaskState,
    TaskStatus,
)
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import NoSuchTask

_ENDED = {
    AttemptOutcome.DONE: TaskState.DONE,
    AttemptOutcome.DEAD: TaskState.DEAD,
    AttemptOutcome.CANCELLED: TaskState.CANCELLED,
    AttemptOutcome.EXPIRED: TaskState.EXPIRED,
    AttemptOutcome.REPLACED: TaskState.REPLACED,
}
_NOT_DUE = (TaskState.SCHEDULED, TaskState.RETRYING)
_MOST_SEARCHED = 1000
"""How many unfinished tasks are read."""


@dataclass(frozen=True)
class Wanted:
    """Which tasks are asked for; without a state those that have ended. `before` is where the page before ended."""

    state: TaskState | None = None
    type: str | None = None
    error_type: str | None = None
    since: datetime | timedelta | None = None
    before: int | None = None


class TaskLookup:
    """Every method raises NoSuchQueue, Away and Unavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def status(self, queue: QueueName, task_id: str) -> TaskStatus:
        """Raises NoSuchTask."""
        status = await (await self._connection.queue(queue)).status(task_id)
        if status.state is TaskState.UNKNOWN:
            raise NoSuchTask(
                f"queue {queue} has no task {task_id}, or what became of it is not kept (spec.history of the Queue)"
            )
        return status

    async def search(self, queue: QueueName, wanted: Wanted, limit: int) -> tuple[list[TaskStatus], int | None]:
        """Up to `limit` tasks, and where the next page begins, if there may be one. Raises HistoryDisabled."""
        target = await self._connection.queue(queue)
        if wanted.state is None or wanted.state in _ENDED.values():
            try:
                return await _ended(target, wanted, limit)
            except HistoryDisabled:
                if wanted.state is not TaskState.DEAD:
                    raise
                return await _letters(target, wanted, limit)
        if wanted.state in _NOT_DUE:
            tasks = [_not_due(each) for each in await target.peek_scheduled(_MOST_SEARCHED)]
        else:
            tasks = [_of_task(task, TaskState.WAITING) for task in await target.peek(_MOST_SEARCHED)]
        return [task for task in tasks if _matches(task, wanted)][:limit], None


async def _ended(target: protoqueue.Queue, wanted: Wanted, limit: int) -> tuple[list[TaskStatus], int | None]:
    outcomes = [outcome for outcome, state in _ENDED.items() if wanted.state in (None, state)]
    records = await target.history(
        outcomes=outcomes, type=wanted.type, error_type=wanted.error_type, since=wanted.since, before=wanted.before,
        limit=limit,
    )  # fmt: skip
    last = records[-1].sequence if len(records) == limit else None
    return [_of_record(record) for record in records], last


async def _letters(target: protoqueue.Queue, wanted: Wanted, limit: int) -> tuple[list[TaskStatus], int | None]:
    """Of a queue without history: its dead letters, oldest first."""
    found: list[TaskStatus] = []
    async for letter in target.dead_letters(after=wanted.before or 0):
        status = _of_letter(letter)
        if _matches(status, wanted):
            found.append(status)
            if len(found) == limit:
                return found, letter.sequence
    return found, None


def _of_letter(letter: DeadLetter) -> TaskStatus:
    task = letter.task
    return TaskStatus(
        task.id, TaskState.DEAD, letter.attempts, task.type, letter.group, letter.worker, task.priority,
        task.enqueued_at, finished_at=letter.failed_at, reason=letter.reason, error=letter.error,
        error_type=letter.error_type, traceback=letter.traceback, metadata=task.metadata,
    )  # fmt: skip


def _of_record(record: TaskRecord) -> TaskStatus:
    return TaskStatus(
        record.id, _ENDED[record.outcome], record.attempt if record.started_at else record.attempt - 1, record.type,
        record.group, record.worker, record.priority, record.enqueued_at, None, record.started_at, record.finished_at,
        record.reason, record.error, record.error_type, record.traceback, record.metadata, record.result,
        record.payload,
    )  # fmt: skip


def _not_due(scheduled: ScheduledTask) -> TaskStatus:
    state = TaskState.RETRYING if scheduled.task.attempt > 1 else TaskState.SCHEDULED
    return _of_task(scheduled.task, state, scheduled.due_at)


def _of_task(task: Task, state: TaskState, due_at: datetime | None = None) -> TaskStatus:
    return TaskStatus(
        task.id, state, task.attempt - 1, task.type, priority=task.priority, enqueued_at=task.enqueued_at,
        due_at=due_at, metadata=task.metadata,
    )  # fmt: skip


def _matches(task: TaskStatus, wanted: Wanted) -> bool:
    begin = datetime.now(UTC) - wanted.since if isinstance(wanted.since, timedelta) else wanted.since
    return (
        task.state is wanted.state
        and (wanted.type is None or task.type == wanted.type)
        and (wanted.error_type is None or task.error_type == wanted.error_type)
        and (begin is None or (task.enqueued_at is not None and task.enqueued_at >= begin))
    )

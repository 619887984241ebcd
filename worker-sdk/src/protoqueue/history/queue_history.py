"""The history of one queue, for one client."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from protoqueue.broker import Broker, Delivery
from protoqueue.errors import HistoryDisabled, InvalidTask, TaskFailed
from protoqueue.history.encode import RecordEncoder
from protoqueue.history.model import FAILURES, AttemptOutcome, TaskRecord, TaskStatus
from protoqueue.history.read import history_of, newest_records
from protoqueue.history.recorder import Recorder
from protoqueue.history.results import Results
from protoqueue.history.status import read_status
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.names import QueueName
from protoqueue.settlement.outcome import CANCELLED, REPLACED, Executed
from protoqueue.task import Task


class QueueHistory:
    """Records what this client settles, and reads all records. Settings are the current ones."""

    def __init__(self, broker: Broker, name: QueueName) -> None:
        self._broker = broker
        self._recorder = Recorder(broker)
        self._results = Results(broker, name)

    async def close(self) -> None:
        await self._results.close()
        await self._recorder.close()

    def cancelled(self, queue: QueueSettings, task: Task) -> None:
        """Record that a task was cancelled before a worker had it."""
        self.finished(queue, "", "", Executed(CANCELLED, task), _NO_DELIVERY, None)

    def replaced(self, queue: QueueSettings, task: Task) -> None:
        """Record that another task was stored in its place before it was due."""
        self.finished(queue, "", "", Executed(REPLACED, task), _NO_DELIVERY, None)

    def finished(
        self, queue: QueueSettings, group: str, worker: str, executed: Executed, delivery: Delivery, ran_s: float | None
    ) -> None:
        """Record an attempt that ended just now; nothing happens where the queue keeps no history.

        `ran_s` is for how long the task was held, None if it was not.
        """
        if queue.history is None:
            return
        encoder = RecordEncoder(queue, group, worker, self._broker.max_payload)
        record = encoder.encode(executed, delivery, self._broker.now().timestamp(), ran_s)
        if record is not None:
            self._recorder.add(record)

    async def status(self, queue: QueueSettings, task_id: str, timeout_s: float) -> TaskStatus:
        """Raises Unavailable."""
        return await read_status(self._broker, queue, task_id, timeout_s)

    async def result(self, queue: QueueSettings, task_id: str, kind: Any, timeout_s: float | None) -> Any:
        """What the handler returned, as `kind`.

        Raises HistoryDisabled, TaskFailed, ResultNotStored, UndecodableTask, TimeoutError and Unavailable.
        """
        history = history_of(queue)
        if not history.results:
            raise HistoryDisabled(f"queue {queue.name} keeps no results: set spec.history.results of the Queue")
        if not task_id:
            raise InvalidTask(
                "the task of this receipt is not there any more: it was a duplicate of one that has ended"
            )
        record = await self._results.last_record(history, task_id, timeout_s)
        if record.outcome not in (AttemptOutcome.DONE, AttemptOutcome.REDRIVEN):
            reason = record.reason or record.outcome.value
            raise TaskFailed(task_id, reason, record.error, record.traceback, error_type=record.error_type)
        return None if record.result is None else record.result.read(kind)

    async def search(
        self, queue: QueueSettings, *, outcomes: tuple[AttemptOutcome, ...], task_type: str | None,
        error_type: str | None, group: str | None, since: datetime | None, before: int | None, limit: int,
        timeout_s: float,
    ) -> list[TaskRecord]:  # fmt: skip
        """Raises HistoryDisabled and Unavailable."""

        def wanted(record: TaskRecord) -> bool:
            return (
                (task_type is None or record.type == task_type)
                and (error_type is None or record.error_type == error_type)
                and (group is None or record.group == group)
            )

        return await newest_records(self._broker, queue, outcomes, wanted, limit, timeout_s, since=since, before=before)


_NO_DELIVERY = Delivery("", b"", {}, "", 0, 0, 0, 0)


def outcomes_of(failed: bool | None, among: Iterable[AttemptOutcome] | None = None) -> tuple[AttemptOutcome, ...]:
    """Of all attempts, of those that failed, or of those that did not. Raises InvalidTask."""
    try:
        chosen = tuple(AttemptOutcome) if among is None else tuple(map(AttemptOutcome, among))
    except ValueError as error:
        raise InvalidTask(f"outcomes must be some of {', '.join(AttemptOutcome)}: {error}") from None
    return tuple(outcome for outcome in chosen if failed is None or failed == (outcome in FAILURES))

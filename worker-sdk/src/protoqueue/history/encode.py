"""Records of finished attempts as the wire has them. Pure."""

from struct import Struct
from typing import Any

from protoqueue.broker import Delivery
from protoqueue.errors import InvalidTask, ProtoQueueError
from protoqueue.handlers.results import Unsendable
from protoqueue.history.model import AttemptOutcome
from protoqueue.outcomes import Reason
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.metadata import write_metadata
from protoqueue.protocol.payloads import encode_payload
from protoqueue.protocol.task_codec import read_task
from protoqueue.protocol.v1 import task_pb2
from protoqueue.settlement.outcome import (
    Cancelled,
    Dead,
    Done,
    Executed,
    Failure,
    Outcome,
    Redriven,
    Replaced,
    RetryLater,
    Skipped,
    Snoozed,
    Throttled,
)
from protoqueue.task import Task

MOST_VALUE_BYTES = 64 * 1024
"""Of a result, and of a payload."""
_MOST_ERROR_CHARACTERS = 1000
_ENVELOPE = 8 * 1024
"""More than a record takes besides values and metadata."""
_MOST_COMMON = 1000
"""Producers may make up types without end."""

_NUMBERS = {
    AttemptOutcome.DONE: task_pb2.TASK_OUTCOME_DONE,
    AttemptOutcome.RETRIED: task_pb2.TASK_OUTCOME_RETRIED,
    AttemptOutcome.SNOOZED: task_pb2.TASK_OUTCOME_SNOOZED,
    AttemptOutcome.DEAD: task_pb2.TASK_OUTCOME_DEAD,
    AttemptOutcome.CANCELLED: task_pb2.TASK_OUTCOME_CANCELLED,
    AttemptOutcome.EXPIRED: task_pb2.TASK_OUTCOME_EXPIRED,
    AttemptOutcome.THROTTLED: task_pb2.TASK_OUTCOME_THROTTLED,
    AttemptOutcome.REDRIVEN: task_pb2.TASK_OUTCOME_REDRIVEN,
    AttemptOutcome.REPLACED: task_pb2.TASK_OUTCOME_REPLACED,
}
_ID_DIGITS = 32
_HEAD = Struct("<2s32scQcQcQ")
"""Id, and when the task was enqueued, started and finished: fields 1 to 4 with their tags, as protobuf writes them.

protobuf takes ten times as long for it, and a worker writes one for each task.
"""


def recorded_outcome(outcome: Outcome) -> AttemptOutcome | None:
    """None for what ends no attempt: the task was handed back, or waits for a newer worker."""
    match outcome:
        case Done():
            return AttemptOutcome.DONE
        case RetryLater():
            return AttemptOutcome.RETRIED
        case Throttled():
            return AttemptOutcome.THROTTLED
        case Snoozed():
            return AttemptOutcome.SNOOZED
        case Dead():
            return AttemptOutcome.EXPIRED if outcome.reason is Reason.EXPIRED else AttemptOutcome.DEAD
        case Cancelled() | Skipped():
            return AttemptOutcome.CANCELLED
        case Redriven():
            return AttemptOutcome.REDRIVEN
        case Replaced():
            return AttemptOutcome.REPLACED
    return None


class RecordEncoder:
    """Makes the records of one group's attempts, as `spec.history` of its queue says.

    `room` is how large a message may be.
    """

    def __init__(self, queue: QueueSettings, group: str, worker: str, room: int) -> None:
        assert queue.history is not None
        self._name = queue.name
        self._results = queue.history.results
        self._payloads = queue.history.payloads
        self._group = group
        self._worker = worker
        self._room = room
        self._done = queue.name.record_prefix(AttemptOutcome.DONE.token)
        self._common: dict[tuple[str, int, int], bytes] = {}

    @classmethod
    def of(cls, queue: QueueSettings, group: GroupSettings, worker: str, room: int) -> "RecordEncoder | None":
        """None where the queue keeps no history."""
        return cls(queue, group.name.name, worker, room) if queue.history is not None else None

    def encode(
        self, executed: Executed, delivery: Delivery, finished_s: float, ran_s: float | None
    ) -> tuple[str, bytes] | None:
        """Subject and data of the record of an attempt that ended at `finished_s`, seconds since the epoch.

        None where there is nothing to record. `ran_s` is what the handler took, None where none has run.
        """
        task = executed.task or read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream)
        started_s = 0.0 if ran_s is None else finished_s - ran_s
        plain_id = task.id.encode()
        is_plain = len(plain_id) == _ID_DIGITS and plain_id.isalnum()
        head = _encode_head(task, plain_id if is_plain else None, started_s, finished_s)
        if type(executed.outcome) is Done and executed.result is None and not self._payloads and not task.metadata:
            if is_plain:
                return self._done + task.id, head + self._done_in_common(task)
            return self._name.record(AttemptOutcome.DONE.token, task.id), head + self._done_in_common(task)
        ended = recorded_outcome(executed.outcome)
        if ended is None:
            return None
        more = self._more(executed, task, finished_s)
        data = head + self._in_common(task, ended) + _bounded(more, self._room - len(head) - _ENVELOPE)
        return self._name.record(ended.token, task.id), data

    def _done_in_common(self, task: Task) -> bytes:
        """What the records of many tasks have in common: encoded once."""
        key = task.type, task.attempt, task.priority
        common = self._common.get(key)
        if common is None:
            if len(self._common) >= _MOST_COMMON:
                self._common.clear()
            common = self._common[key] = self._in_common(task, AttemptOutcome.DONE)
        return common

    def _in_common(self, task: Task, ended: AttemptOutcome) -> bytes:
        # Messages of protobuf that follow each other are one with the fields of all.
        return task_pb2.TaskRecord(
            type=task.type, group=self._group, attempt=task.attempt, outcome=_NUMBERS[ended], worker=self._worker,
            metadata=task_pb2.TaskMetadata(priority=task.priority),
        ).SerializeToString()  # fmt: skip

    def _more(self, executed: Executed, task: Task, finished_s: float) -> task_pb2.TaskRecord:
        """What not every record has."""
        record, outcome = task_pb2.TaskRecord(), executed.outcome
        if self._results and executed.result is not None:
            record.result.CopyFrom(_result(executed.result))
        if self._payloads:
            record.payload.CopyFrom(_value(task.data, task.content_type, "payload"))
        if task.metadata:
            write_metadata(record.metadata, task.metadata)
        if isinstance(outcome, RetryLater | Snoozed):
            record.due_at = int((finished_s + outcome.delay.total_seconds()) * 1000)
        if isinstance(outcome, RetryLater | Dead):
            _write_failure(record, outcome.failure, executed.error)
        if isinstance(outcome, Dead):
            record.reason = outcome.reason.value
        if isinstance(outcome, Skipped):
            record.reason, record.error = "Skipped", "the firing before it was unfinished"
        return record


def _encode_head(task: Task, plain_id: bytes | None, started_s: float, finished_s: float) -> bytes:
    """`plain_id` is the task's id where it is one that the SDK makes."""
    enqueued = int(task.enqueued_at.timestamp() * 1000) if task.enqueued_at else 0
    started, finished = int(started_s * 1000), int(finished_s * 1000)
    if plain_id is not None:
        return _HEAD.pack(b"\x0a\x20", plain_id, b"\x11", enqueued, b"\x19", started, b"\x21", finished)
    record = task_pb2.TaskRecord(id=task.id, enqueued_at=enqueued, started_at=started, finished_at=finished)
    return record.SerializeToString()


def _write_failure(record: task_pb2.TaskRecord, failure: Failure, error: BaseException | None) -> None:
    traced = failure.traceback
    if not traced and error is not None and not isinstance(error, ProtoQueueError):
        traced = Failure.of(error, traced=True).traceback
    record.error, record.error_type = failure.message[:_MOST_ERROR_CHARACTERS], failure.type
    record.traceback = traced


def _result(returned: Any) -> task_pb2.RecordedValue:
    if isinstance(returned, Unsendable):
        return task_pb2.RecordedValue(omitted=returned.why)
    try:
        data, content_type = encode_payload(returned)
    except InvalidTask as error:
        return task_pb2.RecordedValue(omitted=_not_encodable(returned, error.__cause__ or error))
    except Exception as error:  # of a value's own code
        return task_pb2.RecordedValue(omitted=_not_encodable(returned, error))
    return _value(data, content_type, "result")


def _not_encodable(returned: Any, error: BaseException) -> str:
    why = Failure.of(error)
    return (
        f"the result is not stored: a {type(returned).__name__} cannot be encoded "
        f"({why.type}: {why.message[:_MOST_ERROR_CHARACTERS]}): return bytes, a protobuf message, a pydantic model or "
        "a JSON-serializable value"
    )


def _value(data: bytes, content_type: str, what: str) -> task_pb2.RecordedValue:
    if len(data) > MOST_VALUE_BYTES:
        return task_pb2.RecordedValue(omitted=_too_large(what, len(data), MOST_VALUE_BYTES))
    return task_pb2.RecordedValue(data=data, content_type=content_type)


def _too_large(what: str, size: int, most: int) -> str:
    return f"the {what} is not stored: it has {size} bytes, and at most {most} are kept: store it elsewhere"


def _bounded(record: task_pb2.TaskRecord, room: int) -> bytes:
    """As much of it as NATS takes."""
    for what in ("payload", "result"):
        if record.ByteSize() <= room:
            break
        value: task_pb2.RecordedValue = getattr(record, what)
        if value.data:
            value.CopyFrom(task_pb2.RecordedValue(omitted=_too_large(what, len(value.data), max(0, room))))
    if record.ByteSize() > room:
        record.ClearField("metadata")
    return record.SerializeToString()

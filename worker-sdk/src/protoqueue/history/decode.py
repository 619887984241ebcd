"""Records of finished attempts, read from the wire. Pure."""

from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError

from protoqueue.broker import StoredMessage
from protoqueue.errors import UndecodableTask
from protoqueue.history.model import AttemptOutcome, RecordedValue, TaskRecord
from protoqueue.protocol.metadata import read_metadata
from protoqueue.protocol.v1 import task_pb2
from protoqueue.task import DEFAULT_PRIORITY

_OUTCOMES = {
    task_pb2.TASK_OUTCOME_DONE: AttemptOutcome.DONE,
    task_pb2.TASK_OUTCOME_RETRIED: AttemptOutcome.RETRIED,
    task_pb2.TASK_OUTCOME_SNOOZED: AttemptOutcome.SNOOZED,
    task_pb2.TASK_OUTCOME_DEAD: AttemptOutcome.DEAD,
    task_pb2.TASK_OUTCOME_CANCELLED: AttemptOutcome.CANCELLED,
    task_pb2.TASK_OUTCOME_EXPIRED: AttemptOutcome.EXPIRED,
    task_pb2.TASK_OUTCOME_THROTTLED: AttemptOutcome.THROTTLED,
    task_pb2.TASK_OUTCOME_REDRIVEN: AttemptOutcome.REDRIVEN,
    task_pb2.TASK_OUTCOME_REPLACED: AttemptOutcome.REPLACED,
}


def decode_record(message: StoredMessage) -> TaskRecord | None:
    """None for what is not a record, and for one of an outcome that a later version knows."""
    return parse_record(message.data, message.sequence)


def parse_record(data: bytes, sequence: int = 0) -> TaskRecord | None:
    """The same of one that has just been published, whose sequence is not known."""
    try:
        wire = task_pb2.TaskRecord.FromString(data)
        metadata = read_metadata(wire.metadata)
    except (DecodeError, UndecodableTask):
        return None
    outcome = _OUTCOMES.get(wire.outcome)
    if outcome is None or not wire.id:
        return None
    return TaskRecord(
        id=wire.id, outcome=outcome, type=wire.type, group=wire.group, attempt=wire.attempt or 1, reason=wire.reason,
        error=wire.error, error_type=wire.error_type, traceback=wire.traceback,
        enqueued_at=_moment(wire.enqueued_at), started_at=_moment(wire.started_at),
        finished_at=_moment(wire.finished_at), due_at=_moment(wire.due_at), worker=wire.worker,
        priority=wire.metadata.priority or DEFAULT_PRIORITY, metadata=metadata,
        result=_read_value(wire.result) if wire.HasField("result") else None,
        payload=_read_value(wire.payload) if wire.HasField("payload") else None,
        sequence=sequence,
    )  # fmt: skip


def _read_value(wire: task_pb2.RecordedValue) -> RecordedValue:
    return RecordedValue(wire.data, wire.content_type, wire.omitted)


def _moment(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds) if milliseconds else None
    except OverflowError:
        return None

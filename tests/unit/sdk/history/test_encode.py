"""Records of finished attempts as they are written and read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from protoqueue import ResultNotStored
from protoqueue.broker import Delivery
from protoqueue.handlers.results import Unsendable
from protoqueue.history.decode import parse_record
from protoqueue.history.encode import MOST_VALUE_BYTES, RecordEncoder
from protoqueue.history.model import AttemptOutcome, TaskRecord
from protoqueue.outcomes import Reason
from protoqueue.protocol.config import History, QueueSettings
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.v1 import task_pb2
from protoqueue.settlement.outcome import (
    CANCELLED,
    DONE,
    HAND_BACK,
    Dead,
    Executed,
    Failure,
    Outcome,
    Redriven,
    RetryLater,
    Snoozed,
    Throttled,
    WaitForWorker,
)
from protoqueue.task import Task

ENQUEUED, FINISHED = datetime(2027, 1, 2, 3, 4, 5, 678000, UTC), datetime(2027, 1, 2, 3, 5, 0, 500000, UTC)
TASK = Task("0193f0a1b2c37def8123456789abcdef", b'{"n":1}', "charge", "application/json", 2, 7, ENQUEUED)
WAIT = timedelta(seconds=60)


class Email(BaseModel):
    to: str


def encoder(room: int = 1 << 20, **history: bool) -> RecordEncoder:
    settings = QueueSettings(QueueName("default", "email"), "S", "S", "D", history=History("H", **history))
    return RecordEncoder(settings, "mailers", "pod-1", room)


def encoded(
    outcome: Outcome = DONE, task: Task | None = TASK, made: RecordEncoder | None = None, *,
    result: Any = None, error: BaseException | None = None, started: bool = True,
) -> tuple[str, bytes] | None:  # fmt: skip
    executed = Executed(outcome, task, 1.5, error, result=result)
    delivery = Delivery("pq.default.email.task.0", b"\xff", {}, "", 7, 1, 0, 0)
    return (made or encoder()).encode(executed, delivery, FINISHED.timestamp(), 1.5 if started else None)


def recorded(*arguments: Any, **more: Any) -> TaskRecord:
    message = encoded(*arguments, **more)
    assert message
    record = parse_record(message[1])
    assert record
    return record


def test_a_record_says_all_that_is_known_of_an_attempt() -> None:
    message = encoded()
    assert message
    assert message[0] == f"pqhist.default.email.done.{TASK.id}"
    assert parse_record(message[1]) == TaskRecord(
        TASK.id, AttemptOutcome.DONE, "charge", "mailers", 2, enqueued_at=ENQUEUED,
        started_at=FINISHED - timedelta(seconds=1.5), finished_at=FINISHED, worker="pod-1", priority=7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "ended", "reason"),
    [
        (DONE, AttemptOutcome.DONE, ""),
        (RetryLater(WAIT, Failure("ValueError", "no")), AttemptOutcome.RETRIED, ""),
        (Snoozed(WAIT), AttemptOutcome.SNOOZED, ""),
        (Dead(Reason.MAX_ATTEMPTS, Failure("ValueError", "no")), AttemptOutcome.DEAD, "MaxAttempts"),
        (Dead(Reason.EXPIRED, Failure("Expired", "late")), AttemptOutcome.EXPIRED, "Expired"),
        (CANCELLED, AttemptOutcome.CANCELLED, ""),
        (Throttled(WAIT), AttemptOutcome.THROTTLED, ""),
        (Redriven(WAIT), AttemptOutcome.REDRIVEN, ""),
    ],
)
def test_each_outcome_of_an_attempt_is_recorded(outcome: Outcome, ended: AttemptOutcome, reason: str) -> None:
    record = recorded(outcome)
    assert (record.outcome, record.reason) == (ended, reason)
    assert record.due_at == (FINISHED + WAIT if isinstance(outcome, RetryLater | Snoozed | Throttled) else None)


@pytest.mark.parametrize("outcome", [HAND_BACK, WaitForWorker(WAIT, Failure("NoHandler", "none"))])
def test_what_ends_no_attempt_is_not_recorded(outcome: Outcome) -> None:
    assert encoded(outcome) is None


@pytest.mark.parametrize("task_id", [TASK.id, "ours", "dots.and*stars" + 18 * "x", "ü" * 32, "x" * 200, "a/b@7"])
def test_a_record_is_the_same_for_every_id_and_lies_on_a_subject_of_its_own(task_id: str) -> None:
    task = replace(TASK, id=task_id)
    message = encoded(task=task)
    assert message
    record = parse_record(message[1])
    assert record
    assert (record.id, record.enqueued_at, record.finished_at) == (task_id, ENQUEUED, FINISHED)
    assert message[0] == QueueName("default", "email").record("done", task_id)
    assert message[0].count(".") == 4
    failed = encoded(Dead(Reason.REJECTED, Failure("x", "y")), task)
    assert failed
    assert failed[0].rpartition(".")[2] == message[0].rpartition(".")[2]


def test_the_quick_way_writes_what_protobuf_does() -> None:
    message = encoded()
    assert message
    wire = task_pb2.TaskRecord.FromString(message[1])
    assert wire.SerializeToString(deterministic=True) == message[1]


@pytest.mark.parametrize("change", [{"type": "other"}, {"attempt": 7}, {"priority": 9}])
def test_what_tasks_have_in_common_is_not_taken_for_what_they_differ_in(change: dict[str, Any]) -> None:
    made = encoder()
    first, other = recorded(task=TASK, made=made), recorded(task=replace(TASK, **change), made=made)
    ((field, value),) = change.items()
    assert (getattr(other, field), getattr(first, field) != value) == (value, True)


def test_what_no_handler_has_begun_has_no_start() -> None:
    assert recorded(CANCELLED, started=False).started_at is None


def test_bytes_that_are_not_a_task_are_recorded_by_their_place() -> None:
    record = recorded(Dead(Reason.UNDECODABLE, Failure("UndecodableTask", "no task")), None, started=False)
    assert (record.id, record.reason, record.error) == ("task@7", "Undecodable", "no task")


@pytest.mark.parametrize(
    ("result", "kind", "read"),
    [
        ({"sum": 3}, Any, {"sum": 3}),
        ([1, None, "x"], Any, [1, None, "x"]),
        (0, Any, 0),
        ("text", str, "text"),
        (b"\x00\xff", Any, b"\x00\xff"),
        (Email(to="ada"), Email, Email(to="ada")),
        (Email(to="ada"), Any, {"to": "ada"}),
        (task_pb2.Task(id="x"), task_pb2.Task, task_pb2.Task(id="x")),
        (task_pb2.Task(id="x"), Any, task_pb2.Task(id="x")),
    ],
)
def test_what_a_handler_returns_is_the_result(result: Any, kind: Any, read: Any) -> None:
    record = recorded(result=result)
    assert record.result
    assert record.result.read(kind) == read


def test_a_handler_that_returns_nothing_has_no_result() -> None:
    assert recorded().result is None


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("x" * MOST_VALUE_BYTES, "at most 65536 are kept"),
        (b"x" * (MOST_VALUE_BYTES + 1), "it has 65537 bytes"),
        (object(), "a object cannot be encoded"),
        (float("nan"), "a float cannot be encoded"),
        ({1, (2, object())}, "a set cannot be encoded"),
        (Unsendable("it could not be pickled"), "it could not be pickled"),
    ],
)
def test_a_result_that_cannot_be_kept_is_told_of_and_the_task_is_done(result: Any, why: str) -> None:
    record = recorded(result=result)
    assert record.outcome is AttemptOutcome.DONE
    assert record.result
    with pytest.raises(ResultNotStored, match=why):
        record.result.read()


def test_results_and_payloads_are_kept_as_the_queue_says() -> None:
    record = recorded(made=encoder(results=False, payloads=False), result={"secret": 1})
    assert (record.result, record.payload) == (None, None)
    record = recorded(made=encoder(results=True, payloads=True), result=1)
    assert record.payload
    assert (record.payload.read(), record.result and record.result.read()) == ({"n": 1}, 1)


def test_an_error_is_told_with_its_traceback_at_every_attempt() -> None:
    try:
        raise ValueError("bad card " * 1000)
    except ValueError as raised:
        error = raised
    for outcome in (RetryLater(WAIT, Failure.of(error)), Dead(Reason.MAX_ATTEMPTS, Failure.of(error, traced=True))):
        record = recorded(outcome, error=error)
        assert (record.error_type, len(record.error)) == ("ValueError", 1000)
        assert "test_an_error_is_told" in record.traceback
        assert len(record.traceback) <= 3000


def test_a_record_is_never_larger_than_nats_takes() -> None:
    task = replace(TASK, data=b"p" * 20_000, metadata={"m": "x" * 20_000})
    for room, kept in ((80_000, "rpm"), (50_000, "rm"), (40_000, "m"), (20_000, "")):
        message = encoded(task=task, made=encoder(room, payloads=True), result="r" * 20_000)
        assert message
        assert len(message[1]) < room
        record = parse_record(message[1])
        assert record
        assert record.result
        assert record.payload
        assert record.id == task.id
        has = {"r": record.result.data, "p": record.payload.data, "m": record.metadata}
        assert "".join(each for each in "rpm" if has[each]) == kept


@pytest.mark.parametrize("data", [b"", b"\xff\xff", task_pb2.TaskRecord(id="x").SerializeToString()])
def test_what_is_not_a_record_is_none(data: bytes) -> None:
    assert parse_record(data) is None

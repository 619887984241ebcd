"""What became of a task: its status, its result, and the history of a queue, on a real server and in memory."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

import protoqueue
from backends import worker_of
from computing import add_one, give_a_lambda
from protoqueue import (
    AttemptOutcome,
    ConfigurationError,
    HistoryDisabled,
    InvalidTask,
    NewTask,
    Reject,
    ResultNotStored,
    Retry,
    Snooze,
    Task,
    TaskFailed,
    TaskState,
    UndecodableTask,
)
from protoqueue.protocol.v1 import task_pb2
from provisioning import GroupSpec, QueueSpec
from waiting import PATIENCE_S, eventually

QUICK = GroupSpec(retry={"initial_delay": 0.05, "max_attempts": 2, "jitter": 0.0})
PARKED = GroupSpec(retry={"initial_delay": 600, "max_attempts": 3, "jitter": 0.0})


class Email(BaseModel):
    to: str


@pytest.fixture
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name, history={})


def returning(worker: protoqueue.Worker) -> None:
    """Handlers of every kind, which return what they are to."""

    @worker.handler("async")
    async def _(payload: dict[str, Any]) -> dict[str, Any]:
        return payload | {"async": True}

    @worker.handler("plain")
    def _(payload: dict[str, Any]) -> Email:
        return Email(to=payload["to"])

    @worker.handler("proto")
    async def _(payload: dict[str, Any]) -> task_pb2.Task:
        return task_pb2.Task(id=payload["to"])

    @worker.handler("bytes")
    async def _(payload: dict[str, Any]) -> bytes:
        return b"\x00\xff"

    @worker.handler("nothing", timeout=60)
    async def _(payload: dict[str, Any]) -> None: ...

    @worker.handler("falsy", timeout=60)
    async def _(payload: dict[str, Any]) -> int:
        return 0

    @worker.batch("batch", max_wait=0.01)
    def _(payloads: list[dict[str, Any]]) -> list[Any]:
        return [payload["to"] if payload["to"] != "bob" else KeyError("bob") for payload in payloads]

    worker.handler("process", executor="process")(add_one)

    @worker.middleware
    async def _(task: Task, run: Callable[[], Awaitable[Any]]) -> None:
        await run()


async def test_what_a_handler_of_any_kind_returns_is_the_result(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    worker = worker_of(backend, queue)
    returning(worker)
    kinds = ("async", "plain", "proto", "bytes", "nothing", "falsy", "batch")
    receipts = {kind: await queue.enqueue({"to": "ada"}, type=kind) for kind in kinds}
    receipts["process"] = await queue.enqueue(41, type="process")
    bob = await queue.enqueue({"to": "bob"}, type="batch")
    start(worker)
    results = {kind: await receipt.result(timeout=PATIENCE_S) for kind, receipt in receipts.items()}
    assert results == {
        "async": {"to": "ada", "async": True}, "plain": {"to": "ada"}, "proto": task_pb2.Task(id="ada"),
        "bytes": b"\x00\xff", "nothing": None, "falsy": 0, "batch": "ada", "process": 42,
    }  # fmt: skip
    assert await receipts["plain"].result(Email) == Email(to="ada")
    with pytest.raises(UndecodableTask):
        await receipts["falsy"].result(Email)
    with pytest.raises(TaskFailed, match="KeyError") as failed:
        await bob.result(timeout=PATIENCE_S)
    assert (failed.value.reason, failed.value.error, failed.value.error_type) == ("MaxAttempts", "'bob'", "KeyError")


async def test_a_task_that_fails_says_why_with_its_traceback(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    worker = worker_of(backend, queue)

    @worker.handler
    async def charge(payload: str) -> None:
        if payload == "reject":
            raise Reject("card is stolen")
        raise ValueError(f"no {payload}")

    failing, rejected = await queue.enqueue("money"), await queue.enqueue("reject")
    start(worker)
    with pytest.raises(TaskFailed, match="no money") as failed:
        await failing.result(timeout=PATIENCE_S)
    assert (failed.value.task_id, failed.value.reason) == (failing.id, "MaxAttempts")
    assert "raise ValueError" in failed.value.traceback
    with pytest.raises(TaskFailed, match="card is stolen") as failed:
        await rejected.result(timeout=PATIENCE_S)
    assert failed.value.reason == "Rejected"

    status = await queue.status(failing.id)
    assert (status.state, status.attempts, status.group) == (TaskState.DEAD, 2, "mailers")
    assert (status.reason, status.error, status.error_type) == ("MaxAttempts", "no money", "ValueError")
    assert [record.outcome for record in status.records] == [AttemptOutcome.RETRIED, AttemptOutcome.DEAD]
    assert all("raise ValueError" in record.traceback for record in status.records)
    first, last = status.records
    assert (first.attempt, last.attempt, first.worker) == (1, 2, last.worker)
    assert first.due_at is not None
    assert first.finished_at is not None


async def test_a_result_that_cannot_be_kept_is_said_to_be_and_the_task_is_done(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    worker = worker_of(backend, queue)

    @worker.handler("large")
    async def large(payload: Any) -> str:
        return "x" * 70_000

    @worker.handler("object")
    async def unserializable(payload: Any) -> object:
        return object()

    worker.handler("process", executor="process")(give_a_lambda)
    receipts = {kind: await queue.enqueue(None, type=kind) for kind in ("large", "object", "process")}
    start(worker)
    for kind, why in (("large", "70002 bytes"), ("object", "cannot be encoded"), ("process", "cannot be pickled")):
        with pytest.raises(ResultNotStored, match=why):
            await receipts[kind].result(timeout=PATIENCE_S)
        status = await queue.status(receipts[kind].id)
        assert (status.state, status.attempts) == (TaskState.DONE, 1)


async def test_a_task_has_a_status_from_its_enqueue_to_its_end(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    worker = worker_of(backend, queue, concurrency=1)
    gate, metadata = asyncio.Event(), {"tenant": 7}

    @worker.handler("gated")
    async def gated(payload: Any) -> str:
        await gate.wait()
        return "through"

    later = await queue.enqueue(1, type="gated", delay=600, metadata=metadata)
    status = await queue.status(later.id)
    assert (status.state, status.attempts, status.type) == (TaskState.SCHEDULED, 0, "gated")
    assert status.due_at is not None
    assert timedelta(seconds=500) < status.due_at - datetime.now(UTC) < timedelta(seconds=601)
    assert status.metadata == metadata

    first, second = await queue.enqueue(1, type="gated", priority=7), await queue.enqueue(2, type="gated")
    assert (await queue.status(first.id)).state is TaskState.WAITING
    start(worker)

    async def runs() -> bool:
        return (await queue.status(first.id)).state is TaskState.RUNNING

    await eventually(runs)
    running = await queue.status(first.id)
    assert (running.attempts, running.group, running.priority) == (1, "mailers", 7)
    assert running.worker
    assert running.started_at is not None
    assert running.enqueued_at is not None
    assert (await queue.status(second.id)).state is TaskState.WAITING
    gate.set()
    assert await first.result(timeout=PATIENCE_S) == "through"
    done = await queue.status(first.id)
    assert (done.state, done.attempts, done.worker) == (TaskState.DONE, 1, running.worker)
    assert done.enqueued_at is not None
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.enqueued_at <= done.started_at <= done.finished_at
    assert done.result is not None
    assert done.result.read() == "through"
    assert (await queue.status("0193f0a1b2c37def8123456789abcdef")).state is TaskState.UNKNOWN
    assert (await queue.status("")).state is TaskState.UNKNOWN


@pytest.mark.parametrize("history", [None, {}])
@pytest.mark.parametrize("partitions", [0, 2])
async def test_what_waits_for_its_next_attempt_is_retrying(backend, start, queue_name, history, partitions) -> None:
    queue = await backend.queue(QueueSpec(queue_name, history=history, partitions=partitions), PARKED)
    worker = worker_of(backend, queue)

    @worker.handler
    async def fail(payload: Any) -> None:
        raise ValueError("no")

    key = "k" if partitions else ""
    receipt = await queue.enqueue(1, ordering_key=key)
    start(worker)

    async def retries() -> bool:
        return (await queue.status(receipt.id)).state is TaskState.RETRYING

    await eventually(retries)
    status = await queue.status(receipt.id)
    assert (status.state, status.attempts) == (TaskState.RETRYING, 1)
    assert status.error == ("no" if history is not None else "")
    with pytest.raises(TimeoutError if history is not None else HistoryDisabled):
        await receipt.result(timeout=0.1)


async def test_without_history_a_dead_letter_is_dead_and_what_is_done_is_unknown(backend, start, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name), QUICK)
    worker = worker_of(backend, queue)

    @worker.handler
    async def handle(payload: str) -> None:
        if payload == "bad":
            raise ValueError("no")

    bad, good = await queue.enqueue("bad"), await queue.enqueue("good")
    start(worker)

    async def is_dead() -> bool:
        return (await queue.status(bad.id)).state is TaskState.DEAD

    await eventually(is_dead)
    status = await queue.status(bad.id)
    assert (status.attempts, status.reason, status.error_type, status.group) == (
        2,
        "MaxAttempts",
        "ValueError",
        "mailers",
    )
    assert "raise ValueError" in status.traceback
    assert (await queue.status(good.id)).state is TaskState.UNKNOWN
    with pytest.raises(HistoryDisabled, match=r"spec\.history"):
        await good.result()
    with pytest.raises(HistoryDisabled, match=r"spec\.history"):
        await queue.history()


async def test_results_are_not_kept_where_the_queue_says_so(backend, start, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, history={"results": False}), QUICK)
    worker = worker_of(backend, queue)

    @worker.handler
    async def handle(payload: Any) -> str:
        return "secret"

    receipt = await queue.enqueue("payload")
    start(worker)
    with pytest.raises(HistoryDisabled, match=r"spec\.history\.results"):
        await receipt.result()

    async def is_done() -> bool:
        return (await queue.status(receipt.id)).state is TaskState.DONE

    await eventually(is_done)
    (record,) = await queue.history()
    assert (record.id, record.result, record.payload) == (receipt.id, None, None)


async def test_a_task_that_was_taken_back_is_cancelled_and_one_that_came_too_late_expired(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    started = asyncio.Event()
    worker = worker_of(backend, queue)

    @worker.handler
    async def hang(payload: Any) -> None:
        started.set()
        await asyncio.sleep(600)

    waiting = await queue.enqueue(1, type="w")
    later = await queue.enqueue(1, type="l", delay=600)
    for receipt, kind in ((waiting, "w"), (later, "l")):
        assert await queue.cancel(receipt.id)
        with pytest.raises(TaskFailed) as failed:
            await receipt.result(timeout=PATIENCE_S)
        assert failed.value.reason == "Cancelled"
        status = await queue.status(receipt.id)
        assert (status.state, status.attempts, status.type, status.started_at) == (TaskState.CANCELLED, 0, kind, None)

    running = await queue.enqueue(1)
    start(worker)
    await asyncio.wait_for(started.wait(), PATIENCE_S)
    assert await queue.cancel(running.id)
    with pytest.raises(TaskFailed, match="Cancelled"):
        await running.result(timeout=PATIENCE_S)
    status = await queue.status(running.id)
    assert (status.state, status.attempts, status.group) == (TaskState.CANCELLED, 1, "mailers")
    assert len(status.records) == 1


async def test_a_task_that_no_worker_started_in_time_is_expired(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    worker = worker_of(backend, queue)

    @worker.handler
    async def handle(payload: Any) -> None: ...

    receipt = await queue.enqueue(1, delay=0.5, expires=0.6)
    await asyncio.sleep(0.7)  # it is due before it expires, and no worker is there
    start(worker)
    with pytest.raises(TaskFailed) as failed:
        await receipt.result(timeout=PATIENCE_S)
    assert failed.value.reason == "Expired"
    status = await queue.status(receipt.id)
    assert (status.state, status.attempts) == (TaskState.EXPIRED, 0)


async def test_the_history_is_searched_by_outcome_type_error_and_time_newest_first(backend, queue_name) -> None:
    once = GroupSpec(retry={"max_attempts": 1})
    queue = await backend.queue(QueueSpec(queue_name, history={"payloads": True}), once)
    worker = worker_of(backend, queue, concurrency=1)

    @worker.handler
    async def handle(payload: int) -> int:
        if payload % 10 == 0:
            raise ValueError("tens")
        if payload % 25 == 1:
            raise KeyError("others")
        return payload

    names = ("odd", "even")
    receipts = await queue.enqueue_batch([NewTask(n, type=names[n % 2 == 0]) for n in range(300)])
    ids = {receipt.id: number for number, receipt in enumerate(receipts)}
    await asyncio.wait_for(worker.run_once(), PATIENCE_S)

    async def found(**how: Any) -> list[int]:
        return [ids[record.id] for record in await queue.history(**how)]

    everything = list(reversed(range(300)))
    failed = [n for n in everything if n % 10 == 0 or n % 25 == 1]
    assert await found() == everything[:100]
    assert await found(limit=1000) == everything
    assert await found(failed=True) == failed
    assert await found(failed=False, limit=3) == [n for n in everything if n not in failed][:3]
    assert await found(type="even", limit=7) == [n for n in everything if n % 2 == 0][:7]
    assert await found(error_type="KeyError") == [n for n in everything if n % 25 == 1 and n % 10]
    assert await found(group="mailers", limit=1) == [299]
    assert await found(group="others") == []
    assert await found(since=3600, limit=1000) == everything
    assert await found(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert await found(limit=0) == []
    pages: list[int] = []
    before = None
    while page := await queue.history(limit=70, failed=None, before=before):
        pages += [ids[record.id] for record in page]
        before = page[-1].sequence
    assert pages == everything
    (one,) = await queue.history(limit=1)
    assert one.payload is not None
    assert one.result is not None
    assert (one.payload.read(), one.result.read(), one.type) == (299, 299, "odd")
    for wrong in ({"limit": -1}, {"since": datetime(2027, 1, 1)}, {"before": -1}):
        with pytest.raises(InvalidTask):
            await queue.history(**wrong)
    with pytest.raises(ConfigurationError):
        await queue.history(group="no such name")


async def test_snoozes_and_retries_are_attempts_of_one_timeline(backend, start, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    worker, steps = worker_of(backend, queue), itertools.count()

    @worker.handler
    async def handle(payload: Any) -> str:
        match next(steps):
            case 0:
                raise Snooze(0.01)
            case 1:
                raise Retry("not yet", delay=0.01)
        return "at last"

    receipt = await queue.enqueue(1)
    start(worker)
    assert await receipt.result(timeout=PATIENCE_S) == "at last"
    status = await queue.status(receipt.id)
    timeline = [(record.outcome.value, record.attempt) for record in status.records]
    assert timeline == [("Snoozed", 1), ("Retried", 1), ("Done", 2)]
    assert (status.state, status.attempts) == (TaskState.DONE, 2)


async def test_a_redriven_dead_letter_is_followed_to_its_end(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"max_attempts": 1}))
    worker, mended = worker_of(backend, queue), False

    @worker.handler
    async def handle(payload: Any) -> str:
        if not mended:
            raise ValueError("broken")
        return "mended"

    receipt = await queue.enqueue(1)
    await asyncio.wait_for(worker.run_once(), PATIENCE_S)
    assert (await queue.status(receipt.id)).state is TaskState.DEAD
    assert await queue.redrive() == 1
    assert (await queue.status(receipt.id)).state is TaskState.WAITING
    mended = True
    await asyncio.wait_for(worker.run_once(), PATIENCE_S)
    status = await queue.status(receipt.id)
    assert (status.state, status.result and status.result.read()) == (TaskState.DONE, "mended")
    assert await receipt.result() == "mended"


async def test_what_is_received_by_hand_is_recorded_too(backend, spec) -> None:
    queue = await backend.queue(spec, QUICK)
    first, second, third = [await queue.enqueue(n, type="t") for n in range(3)]
    received = {task.id: task for task in await queue.receive(3, wait=PATIENCE_S)}
    while len(received) < 3:
        received |= {task.id: task for task in await queue.receive(3, wait=1)}
    assert (await queue.status(first.id)).state is TaskState.RUNNING
    await received[first.id].ack()
    await received[second.id].reject("bad")
    lease = await queue.lease(received[third.id].token)
    await lease.ack()
    for receipt, state in ((first, TaskState.DONE), (second, TaskState.DEAD), (third, TaskState.DONE)):

        async def has_ended(receipt: protoqueue.Receipt = receipt) -> bool:
            return bool((await queue.status(receipt.id)).records)

        await eventually(has_ended)
        status = await queue.status(receipt.id)
        assert (status.state, status.attempts, status.type, status.group) == (state, 1, "t", "mailers")


async def test_each_group_of_a_broadcast_queue_has_its_own_records(backend, queue_name) -> None:
    groups = [GroupSpec(name, retry={"max_attempts": 1}) for name in ("good", "bad")]
    queue = await backend.queue(QueueSpec(queue_name, broadcast=True, history={}), *groups)
    receipt = await queue.enqueue(1)
    good, bad = worker_of(backend, queue, "good"), worker_of(backend, queue, "bad")

    @good.handler
    async def well(payload: Any) -> str:
        return "well"

    @bad.handler
    async def fail(payload: Any) -> None:
        raise ValueError("no")

    await asyncio.wait_for(good.run_once(), PATIENCE_S)
    assert await receipt.result(timeout=PATIENCE_S) == "well"
    assert (await queue.status(receipt.id)).state is TaskState.WAITING
    await asyncio.wait_for(bad.run_once(), PATIENCE_S)
    status = await queue.status(receipt.id)
    assert {record.group: record.outcome.value for record in status.records} == {"good": "Done", "bad": "Dead"}
    assert status.state is TaskState.DEAD


async def test_a_receipt_that_no_queue_gave_says_what_to_do(backend, spec) -> None:
    queue = await backend.queue(spec)
    with pytest.raises(ConfigurationError, match=r"queue\.result"):
        await protoqueue.Receipt("x").result()
    with pytest.raises(InvalidTask):
        await queue.result("")

"""Tasks of one replace key: a later one takes the place of one that is not due. On a server and in memory."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import protoqueue
from backends import Backend
from protoqueue import InvalidTask, NewTask, Receipt, Redrive, Reject, Retries, Retry, Task, TaskFailed, TaskState
from protoqueue.broker import Message
from protoqueue.protocol.message_headers import Header, schedule_at
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

QUICK = {"initial_delay": 0.05, "max_attempts": 3, "jitter": 0.0}
KEY = "reindex-9"


@pytest.fixture
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name)


def worker_of(backend: Backend, queue: protoqueue.Queue, **options: Any) -> protoqueue.Worker:
    return protoqueue.Worker(queue.name, group="mailers", url=backend.url, **options)


async def counts(queue: protoqueue.Queue) -> tuple[int, int, int]:
    stats = await queue.stats()
    return stats.waiting, stats.in_flight, stats.scheduled


async def is_empty(queue: protoqueue.Queue) -> bool:
    return await counts(queue) == (0, 0, 0)


async def test_of_a_burst_the_last_runs_once_and_the_receipts_say_what_each_replaced(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []
    worker.handler(lambda payload: seen.append(payload))
    receipts = [await queue.enqueue(number, delay=0.8, replace=KEY) for number in range(5)]
    other = await queue.enqueue("other", delay=0.8, replace="reindex-10")
    assert [receipt.replaced for receipt in receipts] == ["", *(receipt.id for receipt in receipts[:-1])]
    assert not any(receipt.duplicate for receipt in (*receipts, other))
    assert other.replaced == ""
    assert await counts(queue) == (0, 0, 2)
    start(worker)
    await eventually(lambda: len(seen) == 2)
    await eventually(lambda: is_empty(queue))
    assert sorted(map(str, seen)) == ["4", "other"]
    after = await queue.enqueue(5, delay=600, replace=KEY)
    assert after.replaced == ""


async def test_the_later_one_decides_about_delay_priority_and_expiry(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        seen.append((payload, task.priority))

    await queue.enqueue("slow", delay=600, priority=1, replace="a")
    await queue.enqueue("soon", delay=0.2, priority=9, replace="a")
    await queue.enqueue("expires", delay=0.2, expires=0.3, replace="b")
    await queue.enqueue("stays", delay=0.2, replace="b")
    await queue.enqueue("soon", delay=0.2, replace="c")
    late = await queue.enqueue("late", at=datetime.now(UTC) + timedelta(hours=1), replace="c")
    await queue.enqueue("later", delay=600, replace="d")
    await queue.enqueue("now", replace="d")

    async def has_run_all() -> bool:
        await worker.run_once()
        return len(seen) == 3

    await eventually(has_run_all)
    assert sorted(seen) == [("now", 5), ("soon", 9), ("stays", 5)]
    assert (await queue.status(late.id)).state is TaskState.SCHEDULED


async def test_what_is_due_is_not_replaced_and_both_run(backend, spec) -> None:
    queue = await backend.queue(spec)
    first = await queue.enqueue(1, delay=0.1, replace=KEY)
    await eventually(lambda: _is(queue, first, TaskState.WAITING))
    second = await queue.enqueue(2, delay=0.1, replace=KEY)
    assert second.replaced == ""
    worker, seen = worker_of(backend, queue), []
    worker.handler(lambda payload: seen.append(payload))

    async def has_run_both() -> bool:
        await worker.run_once()
        return len(seen) == 2

    await eventually(has_run_both)
    assert sorted(seen) == [1, 2]


async def _is(queue: protoqueue.Queue, receipt: Receipt, state: TaskState) -> bool:
    return (await queue.status(receipt.id)).state is state


async def test_what_was_replaced_is_told_honestly(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, history={"results": True}))
    first = await queue.enqueue(1, delay=600, replace=KEY, type="reindex", metadata={"by": "ada"})
    second = await queue.enqueue(2, delay=600, replace=KEY)
    (third,) = await queue.enqueue_batch([NewTask(3, delay=600, replace=KEY)])
    await eventually(lambda: _is(queue, first, TaskState.REPLACED))
    await eventually(lambda: _is(queue, second, TaskState.REPLACED))
    status = await queue.status(first.id)
    assert (status.attempts, status.type, status.metadata, status.worker) == (0, "reindex", {"by": "ada"}, "")
    assert [record.outcome for record in status.records] == ["Replaced"]
    assert await _is(queue, third, TaskState.SCHEDULED)
    with pytest.raises(TaskFailed) as failed:
        await first.result(timeout=30)
    assert failed.value.reason == "Replaced"
    assert not await queue.cancel(first.id)
    assert not await queue.run_now(second.id)
    assert [record.id for record in await queue.history(outcomes=["Replaced"])] == [second.id, first.id]


async def test_without_history_what_was_replaced_is_unknown(backend, spec) -> None:
    queue = await backend.queue(spec)
    first = await queue.enqueue(1, delay=600, replace=KEY)
    await queue.enqueue(2, delay=600, replace=KEY)
    assert (await queue.status(first.id)).state is TaskState.UNKNOWN


async def test_cancel_run_now_and_purge_find_the_one_that_is_there(backend, spec) -> None:
    queue = await backend.queue(spec)
    first = await queue.enqueue(1, delay=600, replace=KEY)
    second = await queue.enqueue(2, delay=600, replace=KEY)
    assert not await queue.cancel(first.id)
    assert await counts(queue) == (0, 0, 1)
    assert await queue.cancel(second.id)
    assert await is_empty(queue)
    third = await queue.enqueue(3, delay=600, replace=KEY)
    assert third.replaced == ""
    fourth = await queue.enqueue(4, delay=600, replace=KEY)
    assert await queue.run_now(fourth.id)
    await eventually(lambda: _is(queue, fourth, TaskState.WAITING))
    assert (await queue.enqueue(5, delay=600, replace=KEY)).replaced == ""
    assert [scheduled.task.data for scheduled in await queue.peek_scheduled()] == [b"5"]
    assert await queue.purge() == 1
    assert await queue.purge(scheduled=True) == 1
    assert (await queue.enqueue(6, delay=600, replace=KEY)).replaced == ""


async def test_a_dedup_id_of_a_task_that_was_replaced_stays_used(backend, spec) -> None:
    queue = await backend.queue(spec)
    first = await queue.enqueue("a", delay=600, replace=KEY, dedup_id="a")
    second = await queue.enqueue("b", delay=600, replace=KEY, dedup_id="b")
    assert second.replaced == first.id
    again = await queue.enqueue("a", delay=600, replace=KEY, dedup_id="a")  # as a producer does that heard no answer
    assert (again.duplicate, again.matched, again.replaced) == (True, "dedup_id", "")
    assert [scheduled.task.id for scheduled in await queue.peek_scheduled()] == [second.id]
    assert await queue.cancel(second.id)
    assert not (await queue.enqueue("b", delay=600, replace=KEY, dedup_id="b")).duplicate


async def test_a_retry_and_a_dead_letter_are_not_replaced_and_keep_their_key(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        seen.append((payload, task.attempt))
        if payload == "again" and task.attempt == 1:
            raise Retry(delay=600)
        if payload == "dead" and seen.count(("dead", 1)) == 1:
            raise Reject("no")

    async def run(payload: str) -> Receipt:
        receipt = await queue.enqueue(payload, replace=KEY, retry=Retries(2))

        async def has_begun() -> bool:
            await worker.run_once()
            return payload in [each for each, _ in seen]

        await eventually(has_begun)
        return receipt

    again = await run("again")
    assert await _is(queue, again, TaskState.RETRYING)
    assert (await queue.enqueue("new", delay=600, replace=KEY)).replaced == ""
    assert await queue.run_now(again.id)
    dead = await run("dead")
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert letter.task.id == dead.id
    scheduled = await queue.enqueue("newer", delay=600, replace=KEY)
    assert await queue.redrive() == 1

    async def has_ended() -> bool:
        await worker.run_once()
        return await counts(queue) == (0, 0, 1)

    await eventually(has_ended)
    assert sorted(seen) == [("again", 1), ("again", 2), ("dead", 1), ("dead", 1)]
    assert [each.task.id for each in await queue.peek_scheduled()] == [scheduled.id]


async def test_a_letter_that_is_sent_back_with_a_delay_is_not_replaced(backend, queue_name, start) -> None:
    spec = QueueSpec(queue_name, dead_letter_queue=f"{queue_name}-dlq")
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    letters = await backend.queue(QueueSpec(spec.dead_letter_queue))
    worker, analyst, seen = worker_of(backend, queue), worker_of(backend, letters), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append(payload)
        if seen == [1]:
            raise Reject("not yet")

    @analyst.handler
    async def look(payload: int, task: Task) -> None:
        raise Redrive(delay=0.3)

    await queue.enqueue(1, replace=KEY)
    start(worker)
    start(analyst)
    await eventually(lambda: _scheduled(queue))
    await queue.enqueue(2, delay=0.1, replace=KEY)
    await eventually(lambda: sorted(seen) == [1, 1, 2])


async def _scheduled(queue: protoqueue.Queue) -> bool:
    return (await queue.stats()).scheduled == 1


async def test_a_batch_replaces_what_is_there_and_in_itself(backend, spec) -> None:
    queue = await backend.queue(spec)
    there = await queue.enqueue("there", delay=600, replace="7")
    items = [NewTask(number, delay=600, replace=str(number % 10)) for number in range(50)]
    receipts = await queue.enqueue_batch([*items, "plain"])
    assert receipts[7].replaced == there.id
    assert [receipt.replaced for receipt in receipts[10:50]] == [receipt.id for receipt in receipts[:40]]
    assert await counts(queue) == (1, 0, 10)
    left = {each.task.data for each in await queue.peek_scheduled(20)}
    assert left == {str(number).encode() for number in range(40, 50)}


async def test_of_many_producers_of_many_keys_one_task_of_each_stays(backend, spec) -> None:
    queue = await backend.queue(spec)
    producers, keys = 8, 40

    async def produce() -> list[Receipt]:
        return await asyncio.gather(*(queue.enqueue(n, delay=600, replace=str(n), timeout=60) for n in range(keys)))

    receipts = [receipt for each in await asyncio.gather(*(produce() for _ in range(producers))) for receipt in each]
    replaced = Counter(receipt.replaced for receipt in receipts if receipt.replaced)
    assert replaced == dict.fromkeys(replaced, 1)
    left = [each.task.id for each in await queue.peek_scheduled(100)]
    assert len(left) == keys
    assert {receipt.id for receipt in receipts} == replaced.keys() | set(left)


@pytest.mark.parametrize("kind", [{"partitions": 2}, {"broadcast": True}, {"limits": {"max_msgs": 1000}}])
async def test_queues_of_every_kind_replace(backend, queue_name, start, kind) -> None:
    queue = await backend.queue(QueueSpec(queue_name, **kind))
    how = {"ordering_key": "a"} if "partitions" in kind else {}
    worker, seen = worker_of(backend, queue), []
    worker.handler(lambda payload: seen.append(payload))
    start(worker)
    receipts = [await queue.enqueue(number, delay=0.8, replace=KEY, **how) for number in range(4)]
    receipts += await queue.enqueue_batch([NewTask(4, delay=0.8, replace=KEY, **how)])
    assert [receipt.replaced for receipt in receipts[1:]] == [receipt.id for receipt in receipts[:-1]]
    await eventually(lambda: seen == [4])
    await eventually(lambda: is_empty(queue))


@pytest.mark.parametrize("by_hand", [False, True])
async def test_a_task_that_fired_while_it_was_replaced_does_not_run(backend, queue_name, by_hand) -> None:
    """As JetStream does it: the schedule had been read when the other was stored, and fires after it."""
    queue = await backend.queue(QueueSpec(queue_name, history={"results": True}))
    first = await queue.enqueue(1, delay=600, replace=KEY)
    stream, name = queue._settings.later_stream, queue._settings.name
    stored = await queue._broker.last_message(stream, name.scheduled(f"*.{first.id}"), 5)
    second = await queue.enqueue(2, delay=600, replace=KEY)
    assert second.replaced == first.id
    headers = {each: text for each, text in stored.headers.items() if not each.startswith("Nats-")}
    headers[Header.SCHEDULE] = schedule_at(queue._broker.now())
    headers[Header.SCHEDULE_TARGET] = stored.headers[Header.SCHEDULE_TARGET]
    again = Message(stored.subject, stored.data, headers)
    await queue._broker.publish(again, 5)
    await eventually(lambda: _is(queue, first, TaskState.WAITING))
    if by_hand:
        assert await queue.receive(1) == []
    else:
        worker = worker_of(backend, queue)

        @worker.handler
        async def work(payload: int) -> None:
            raise AssertionError("it was replaced")

        await worker.run_once(raise_errors=True)
    await eventually(lambda: _is(queue, first, TaskState.REPLACED))
    assert await counts(queue) == (0, 0, 1)


async def test_what_cannot_replace_is_refused(backend, spec) -> None:
    queue = await backend.queue(spec)
    for key in ("", " k", "k\n", "k" * 257, 7):
        with pytest.raises(InvalidTask, match="replace must be"):
            await queue.enqueue(1, delay=5, replace=key)
    with pytest.raises(InvalidTask, match="replace and unique are mutually exclusive"):
        await queue.enqueue(1, delay=5, replace="k", unique="k")
    with pytest.raises(InvalidTask, match="item 1 of the batch, counted from 0: replace must be"):
        await queue.enqueue_batch([NewTask(1), NewTask(2, replace="")])
    assert await is_empty(queue)

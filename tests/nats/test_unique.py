"""Tasks of one unique key: at most one waits, is scheduled or runs. On a server and in memory alike."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

import protoqueue
from backends import is_empty, worker_of
from protoqueue import InvalidTask, NewTask, Receipt, Redrive, Reject, Retries, Retry, Snooze, Task, Throttle
from protoqueue.producer import unique as producer_unique
from protoqueue.protocol.message_headers import Header
from protoqueue.settlement import unique_keys
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

QUICK = {"initial_delay": 0.05, "max_attempts": 3, "jitter": 0.0}
_S = 1_000_000_000


def is_held_by(second: Receipt, first: Receipt) -> bool:
    return second == Receipt(first.id, duplicate=True, matched="unique") and not first.duplicate


async def test_a_second_task_of_a_key_is_not_stored_while_the_first_waits_runs_or_is_scheduled(
    backend, spec, start
) -> None:
    queue = await backend.queue(spec)
    worker, running, goes_on = worker_of(backend, queue), asyncio.Event(), asyncio.Event()

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        assert task.unique == "invoice-17"
        running.set()
        await goes_on.wait()

    delayed = await queue.enqueue(1, unique="invoice-17", delay=0.5)
    assert is_held_by(await queue.enqueue(2, unique="invoice-17"), delayed)
    assert is_held_by(await queue.enqueue(3, unique="invoice-17", delay=60, priority=10), delayed)
    other = await queue.enqueue(4, unique="invoice-18", delay=600)
    assert not other.duplicate
    await eventually(lambda: _waits(queue))
    assert is_held_by(await queue.enqueue(5, unique="invoice-17", priority=1), delayed)
    start(worker)
    await running.wait()
    assert is_held_by(await queue.enqueue(6, unique="invoice-17"), delayed)
    assert is_held_by((await queue.enqueue_batch([NewTask(7, unique="invoice-17")]))[0], delayed)
    goes_on.set()
    await eventually(lambda: _enqueued(queue, 8, "invoice-17"))
    assert (await queue.stats()).scheduled == 1


async def test_a_key_is_not_free_for_a_moment_when_its_task_comes_due(backend, spec) -> None:
    queue = await backend.queue(spec)
    keys = [str(number) for number in range(5)]
    firsts = {key: await queue.enqueue(key, unique=key, delay=0.5) for key in keys}
    while (await queue.stats()).waiting < len(keys):
        for key in keys * 5:
            assert is_held_by(await queue.enqueue(key, unique=key), firsts[key])
        await asyncio.sleep(0)


async def _waits(queue: protoqueue.Queue) -> bool:
    return (await queue.stats()).waiting == 1


async def _enqueued(queue: protoqueue.Queue, payload: Any, key: str) -> Receipt | None:
    receipt = await queue.enqueue(payload, unique=key)
    return None if receipt.duplicate else receipt


@pytest.mark.parametrize("error", [Retry(delay=0.3), Snooze(0.3), Throttle(0.3), ValueError()])
async def test_a_task_that_comes_again_keeps_its_key(backend, spec, start, error: Exception) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK | {"initial_delay": 0.3}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.id))
        if len(seen) < 3:
            raise error

    first = await queue.enqueue(1, unique="k")
    start(worker)
    while len(seen) < 3:
        second = await queue.enqueue(2, unique="k")
        if len(seen) < 3:
            assert is_held_by(second, first)
        await asyncio.sleep(0.01)
    await eventually(lambda: is_empty(queue))
    assert [one for one in seen if one[0] == 1] == [(1, first.id)] * 3


async def test_every_end_frees_the_key(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker = worker_of(backend, queue)

    @worker.handler
    async def work(payload: str) -> None:
        if payload == "reject":
            raise Reject("no")
        if payload == "fail":
            raise ValueError
        if payload == "hang":
            await asyncio.sleep(600)

    async def is_free() -> bool:
        receipt = await queue.enqueue("free", unique="k", delay=600)
        return not receipt.duplicate and await queue.cancel(receipt.id)

    for payload in ("done", "reject", "fail"):
        await queue.enqueue(payload, unique="k")
        assert not await is_free()

        async def has_ended() -> bool:
            await worker.run_once()
            return await is_empty(queue)

        await eventually(has_ended)
        assert await is_free(), payload
    for delay in (None, 600):  # cancelled while it waits, and before it is due
        receipt = await queue.enqueue("done", unique="k", delay=delay)
        assert await queue.cancel(receipt.id)
        assert await is_free()
    await queue.enqueue("done", unique="k")
    assert await queue.purge() == 1
    assert await is_free()
    await queue.enqueue("done", unique="k", delay=600)
    assert await queue.purge() == 0
    assert not await is_free()
    assert await queue.purge(scheduled=True) == 1
    assert await is_free()
    running = await queue.enqueue("hang", unique="k")
    start(worker)
    await eventually(lambda: _in_flight(queue))
    assert await queue.cancel(running.id)
    await eventually(is_free)


async def _in_flight(queue: protoqueue.Queue) -> bool:
    return (await queue.stats()).in_flight == 1


async def test_a_task_that_has_expired_frees_its_key_once_a_worker_comes_by_or_some_time_after(
    backend, spec, monkeypatch
) -> None:
    monkeypatch.setattr(producer_unique, "EXPIRED_FOR_S", 0.2)
    queue = await backend.queue(spec)
    first = await queue.enqueue(1, unique="k", expires=0.3)
    assert is_held_by(await queue.enqueue(2, unique="k"), first)
    second = await eventually(lambda: _enqueued(queue, 3, "k"))
    assert is_held_by(await queue.enqueue(4, unique="k"), second)
    worker, seen = worker_of(backend, queue), []
    worker.handler(lambda payload: seen.append(payload))
    assert await worker.run_once() == 2  # what has expired came to its outcome, and did not run
    assert seen == [3]
    assert await _enqueued(queue, 5, "k")


async def test_a_task_that_was_started_before_it_expired_keeps_its_key(backend, spec, start, monkeypatch) -> None:
    monkeypatch.setattr(producer_unique, "EXPIRED_FOR_S", 0.0)
    queue = await backend.queue(spec)
    worker, goes_on, started = worker_of(backend, queue), asyncio.Event(), asyncio.Event()

    @worker.handler
    async def work(payload: int) -> None:
        started.set()
        await goes_on.wait()

    start(worker)
    first = await queue.enqueue(1, unique="k", expires=20)
    await started.wait()
    for queued in (queue, await backend.client.queue(queue.name)):
        now = queued._broker.now
        monkeypatch.setattr(queued._broker, "now", lambda now=now: now() + timedelta(seconds=60))
        assert is_held_by(await queued.enqueue(2, unique="k"), first)
    goes_on.set()


async def test_unique_until_its_start_means_that_the_next_may_wait_while_it_runs(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen, goes_on = worker_of(backend, queue), [], asyncio.Event()

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt))
        if (payload, task.attempt) == (1, 1):
            await goes_on.wait()
            raise Retry(delay=0.05)

    first = await queue.enqueue(1, unique="k", unique_until="start")
    assert is_held_by(await queue.enqueue(2, unique="k", unique_until="start"), first)
    blocked = asyncio.create_task(worker.serve())
    await eventually(lambda: seen)
    paused = QueueSpec(spec.name, paused=True)
    await backend.set_up(paused, GroupSpec(retry=QUICK, paused=True))
    second = await queue.enqueue(3, unique="k", unique_until="start")
    assert not second.duplicate
    assert is_held_by(await queue.enqueue(4, unique="k", unique_until="start"), second)
    goes_on.set()
    await backend.set_up(spec, GroupSpec(retry=QUICK))
    await eventually(lambda: is_empty(queue))
    assert sorted(seen) == [(1, 1), (1, 2), (3, 1)]
    worker.stop()
    await blocked


async def test_a_batch_stores_one_task_of_each_key(backend, spec) -> None:
    queue = await backend.queue(spec)
    held = await queue.enqueue("held", unique="7")
    items = [NewTask(number, unique=str(number % 10), delay=number % 3 or None) for number in range(50)]
    receipts = await queue.enqueue_batch([*items, "plain"])
    stored = [item for item, receipt in zip(items, receipts, strict=False) if not receipt.duplicate]
    assert sorted(item.unique for item in stored) == sorted("012345689")
    assert all(receipt.matched == "unique" for receipt in receipts if receipt.duplicate)
    assert {receipts[number].id for number in range(7, 50, 10)} == {held.id}
    assert not receipts[-1].duplicate
    stats = await queue.stats()
    assert stats.waiting + stats.scheduled == 11


async def test_many_producers_of_many_keys_store_one_task_of_each(backend, spec) -> None:
    queue = await backend.queue(spec)
    producers, keys = 10, 200

    async def produce() -> list[Receipt]:
        singles = [await queue.enqueue(number, unique=str(number)) for number in range(keys // 2)]
        return singles + await queue.enqueue_batch(NewTask(n, unique=str(n)) for n in range(keys // 2, keys))

    receipts = await asyncio.gather(*(produce() for _ in range(producers)))
    stored = Counter(number for each in receipts for number, receipt in enumerate(each) if not receipt.duplicate)
    assert stored == dict.fromkeys(range(keys), 1)
    assert all(len({each[number].id for each in receipts}) == 1 for number in range(keys))
    assert (await queue.stats()).waiting == keys


async def test_unique_and_dedup_id_go_together_and_the_receipt_says_which_was_there(backend, spec) -> None:
    queue = await backend.queue(spec)
    first = await queue.enqueue(1, unique="k", dedup_id="a")
    assert is_held_by(await queue.enqueue(2, unique="k", dedup_id="b"), first)
    assert await queue.enqueue(1, unique="k", dedup_id="a") == Receipt(first.id, duplicate=True, matched="dedup_id")
    await queue.purge()
    assert not (await queue.enqueue(3, unique="k", dedup_id="b")).duplicate


async def test_a_redriven_task_waits_until_its_key_is_free(backend, spec, start, monkeypatch) -> None:
    monkeypatch.setattr(unique_keys, "CLAIM_AGAIN", timedelta(seconds=0.1))
    monkeypatch.setattr("protoqueue.settlement.settle.CLAIM_AGAIN", timedelta(seconds=0.1))
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, running, log, goes_on = worker_of(backend, queue), set(), [], asyncio.Event()

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        assert not running, "two of one key at once"
        running.add(task.id)
        log.append(payload)
        if payload == "second":
            await goes_on.wait()
        running.remove(task.id)
        if payload == "first" and log.count("first") == 1:
            raise Reject("not yet")

    first = await queue.enqueue("first", unique="k")
    await worker.run_once()
    second = await queue.enqueue("second", unique="k")
    start(worker)
    await eventually(lambda: "second" in log)
    assert await queue.redrive() == 1
    await eventually(lambda: _scheduled(queue))  # it was delivered, and waits for its key
    assert is_held_by(await queue.enqueue("third", unique="k"), second)
    goes_on.set()
    await eventually(lambda: log == ["first", "second", "first"])
    await eventually(lambda: is_empty(queue))
    assert first.id != second.id


async def _scheduled(queue: protoqueue.Queue) -> bool:
    return (await queue.stats()).scheduled == 1


async def test_a_redriven_task_locks_its_key_again(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append(task.id)
        if len(seen) == 1:
            raise Reject("not yet")
        assert is_held_by(await queue.enqueue(2, unique="k"), first)

    first = await queue.enqueue(1, unique="k")
    await worker.run_once()
    assert await queue.redrive() == 1
    await worker.run_once(raise_errors=True)
    assert seen == [first.id] * 2
    assert await is_empty(queue)
    assert [letter async for letter in queue.dead_letters()] == []


async def test_a_letter_that_is_a_task_of_another_queue_locks_no_key_there_and_its_own_when_it_comes_back(
    backend, queue_name, start
) -> None:
    spec = QueueSpec(queue_name, dead_letter_queue=f"{queue_name}-dlq")
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    letters = await backend.queue(QueueSpec(spec.dead_letter_queue))
    worker, analyst, seen = worker_of(backend, queue), worker_of(backend, letters), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append(task.id)
        if len(seen) == 1:
            raise Reject("not yet")
        assert is_held_by(await queue.enqueue(2, unique="k"), Receipt(seen[0]))

    @analyst.handler
    async def look(payload: int, task: Task) -> None:
        assert not (await letters.enqueue(0, unique="k", type="other", delay=600)).duplicate
        raise Redrive

    @analyst.handler("other")
    async def other(payload: int) -> None: ...

    await queue.enqueue(1, unique="k")
    start(worker)
    start(analyst)
    await eventually(lambda: len(seen) == 2)
    await eventually(lambda: is_empty(queue))


async def test_a_delayed_task_of_a_key_runs_at_once_when_it_is_told_to(backend, spec) -> None:
    queue = await backend.queue(spec)
    first = await queue.enqueue(1, unique="k", delay=600)
    assert await queue.run_now(first.id)
    await eventually(lambda: _waits(queue))
    assert is_held_by(await queue.enqueue(2, unique="k"), first)


async def test_in_a_queue_with_limits_a_key_holds_for_new_and_later_tasks_together(backend, queue_name, start) -> None:
    spec = QueueSpec(queue_name, limits={"max_msgs": 1000, "max_age": 3600 * _S})
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append(task.attempt)
        assert is_held_by(await queue.enqueue(2, unique="k"), first)
        if task.attempt == 1:
            raise Retry(delay=0.2)

    first = await queue.enqueue(1, unique="k")
    assert is_held_by(await queue.enqueue(2, unique="k", delay=5), first)
    assert (await queue.stats()).waiting == 1
    start(worker)
    await eventually(lambda: seen == [1, 2])
    await eventually(lambda: is_empty(queue))


async def test_what_cannot_be_unique_is_refused(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name))
    for key in ("", " k", "k\n", "k" * 257, 7):
        with pytest.raises(InvalidTask, match="unique must be"):
            await queue.enqueue(1, unique=key)
    with pytest.raises(InvalidTask, match="unique_until must be"):
        await queue.enqueue(1, unique="k", unique_until="never")
    ordered = await backend.queue(QueueSpec(f"{queue_name}o", partitions=2))
    with pytest.raises(InvalidTask, match="is ordered and takes no unique tasks"):
        await ordered.enqueue(1, unique="k", ordering_key="a")
    broadcast = await backend.queue(QueueSpec(f"{queue_name}b", broadcast=True))
    with pytest.raises(InvalidTask, match="is Broadcast and takes no unique tasks"):
        await broadcast.enqueue(1, unique="k")


async def test_a_policy_of_its_own_and_a_key_go_together(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((task.unique, task.max_attempts))
        raise ValueError

    await queue.enqueue(1, unique="k", retry=Retries(1))
    await worker.run_once()
    assert seen == [("k", 1)]
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert letter.task.unique == "k"
    assert Header.UNIQUE == "Pq-Unique"

"""What holds on a real server holds in memory too: each test runs against both."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import protoqueue
from backends import is_empty, letters_of, worker_of
from protoqueue import (
    ConfigurationError,
    InvalidTask,
    NewTask,
    PayloadTooLarge,
    QueueFull,
    Reject,
    Retry,
    Snooze,
    Task,
    Unavailable,
)
from protoqueue.broker import Message
from protoqueue.protocol.message_headers import schedule_at
from protoqueue.protocol.task_codec import encode_task
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

QUICK = {"initial_delay": 0.05, "max_attempts": 3, "jitter": 0.0}


async def test_run_once_runs_all_that_is_ready_and_returns_how_many(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.priority))

    await queue.enqueue_batch([NewTask(n, priority=n) for n in range(1, 11)])
    await queue.enqueue(11, delay=60)
    assert await worker.run_once() == 10
    assert sorted(seen) == [(n, n) for n in range(1, 11)]
    assert await worker.run_once() == 0
    stats = await queue.stats()
    assert (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 1, 0)


async def test_attempts_end_in_the_dead_letters(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    def work(payload: str, task: Task) -> None:
        seen.append((payload, task.attempt))
        if payload == "reject":
            raise Reject("no")
        if payload == "retry" and task.attempt == 1:
            raise Retry(delay=0.05)
        if payload == "snooze" and len(seen) < 6:
            raise Snooze(0.05)
        if payload == "fail":
            raise ValueError

    await queue.enqueue_batch(["reject", "retry", "snooze", "fail"])
    start(worker)

    async def settled() -> bool:
        return await is_empty(queue) and len(await letters_of(queue)) == 2

    await eventually(settled)
    assert {(le.task.data, le.reason, le.attempts) for le in await letters_of(queue)} == {
        (b'"reject"', "Rejected", 1),
        (b'"fail"', "MaxAttempts", 3),
    }
    assert [attempt for payload, attempt in seen if payload == "retry"] == [1, 2]
    assert {attempt for payload, attempt in seen if payload == "snooze"} == {1}


async def test_what_is_delayed_comes_when_it_is_due_and_can_be_cancelled(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: float) -> None:
        seen.append(time.time() - payload)

    start(worker)
    await queue.enqueue(time.time() + 0.3, delay=0.3)
    gone = await queue.enqueue(0.0, delay=0.3)
    assert await queue.cancel(gone.id)
    assert not await queue.cancel(gone.id)
    await eventually(lambda: seen)
    assert 0 <= seen[0] < 2
    await eventually(lambda: is_empty(queue))
    assert len(seen) == 1


async def test_duplicates_are_not_stored_alone_or_in_batches(backend, spec) -> None:
    queue = await backend.queue(spec)
    assert not (await queue.enqueue(1, dedup_id="a")).duplicate
    assert (await queue.enqueue(1, dedup_id="a")).duplicate
    receipts = await queue.enqueue_batch([NewTask(n, dedup_id=name) for n, name in enumerate("abc")])
    assert [receipt.duplicate for receipt in receipts] == [True, False, False]
    assert (await queue.stats()).waiting == 3


async def test_a_task_may_enqueue_its_successor_with_its_own_id(backend, spec) -> None:
    queue = await backend.queue(spec)
    for options in ({}, {"delay": 60}):
        parent = await queue.enqueue("parent", **options)
        child = await queue.enqueue("child", dedup_id=parent.id, **options)
        again = await queue.enqueue("child", dedup_id=parent.id, **options)
        assert (child.duplicate, again.duplicate) == (False, True)
    stats = await queue.stats()
    assert (stats.waiting, stats.scheduled) == (2, 2)


async def test_the_receipt_of_a_duplicate_has_the_id_of_the_task_that_is_stored(backend, spec) -> None:
    queue = await backend.queue(spec)
    for options in ({}, {"delay": 60}):
        first = await queue.enqueue(1, dedup_id="a", **options)
        again = await queue.enqueue(2, dedup_id="a", **options)
        other = NewTask(3, dedup_id=f"b{options}", **options)
        batch = await queue.enqueue_batch([other, NewTask(3, dedup_id="a", **options)])
        assert (again.id, again.duplicate) == (first.id, True)
        assert (batch[1].id, batch[1].duplicate, batch[0].duplicate) == (first.id, True, False)
        assert await queue.cancel(again.id)


async def test_of_a_duplicate_that_has_left_the_queue_the_receipt_names_no_task(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker = worker_of(backend, queue)

    @worker.handler
    async def work(payload: int) -> None: ...

    await queue.enqueue(1, dedup_id="a")
    assert await worker.run_once() == 1
    await eventually(lambda: is_empty(queue))
    again = await queue.enqueue(1, dedup_id="a")
    assert (again.id, again.duplicate) == ("", True)
    assert not await queue.cancel(again.id)
    assert await is_empty(queue)


@pytest.mark.parametrize("options", [{}, {"delay": 60}], ids=["immediate", "delayed"])
async def test_a_cancelled_task_frees_its_dedup_id(backend, spec, options: dict[str, Any]) -> None:
    queue = await backend.queue(spec)
    ids = set()
    for _ in range(3):
        receipt = await queue.enqueue(1, dedup_id="inv-1", **options)
        assert not receipt.duplicate
        assert (await queue.enqueue(1, dedup_id="inv-1", **options)).id == receipt.id
        assert await queue.cancel(receipt.id)
        ids.add(receipt.id)
    assert len(ids) == 3
    assert await is_empty(queue)


async def test_a_task_that_is_cancelled_while_it_waits_for_its_retry_frees_its_dedup_id(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"initial_delay": 60.0}))
    worker = worker_of(backend, queue)

    @worker.handler
    async def fail(payload: int) -> None:
        raise ValueError

    for options in ({}, {"delay": 0.1}):
        receipt = await queue.enqueue(1, dedup_id="inv-1", **options)

        async def waits_for_its_retry() -> bool:
            return await worker.run_once() == 1 and (await queue.stats()).scheduled == 1

        await eventually(waits_for_its_retry)
        assert await queue.cancel(receipt.id)
        again = await queue.enqueue(1, dedup_id="inv-1", delay=60 if options else None)
        assert not again.duplicate
        assert await queue.cancel(again.id)


async def test_racing_producers_store_one_task_of_a_dedup_id_that_was_freed(backend, spec) -> None:
    queue = await backend.queue(spec)
    receipt = await queue.enqueue(1, dedup_id="a")
    assert await queue.cancel(receipt.id)
    receipts = await asyncio.gather(*(queue.enqueue(number, dedup_id="a") for number in range(20)))
    batch = await queue.enqueue_batch([NewTask(1, dedup_id="a"), NewTask(2, dedup_id="b")])
    assert [receipt.duplicate for receipt in [*receipts, *batch]].count(False) == 2
    assert len({receipt.id for receipt in [*receipts, batch[0]]}) == 1
    assert (await queue.stats()).waiting == 2


async def test_a_purge_frees_all_dedup_ids(backend, spec) -> None:
    queue = await backend.queue(spec)
    await queue.enqueue_batch([NewTask(1, dedup_id="a"), NewTask(2, dedup_id="b"), NewTask(3, delay=60, dedup_id="c")])
    assert await queue.purge() == 2
    assert not (await queue.enqueue(1, dedup_id="a")).duplicate
    assert (await queue.enqueue(3, delay=60, dedup_id="c")).duplicate  # that one was not purged
    await queue.purge(scheduled=True)
    receipts = await queue.enqueue_batch([NewTask(1, dedup_id="a"), NewTask(3, delay=60, dedup_id="c"), 4])
    assert not any(receipt.duplicate for receipt in receipts)


@pytest.mark.parametrize("limits", [{}, {"max_msgs": 1000}], ids=["plain", "limited"])
async def test_a_purge_leaves_the_dedup_id_of_a_delayed_task_that_stays_also_once_it_is_due(
    backend, queue_name, limits: dict[str, int]
) -> None:
    queue = await backend.queue(QueueSpec(queue_name, limits=limits))
    await queue.enqueue_batch([NewTask(1, delay=3, dedup_id="later"), NewTask(2, dedup_id="now")])
    assert await queue.purge() == 1
    assert not (await queue.enqueue(2, delay=60, dedup_id="now")).duplicate

    async def is_due() -> bool:
        return (await queue.stats()).waiting == 1

    await eventually(is_due)
    options: dict[str, Any] = {"delay": 60} if limits else {}  # there, what is immediate has ids of its own
    assert (await queue.enqueue(1, dedup_id="later", **options)).duplicate
    assert await queue.purge() == 1
    assert (await queue.enqueue(1, dedup_id="later", **options)).duplicate is False


async def test_a_purge_leaves_the_dedup_id_of_a_task_that_waits_for_its_retry(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"initial_delay": 60.0}))
    worker = worker_of(backend, queue)

    @worker.handler
    async def fail(payload: int) -> None:
        raise ValueError

    await queue.enqueue(1, dedup_id="a")

    async def waits_for_its_retry() -> bool:
        await worker.run_once()
        return (await queue.stats()).scheduled == 1

    await eventually(waits_for_its_retry)
    assert await queue.purge() == 0
    assert (await queue.enqueue(1, dedup_id="a")).duplicate


async def test_a_batch_that_finds_no_more_room_stops_there_and_says_from_which_item_on(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, levels=1, limits={"max_msgs": 1500}))
    with pytest.raises(QueueFull) as full:
        await queue.enqueue_batch(range(2500))
    error = full.value
    assert error.first_not_stored == 1000
    assert len(error.receipts) == 2500
    assert all(receipt is not None for receipt in error.receipts[:1000])
    assert all(receipt is None for receipt in error.receipts[1000:])
    tasks = await queue.peek(2000)
    assert [task.id for task in tasks] == [receipt.id for receipt in error.receipts[:1000] if receipt]
    assert [json.loads(task.data) for task in tasks] == list(range(1000))


async def test_what_a_batch_stored_before_its_error_is_told_item_by_item(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, levels=1, limits={"max_msgs": 3}))
    await queue.enqueue(0, dedup_id="a")
    items = [NewTask(0, delay=60), NewTask(1, dedup_id="a"), 2, 3, 4, NewTask(5, delay=60)]
    with pytest.raises(QueueFull) as full:
        await queue.enqueue_batch(items)
    rest = [item for item, receipt in zip(items, full.value.receipts, strict=True) if receipt is None]
    stored = {receipt.id for receipt in full.value.receipts if receipt}
    stats = await queue.stats()
    assert stats.waiting + stats.scheduled == len(stored)
    assert len(rest) + len(stored) == len(items)
    assert full.value.first_not_stored == [receipt is None for receipt in full.value.receipts].index(True)


async def test_of_a_batch_that_is_stored_singly_nothing_more_comes_after_its_error(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, limits={"max_msgs": 3}))
    await queue.enqueue(1, dedup_id="a")
    with pytest.raises(QueueFull):
        await queue.enqueue_batch([NewTask(1, dedup_id="a"), *range(900)])
    assert await queue.purge() == 3
    for _ in range(20):  # so many round trips, in which more could have been stored
        assert (await queue.stats()).waiting == 0


async def test_a_full_queue_refuses_and_keeps_what_comes_due_waiting(backend, queue_name, start) -> None:
    queue = await backend.queue(QueueSpec(queue_name, limits={"max_msgs": 2}))
    await queue.enqueue(3, delay=0.1)
    await queue.enqueue_batch([1, 2])
    with pytest.raises(QueueFull):
        await queue.enqueue(4)
    with pytest.raises(QueueFull):
        await queue.enqueue_batch([4, 5])
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    await asyncio.sleep(0.3)  # until the third is due, and has no room
    start(worker)
    await eventually(lambda: sorted(seen) == [1, 2, 3])


async def test_strict_starts_the_highest_first(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(strict=True))
    worker, order = worker_of(backend, queue, concurrency=1), []

    @worker.handler
    async def work(task: Task) -> None:
        order.append(task.priority)

    await queue.enqueue_batch([NewTask(0, priority=priority) for priority in (1, 5, 10, 1, 5, 10)])
    assert await worker.run_once() == 6
    assert order == [10, 10, 5, 5, 1, 1]


async def test_by_hand_a_lost_lease_comes_again_and_a_settled_task_does_not(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(visibility_s=0.4, retry={"max_attempts": 2}))
    await queue.enqueue_batch([1, 2])
    done, lost = await queue.receive(2, group="mailers")
    await done.ack()
    assert await queue.receive(2, group="mailers") == []
    (again,) = await queue.receive(2, wait=60, group="mailers")
    assert again.id == lost.id

    async def poisoned() -> bool:
        return not await queue.receive(1, group="mailers") and [le.reason for le in await letters_of(queue)] == [
            "Crashed"
        ]

    await eventually(poisoned)


async def test_redriven_tasks_start_with_fresh_attempts(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"max_attempts": 1}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append((task.id, task.attempt))
        if len(seen) == 1:
            raise ValueError

    receipt = await queue.enqueue(1)
    assert await worker.run_once() == 1
    assert await queue.redrive() == 1
    assert await worker.run_once() == 1
    assert seen == [(receipt.id, 1)] * 2
    assert (await queue.stats()).dead == 0


async def test_every_group_of_a_broadcast_queue_gets_every_task(backend, queue_name) -> None:
    groups = GroupSpec("one", retry={"max_attempts": 1}), GroupSpec("two")
    queue = await backend.queue(QueueSpec(queue_name, broadcast=True), *groups)
    await queue.enqueue_batch([1, 2])
    for group in ("one", "two"):
        worker, seen = worker_of(backend, queue, group), []

        @worker.handler
        async def work(payload: int, *, seen: list[int] = seen, group: str = group) -> None:
            seen.append(payload)
            if group == "one" and payload == 1:
                raise Reject("no")

        assert await worker.run_once() == 2
        assert sorted(seen) == [1, 2]
    assert [letter.group for letter in await letters_of(queue)] == ["one"]
    await eventually(lambda: is_empty(queue))


async def test_ordered_tasks_run_in_order_through_retries(backend, queue_name, start) -> None:
    queue = await backend.queue(QueueSpec(queue_name, partitions=2), GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt))
        if payload == 1 and task.attempt == 1:
            raise ValueError

    await queue.enqueue_batch([NewTask(n, ordering_key="k") for n in range(4)])
    start(worker)
    await eventually(lambda: len(seen) == 5)
    assert seen == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]


async def test_neither_a_snooze_nor_a_lost_lease_costs_an_ordered_task_an_attempt(backend, queue_name, start) -> None:
    retry = QUICK | {"max_attempts": 2}
    queue = await backend.queue(QueueSpec(queue_name, partitions=1), GroupSpec(visibility_s=0.4, retry=retry))
    await queue.enqueue(1, ordering_key="k")
    assert len(await queue.receive(1, group="mailers")) == 1  # and never settled: its holder has crashed
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task.attempt)
        raise Snooze(0.05) if len(seen) <= 3 else ValueError

    start(worker)
    (letter,) = await eventually(lambda: letters_of(queue))
    assert (seen, letter.reason, letter.attempts) == ([1, 1, 1, 1, 2], "MaxAttempts", 2)


async def test_an_ordered_task_that_waits_for_its_retry_can_be_cancelled_and_the_next_comes(
    backend, queue_name, start
) -> None:
    queue = await backend.queue(QueueSpec(queue_name, partitions=1), GroupSpec(retry={"initial_delay": 60}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)
        if payload == 1:
            raise ValueError

    first, _ = await queue.enqueue_batch([NewTask(number, ordering_key="k") for number in (1, 2)])
    start(worker)
    await eventually(lambda: seen == [1])
    assert await queue.cancel(first.id)
    await eventually(lambda: seen == [1, 2])


async def test_expired_tasks_do_not_start(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, keep_expired=True))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    await queue.enqueue(1, expires=0.1)
    await queue.enqueue(2, expires=60)
    await asyncio.sleep(0.2)  # time itself is tested
    await worker.run_once()
    assert seen == [2]
    assert [letter.reason for letter in await letters_of(queue)] == ["Expired"]


async def test_changed_settings_bind_running_workers(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    start(worker)
    await queue.enqueue(1)
    await eventually(lambda: seen == [1])
    await backend.set_up(spec, GroupSpec(paused=True))

    async def pauses() -> bool:
        await queue.enqueue(2)
        await asyncio.sleep(0.05)
        return (await queue.stats()).waiting > 0

    await eventually(pauses)
    await backend.set_up(spec, GroupSpec())
    await eventually(lambda: is_empty(queue))


async def test_an_exactly_once_group_does_not_run_what_has_succeeded(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(exactly_once=True))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    receipt = await queue.enqueue(1)
    assert await worker.run_once() == 1
    again = encode_task(receipt.id, b"1", content_type="application/json")
    await queue._broker.publish(Message(spec.queue.task(0), again), 5)
    assert await worker.run_once() == 1
    assert seen == [1]


async def test_peek_and_purge(backend, spec) -> None:
    queue = await backend.queue(spec)
    await queue.enqueue_batch([1, 2, NewTask(3, delay=60)])
    assert [task.data for task in await queue.peek(5)] == [b"1", b"2"]
    assert await queue.purge(scheduled=True) == 3
    assert await is_empty(queue)


async def test_a_running_task_can_be_cancelled_by_its_id_and_its_worker_goes_on(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, trace = worker_of(backend, queue, concurrency=1), []

    @worker.handler
    async def work(payload: str) -> None:
        trace.append(payload)
        if payload == "long":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                trace.append("cancelled")
                raise

    receipt = await queue.enqueue("long")
    start(worker)
    await eventually(lambda: trace == ["long"])
    assert await queue.cancel(receipt.id)
    await queue.enqueue("next")
    await eventually(lambda: trace == ["long", "cancelled", "next"])
    assert not await queue.cancel(receipt.id)
    await eventually(lambda: is_empty(queue))
    assert not await letters_of(queue)


async def test_a_task_that_waits_can_be_cancelled_and_its_neighbours_stay(backend, spec) -> None:
    queue = await backend.queue(spec)
    receipts = await queue.enqueue_batch(list(range(20)))
    assert await queue.cancel(receipts[7].id)
    assert not await queue.cancel(receipts[7].id)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    assert await worker.run_once() == 19
    assert sorted(seen) == [number for number in range(20) if number != 7]


async def test_a_task_that_waits_for_its_retry_can_be_cancelled(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"initial_delay": 60}))
    worker = worker_of(backend, queue)

    @worker.handler
    async def fail(payload: int) -> None:
        raise ValueError

    receipt = await queue.enqueue(1)
    assert await worker.run_once() == 1
    assert (await queue.stats()).scheduled == 1
    assert await queue.cancel(receipt.id)
    assert await is_empty(queue)


async def test_a_task_whose_producer_s_id_looks_like_one_with_a_sequence_can_be_cancelled(backend, spec) -> None:
    queue = await backend.queue(spec)
    await queue._broker.publish(Message(spec.queue.task(0), encode_task("order@2026", b"1")), 5)
    await queue.enqueue(1)
    assert await queue.cancel("order@2026")
    assert not await queue.cancel("order@2026")
    assert (await queue.stats()).waiting == 1


async def test_purging_a_full_queue_removes_what_is_due_and_waits_for_room_too(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, limits={"max_msgs": 2}))
    await queue.enqueue_batch([1, 2])
    await queue.enqueue(3, delay=0.05)

    async def due() -> bool:
        return (await queue.stats()).scheduled == 0

    await eventually(due)
    assert await queue.purge() == 3
    await queue.enqueue(4)
    assert [task.data for task in await queue.peek()] == [b"4"]


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_task_without_a_byte_left_for_headers_is_buried_bare_and_holds_nothing_up(
    backend, queue_name, start, ordered: bool
) -> None:
    """Only another producer can send one: `enqueue` keeps room for the headers of a dead letter."""
    spec = QueueSpec(queue_name, partitions=1 if ordered else 0)
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue, concurrency=1), []

    @worker.handler
    async def fail(task: Task) -> None:
        raise ValueError

    @worker.handler("good")
    async def work(task: Task) -> None:
        seen.append(task.type)

    bare = len(encode_task("t", b"1" * 1_000_000))
    largest = encode_task("t", b"1" * (queue._broker.max_payload - (bare - 1_000_000)))
    assert len(largest) == queue._broker.max_payload
    await queue._broker.publish(Message(spec.queue.ordered(0) if ordered else spec.queue.task(1), largest), 5)
    await queue.enqueue(1, type="good", ordering_key="k" if ordered else "")
    start(worker)
    (letter,) = await eventually(lambda: letters_of(queue))
    assert (letter.group, letter.reason, letter._message.data == largest) == ("mailers", "", True)
    await eventually(lambda: seen == ["good"])
    with pytest.raises(PayloadTooLarge):
        await letter.redrive()
    assert await letter.delete()


async def test_a_client_that_is_closed_is_of_no_more_use_and_others_are(backend, spec) -> None:
    queue = await backend.queue(spec)
    await queue.enqueue(1)
    async with await protoqueue.connect(backend.url) as other:
        closed = await other.queue(queue.name)
        (received,) = await closed.receive(group="mailers")
    for use in (
        lambda: other.queue(queue.name),
        lambda: closed.enqueue(2),
        lambda: closed.enqueue_batch([2, 3]),
        lambda: closed.receive(group="mailers"),
        lambda: closed.cancel(received.id),
        closed.peek,
        closed.stats,
        closed.purge,
        received.extend,
    ):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(use(), 60)
    assert (await queue.stats()).in_flight == 1


async def test_a_client_refuses_another_event_loop_at_once_and_says_what_to_do(backend, spec) -> None:
    queue = await backend.queue(spec)
    loop = asyncio.get_running_loop()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: queue.enqueue(1), lambda: queue.enqueue_batch([1, 2]), lambda: queue.enqueue(1, timeout=None),
        lambda: backend.client.queue("default/other"), lambda: queue.receive(group="mailers"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"another event loop.*protoqueue\.sync"):
            await asyncio.wait_for(asyncio.to_thread(lambda call=call: asyncio.run(call())), 60)
    assert (await queue.stats()).waiting == 0
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(queue.enqueue(3), loop).result(30))
    (received,) = await queue.receive(group="mailers")
    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(received.ack()))
    await received.ack()
    await eventually(lambda: is_empty(queue))


async def test_both_ways_to_connect_give_a_client_and_the_first_closes_it(backend, spec) -> None:
    await backend.queue(spec)
    async with protoqueue.connect(backend.url) as client:
        queue = await client.queue(str(spec.queue))
        await queue.enqueue(1)
    with pytest.raises(Unavailable):
        await queue.enqueue(2, timeout=0.2)
    client = await protoqueue.connect(backend.url)
    assert (await (await client.queue(str(spec.queue))).stats()).waiting == 1
    await client.close()
    task = asyncio.create_task(protoqueue.connect(backend.url))
    async with await task as client, await protoqueue.connect(backend.url) as other:
        assert client is not other


async def test_the_group_may_be_left_out_where_the_queue_has_just_one(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec("only"))
    await queue.enqueue_batch([1, 2])
    (received,) = await queue.receive(1)
    await received.ack()
    worker, seen = protoqueue.Worker(queue.name, url=backend.url), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    assert await worker.run_once() == 1
    assert seen == [2]


async def test_a_broadcast_queue_asks_for_the_group(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, broadcast=True), GroupSpec("only"))
    with pytest.raises(ConfigurationError, match=r"Broadcast.*pass group="):
        await queue.receive(1)


WELCOME = protoqueue.TaskType("welcome", dict)


async def test_a_task_type_ties_what_is_enqueued_to_its_handler(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler(WELCOME)
    async def welcome(payload: dict[str, Any], task: Task) -> None:
        seen.append((task.type, payload["to"], task.metadata))

    await queue.enqueue(WELCOME({"to": "a"}, metadata={"n": 1}), delay=0)
    await queue.enqueue_batch([WELCOME({"to": "b"})])
    await queue.enqueue(WELCOME({"to": "c"}, metadata={"n": 1}), metadata={"n": 2}, type="welcome")
    assert await worker.run_once() == 3
    assert sorted(seen, key=str) == [("welcome", "a", {"n": 1}), ("welcome", "b", {}), ("welcome", "c", {"n": 2})]
    with pytest.raises(InvalidTask, match=r"type 'welcome' has a payload of type dict, not int"):
        WELCOME(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match=r"remove type='other'"):
        await queue.enqueue(WELCOME({}), type="other")
    with pytest.raises(ConfigurationError, match="already"):
        worker.handler(WELCOME)(welcome)


@pytest.mark.parametrize("of", ["queue", "group"])
async def test_what_is_paused_yields_nothing_to_workers_and_by_hand_until_it_is_resumed(
    backend, queue_name, of: str
) -> None:
    spec, group = QueueSpec(queue_name, paused=of == "queue"), GroupSpec(paused=True)
    queue = await backend.queue(spec, group)
    worker = worker_of(backend, queue)

    @worker.handler
    async def work(payload: int) -> None: ...

    await queue.enqueue(1)
    assert await queue.receive(1, group="mailers") == []
    assert await queue.receive(1, wait=0.3, group="mailers") == []
    assert await asyncio.wait_for(worker.run_once(), 60) == 0
    await backend.set_up(QueueSpec(queue_name), GroupSpec())
    (received,) = await queue.receive(1, wait=60, group="mailers")
    await received.ack()
    await eventually(lambda: is_empty(queue))


async def test_stats_say_whether_the_queue_or_one_of_its_groups_is_paused(backend, queue_name) -> None:
    spec = QueueSpec(queue_name, broadcast=True)
    queue = await backend.queue(spec, GroupSpec("one"), GroupSpec("two", paused=True))

    async def states() -> tuple[bool, bool, bool]:
        stats = await queue.stats()
        return stats.paused, stats.groups["one"].paused, stats.groups["two"].paused

    assert await states() == (False, False, True)
    await backend.set_up(replace(spec, paused=True), GroupSpec("one"), GroupSpec("two"))

    async def all_paused() -> bool:
        return await states() == (True, True, True)

    await eventually(all_paused)
    await backend.set_up(spec, GroupSpec("one"), GroupSpec("two"))

    async def none_paused() -> bool:
        return await states() == (False, False, False)

    await eventually(none_paused)


async def test_a_run_ends_for_an_unknown_group_and_by_its_timeout_and_hands_back_what_it_held(backend, spec) -> None:
    queue = await backend.queue(spec)
    stranger, worker = worker_of(backend, queue, "strangers"), worker_of(backend, queue)

    @stranger.handler
    @worker.handler
    async def hang(payload: int) -> None:
        await asyncio.sleep(60)

    with pytest.raises(protoqueue.GroupNotFound, match="strangers"):
        await asyncio.wait_for(stranger.run_once(), 60)
    await queue.enqueue_batch([1, 2])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(worker.run_once(timeout=1), 60)

    async def handed_back() -> bool:
        return len(await queue.receive(2, wait=5, group="mailers")) == 2

    assert await handed_back()


async def test_a_rate_limit_holds_tasks_back(backend, queue_name, start) -> None:
    limit = {"tasks": 1, "per": 3600}
    queue = await backend.queue(QueueSpec(queue_name), GroupSpec(rate_limit=limit))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    await queue.enqueue_batch([1, 2, 3])
    start(worker)
    await eventually(lambda: seen)
    await asyncio.sleep(0.5)  # in which no more may start
    assert len(seen) == 1


@pytest.mark.parametrize("whose", ["queue", "group"])
async def test_receive_starts_no_more_than_a_rate_limit_allows_and_leaves_the_rest(
    backend, queue_name, whose: str
) -> None:
    limit = {"tasks": 3, "per": 3600}
    of_queue, of_group = (limit, None) if whose == "queue" else (None, limit)
    queue = await backend.queue(QueueSpec(queue_name, rate_limit=of_queue), GroupSpec(rate_limit=of_group))
    await queue.enqueue_batch(range(20))
    received = await asyncio.gather(*(queue.receive(10, wait=2, group="mailers") for _ in range(4)))
    assert sum(map(len, received)) == 3
    assert await queue.receive(10, group="mailers") == []

    stats = await queue.stats()  # what was handed back counts as in flight until it is delivered again
    assert stats.waiting + stats.in_flight == 20
    assert stats.in_flight < 3 + 3


async def test_a_receive_that_waits_gets_a_task_as_soon_as_a_rate_limit_allows_it(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, rate_limit={"tasks": 1, "per": 0.5}), GroupSpec())
    await queue.enqueue_batch(range(3))
    for number in range(3):
        (task,) = await queue.receive(10, wait=60, group="mailers")
        assert json.loads(task.data) == number
        await task.ack()
    waiting = asyncio.create_task(queue.receive(10, wait=60, group="mailers"))
    await queue.enqueue(3)
    assert len(await waiting) == 1


async def test_a_burst_that_was_saved_up_is_received_at_once(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, rate_limit={"tasks": 8, "per": 3600, "burst": 8}), GroupSpec())
    await queue.enqueue_batch(range(20))
    taken = 0

    async def is_used_up() -> bool:  # the next task would have to wait for minutes
        nonlocal taken
        taken += len(await queue.receive(5, group="mailers"))
        return taken >= 8

    await eventually(is_used_up)
    assert taken == 8


async def test_a_task_too_large_for_the_broker_is_refused_alone_and_in_a_batch(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name))
    large = b"x" * queue._broker.max_payload
    with pytest.raises(PayloadTooLarge):
        await queue.enqueue(large)
    with pytest.raises(PayloadTooLarge):
        await queue.enqueue_batch([b"1", large])
    broker, subject = queue._broker, QueueSpec(queue_name).queue.task(0)

    async def at_once() -> None: ...

    with pytest.raises(PayloadTooLarge):
        await broker.publish_atomic([Message(subject, b"1"), Message(subject, large, {"a": "b"})], 5, at_once)
    assert (await queue.stats()).waiting == 0


async def test_a_schedule_that_is_stored_again_fires_once(backend, spec) -> None:
    queue = await backend.queue(spec)
    name, broker = spec.queue, queue._broker
    for number in range(3):
        at = schedule_at(datetime.now(UTC) + timedelta(seconds=0.3))
        headers = {"Nats-Schedule": at, "Nats-Schedule-Target": name.due(name.task(1))}
        await broker.publish(Message(name.scheduled("again"), encode_task(f"t{number}", b"1"), headers), 5)
    assert (await queue.stats()).scheduled == 1

    async def fired() -> bool:
        return (await queue.stats()).waiting == 1

    await eventually(fired)
    assert [task.id for task in await queue.peek()] == ["t2"]


async def test_a_later_group_of_a_broadcast_queue_gets_what_it_starts_from(backend, queue_name) -> None:
    spec = QueueSpec(queue_name, broadcast=True)
    queue = await backend.queue(spec, GroupSpec("first"))
    await queue.enqueue(1)
    await backend.set_up(spec, GroupSpec("first"), GroupSpec("later"), GroupSpec("new", deliver_all=False))
    await queue.enqueue(2)
    got = {
        group: sorted(one.data for one in await queue.receive(5, group=group)) for group in ("first", "later", "new")
    }
    assert got == {"first": [b"1", b"2"], "later": [b"1", b"2"], "new": [b"2"]}


@pytest.mark.parametrize("delivery", ["work queue", "broadcast", "ordered"])
async def test_many_dead_letters_are_redriven_once_each_in_order_and_those_not_wanted_stay(
    backend, queue_name, delivery: str
) -> None:
    shape = {"broadcast": delivery == "broadcast", "partitions": 1 if delivery == "ordered" else 0, "levels": 1}
    spec = QueueSpec(queue_name, **shape)
    queue = await backend.queue(spec, GroupSpec(retry={"max_attempts": 1}))
    worker, seen, is_well = worker_of(backend, queue, concurrency=1), [], []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append(payload)
        if not is_well:
            raise Reject("not yet") if payload % 3 else ValueError

    key = {"ordering_key": "k"} if delivery == "ordered" else {}
    await queue.enqueue_batch([NewTask(number, **key) for number in range(700)])
    assert await worker.run_once() == 700
    letters = [letter.task.data async for letter in queue.dead_letters()]
    assert sorted(map(int, letters)) == list(range(700))
    is_well.append(True)
    seen.clear()
    assert await queue.redrive(limit=300) == 300
    assert await queue.redrive(reason="Rejected") == 266
    assert (await queue.stats()).dead == 134
    assert await worker.run_once() == 566
    expected = [*range(300), *(number for number in range(300, 700) if number % 3)]
    # Elsewhere a worker that is slow hands back what has waited too long for its slot.
    assert (seen if delivery == "ordered" else sorted(seen)) == expected
    assert await queue.redrive() == 134
    assert await queue.redrive() == 0
    assert await worker.run_once() == 134


async def test_a_redrive_into_a_queue_with_too_little_room_puts_back_what_fits_and_keeps_the_rest(
    backend, queue_name
) -> None:
    queue = await backend.queue(QueueSpec(queue_name, limits={"max_msgs": 10}), GroupSpec(retry={"max_attempts": 1}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)
        if seen.count(payload) == 1:
            raise ValueError

    for start in (0, 10):
        await queue.enqueue_batch(list(range(start, start + 10)))
        await worker.run_once()
    with pytest.raises(QueueFull):
        await queue.redrive()
    stats = await queue.stats()
    assert (stats.waiting, stats.dead) == (10, 10)
    assert await worker.run_once() == 10
    assert await queue.redrive() == 10
    assert await worker.run_once() == 10
    assert sorted(seen) == sorted([*range(20)] * 2)


async def test_an_overview_says_of_each_queue_what_its_stats_say_however_it_changes(backend, spec) -> None:
    queue, quiet = await backend.queue(spec), await backend.queue(replace(spec, name=f"{spec.name}-quiet"))

    async def agrees() -> bool:
        found = await backend.client.overview()
        for each in (queue, quiet):
            stats, shown = await each.stats(), found[each.name].stats
            if replace(stats, oldest_age=None) != replace(shown, oldest_age=None):
                return False
            if (stats.oldest_age is None) != (shown.oldest_age is None) or found[
                each.name
            ].progress != await each.progress():
                return False
        return True

    await eventually(agrees)
    await queue.enqueue_batch([1, 2, 3])
    await queue.enqueue(4, delay=60)
    await eventually(agrees)
    first, second = await queue.receive(2, group="mailers")
    await eventually(agrees)
    await first.reject("no")
    await second.ack()
    await eventually(agrees)
    assert (await backend.client.overview())[queue.name].progress.removed == 2
    await queue.purge(scheduled=True)
    await eventually(agrees)


async def test_a_dead_letter_is_put_back_with_another_payload_under_the_same_id(backend, spec) -> None:
    queue = await backend.queue(spec)
    receipt = await queue.enqueue({"to": "ada"}, type="mail", priority=9, metadata={"tenant": 7})
    (held,) = await queue.receive(1, 60, group="mailers")
    await held.reject("no such address")
    (letter,) = await letters_of(queue)
    await letter.redrive(b'{"to": "bob"}')
    (again,) = await queue.receive(1, 60, group="mailers")
    assert (again.id, again.type, again.priority, again.attempt) == (receipt.id, "mail", 9, 1)
    assert (again.payload(dict), again.metadata) == ({"to": "bob"}, {"tenant": 7})
    assert await letters_of(queue) == []


async def test_what_is_not_due_yet_is_run_now_once_and_with_its_attempt(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={**QUICK, "initial_delay": 600.0}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    def work(payload: str, task: Task) -> None:
        seen.append((payload, task.attempt))
        if payload == "fails once" and task.attempt == 1:
            raise ValueError

    delayed = await queue.enqueue("delayed", delay=600)
    failing = await queue.enqueue("fails once")
    start(worker)

    async def counted(scheduled: int) -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, scheduled)

    await eventually(lambda: counted(2))
    assert await queue.run_now(failing.id)
    assert await queue.run_now(delayed.id)
    await eventually(lambda: counted(0))
    assert sorted(seen) == [("delayed", 1), ("fails once", 1), ("fails once", 2)]
    assert not await queue.run_now(delayed.id)
    assert not await queue.run_now("never")


async def test_what_has_come_due_meanwhile_is_not_run_twice(backend, spec) -> None:
    queue = await backend.queue(spec)
    receipt = await queue.enqueue("soon", delay=600)
    assert await queue.run_now(receipt.id)
    (held,) = await queue.receive(1, 60, group="mailers")
    assert not await queue.run_now(receipt.id)
    await held.ack()
    await eventually(lambda: is_empty(queue))


async def test_who_follows_the_overview_sees_what_comes_is_taken_and_is_done(backend, spec) -> None:
    queue = await backend.queue(spec)
    seen: dict[str, protoqueue.QueueOverview] = {}

    async def follow() -> None:
        async for found in backend.client.follow_overview(0.05, expected=lambda: [queue.name]):
            seen.update(found)

    following = asyncio.create_task(follow())

    def counts() -> tuple[int, ...]:
        stats = seen[queue.name].stats
        return stats.waiting, stats.in_flight, stats.scheduled, stats.dead

    async def shows(*wanted: int) -> None:
        await eventually(lambda: queue.name in seen and counts() == wanted)

    await shows(0, 0, 0, 0)
    await queue.enqueue_batch([1, 2])
    await queue.enqueue(3, delay=600)
    await shows(2, 0, 1, 0)
    (held,) = await queue.receive(1, group="mailers")
    await shows(1, 1, 1, 0)
    await held.reject("no")
    await shows(1, 0, 1, 1)
    await queue.purge(scheduled=True)
    await shows(0, 0, 0, 1)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following

"""What holds on a real server holds in memory too: each test runs against both."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

import protoqueue
from nats_server import NatsServer
from protoqueue import Outgoing, PayloadTooLarge, QueueFull, Reject, Retry, Snooze, Task, Unavailable
from protoqueue.ambient import use_broker
from protoqueue.codec import encode_task
from protoqueue.connection import Message
from protoqueue.testing import InMemory
from provisioning import GroupSpec, QueueSpec, group_config, provision, queue_config
from waiting import eventually

QUICK = {"initial_delay": 0.05, "max_attempts": 3, "jitter": 0.0}


@dataclass
class Backend:
    """One place for queues: `set_up(queue, *groups)` makes a queue or changes it."""

    client: protoqueue.Client
    url: str | None
    set_up: Callable[..., Awaitable[None]]

    async def queue(self, spec: QueueSpec, *groups: GroupSpec) -> protoqueue.Queue:
        await self.set_up(spec, *(groups or (GroupSpec(),)))
        return await self.client.queue(str(spec.queue))


@pytest_asyncio.fixture(params=["nats", "memory"])
async def backend(request: pytest.FixtureRequest, server: NatsServer, nc: Nats) -> AsyncIterator[Backend]:
    if request.param == "nats":

        async def on_nats(spec: QueueSpec, *groups: GroupSpec) -> None:
            await provision(nc, spec, groups)

        async with await protoqueue.connect(server.url) as client:
            yield Backend(client, server.url, on_nats)
        return
    memory = InMemory()

    async def in_memory(spec: QueueSpec, *groups: GroupSpec) -> None:
        memory.add_queue(queue_config(spec), max_tasks=spec.limits.get("max_msgs", -1))
        for group in groups:
            memory.add_group(group_config(spec, group))

    with use_broker(memory.broker):
        async with memory.client as client:
            yield Backend(client, None, in_memory)


@pytest.fixture
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name)


def worker_of(backend: Backend, queue: protoqueue.Queue, group: str = "mailers", **options: Any) -> protoqueue.Worker:
    return protoqueue.Worker(queue.name, group=group, url=backend.url, **options)


async def letters_of(queue: protoqueue.Queue) -> list[protoqueue.DeadLetter]:
    return [letter async for letter in queue.dead_letters()]


async def is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return (stats.ready, stats.in_flight, stats.scheduled) == (0, 0, 0)


async def test_run_once_runs_all_that_is_ready_and_returns_how_many(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.priority))

    await queue.enqueue_batch([Outgoing(n, priority=n) for n in range(1, 11)])
    await queue.enqueue(11, delay=60)
    assert await worker.run_once() == 10
    assert sorted(seen) == [(n, n) for n in range(1, 11)]
    assert await worker.run_once() == 0
    stats = await queue.stats()
    assert (stats.ready, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 1, 0)


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
    receipts = await queue.enqueue_batch([Outgoing(n, dedup_id=name) for n, name in enumerate("abc")])
    assert [receipt.duplicate for receipt in receipts] == [True, False, False]
    assert (await queue.stats()).ready == 3


async def test_of_a_batch_that_is_stored_singly_nothing_more_comes_after_its_error(backend, queue_name) -> None:
    queue = await backend.queue(QueueSpec(queue_name, limits={"max_msgs": 3}))
    await queue.enqueue(1, dedup_id="a")
    with pytest.raises(QueueFull):
        await queue.enqueue_batch([Outgoing(1, dedup_id="a"), *range(900)])
    assert await queue.purge() == 3
    for _ in range(20):  # so many round trips, in which more could have been stored
        assert (await queue.stats()).ready == 0


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

    await queue.enqueue_batch([Outgoing(0, priority=priority) for priority in (1, 5, 10, 1, 5, 10)])
    assert await worker.run_once() == 6
    assert order == [10, 10, 5, 5, 1, 1]


async def test_by_hand_a_lost_lease_comes_again_and_a_settled_task_does_not(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(visibility_s=0.4, retry={"max_attempts": 2}))
    await queue.enqueue_batch([1, 2])
    done, lost = await queue.receive(2, group="mailers")
    await done.ack()
    assert await queue.receive(2, group="mailers") == []
    (again,) = await queue.receive(2, wait=5, group="mailers")
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

    await queue.enqueue_batch([Outgoing(n, ordering_key="k") for n in range(4)])
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

    first, _ = await queue.enqueue_batch([Outgoing(number, ordering_key="k") for number in (1, 2)])
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
        return (await queue.stats()).ready > 0

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
    await queue.enqueue_batch([1, 2, Outgoing(3, delay=60)])
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
    assert (await queue.stats()).ready == 1


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
            await asyncio.wait_for(use(), 10)
    assert (await queue.stats()).in_flight == 1

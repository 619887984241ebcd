"""Tasks by hand, and taking scheduled ones back."""

import asyncio
import time

import pytest

from protoqueue import AlreadySettled, ConfigurationError, GroupNotFound, InvalidTask, Outgoing
from protoqueue.naming import QueueName
from provisioning import GroupSpec
from waiting import eventually


async def test_received_tasks_are_acked_retried_rejected_by_hand(make_queue) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05}))
    await queue.enqueue_batch([Outgoing({"n": n}, priority=n) for n in (1, 5, 10)])
    high, middle, low = await queue.receive(max_tasks=10, group="mailers")
    assert [task.payload(dict) for task in (high, middle, low)] == [{"n": 10}, {"n": 5}, {"n": 1}]
    await high.ack()
    await middle.retry()
    await low.reject("not wanted")
    with pytest.raises(AlreadySettled, match="acked"):
        await high.reject()
    with pytest.raises(AlreadySettled, match="acked"):
        await high.extend()
    (again,) = await queue.receive(wait=5, group="mailers")
    assert (again.id, again.attempt) == (middle.id, 2)
    await again.ack()
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.task.id, letter.reason, letter.error) == (low.id, "Rejected", "not wanted")

    async def empty() -> bool:
        stats = await queue.stats()
        return (stats.ready, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 1)

    await eventually(empty)


async def test_a_lease_that_runs_out_returns_to_the_queue_and_an_extended_one_does_not(make_queue) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1))
    await queue.enqueue_batch([1, 2])
    lost, kept = await queue.receive(max_tasks=2, group="mailers")
    for _ in range(4):
        await asyncio.sleep(0.4)  # time itself is what the lease is about
        await kept.extend()
    (again,) = await queue.receive(max_tasks=2, wait=5, group="mailers")
    assert again.id == lost.id
    await kept.ack()
    await again.ack()


async def test_receive_waits_for_the_first_task_and_no_longer_than_told(make_queue) -> None:
    queue = await make_queue()
    began = time.monotonic()
    assert await queue.receive(wait=0.3, group="mailers") == []
    assert 0.3 <= time.monotonic() - began < 2
    waiting = asyncio.create_task(queue.receive(wait=20, group="mailers"))
    await queue.enqueue("now", priority=1)
    (task,) = await asyncio.wait_for(waiting, 5)
    assert task.payload() == "now"
    await task.ack()


async def test_receive_leaves_what_it_did_not_ask_for(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue_batch([Outgoing(n, priority=n) for n in (1, 5, 10)])
    (first,) = await queue.receive(max_tasks=1, group="mailers")
    (second,) = await queue.receive(max_tasks=1, group="mailers")
    assert (first.payload(), second.payload()) == (10, 5)
    stats = await queue.stats()
    assert (stats.ready, stats.in_flight) == (1, 2)


async def test_what_is_no_task_is_buried_rather_than_received(make_queue, nc, queue_name) -> None:
    queue = await make_queue()
    await nc.jetstream().publish(QueueName("default", queue_name).task(2), b"\xff\xff")
    await queue.enqueue("good", priority=1)
    (task,) = await queue.receive(max_tasks=1, wait=5, group="mailers")
    assert task.payload() == "good"
    assert [letter.reason async for letter in queue.dead_letters()] == ["Undecodable"]


async def test_a_group_that_does_not_exist_is_an_error(make_queue) -> None:
    queue = await make_queue()
    with pytest.raises(GroupNotFound, match="nobody"):
        await queue.receive(group="nobody")
    for no_name in ("*", ">", "a.b"):
        with pytest.raises(ConfigurationError, match="DNS label"):
            await queue.receive(group=no_name)
        with pytest.raises(ConfigurationError, match="DNS label"):
            await queue.redrive(group=no_name)


async def test_a_scheduled_task_can_be_taken_back_before_it_is_due(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    kept, cancelled = await queue.enqueue("kept", delay=0.8), await queue.enqueue("cancelled", delay=0.8)
    assert await queue.cancel(cancelled.id)
    assert not await queue.cancel(cancelled.id)
    assert not await queue.cancel("never heard of")
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: str) -> None:
        seen.append(payload)

    start(worker)
    await eventually(lambda: seen)
    assert not await queue.cancel(kept.id)
    assert seen == ["kept"]
    assert (await queue.stats()).scheduled == 0


async def test_a_delay_that_is_none_is_refused_and_the_task_can_still_be_settled(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue(1)
    (task,) = await queue.receive(1, group="mailers")
    with pytest.raises(InvalidTask, match="negative"):
        await task.retry(delay=-1)
    await task.ack()

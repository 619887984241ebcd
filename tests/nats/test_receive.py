"""Tasks by hand, and taking scheduled ones back."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

import nats
import protoqueue
from nats_server import NatsServer
from protoqueue import AlreadySettled, ConfigurationError, GroupNotFound, InvalidTask, NewTask, Unavailable
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec, QueueSpec, api, provision
from waiting import eventually


async def test_received_tasks_are_acked_retried_rejected_by_hand(make_queue) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05}))
    await queue.enqueue_batch([NewTask({"n": n}, priority=n) for n in (1, 5, 10)])
    high, middle, low = await queue.receive(max_tasks=10, group="mailers")
    assert [task.payload(dict) for task in (high, middle, low)] == [{"n": 10}, {"n": 5}, {"n": 1}]
    await high.ack()
    await middle.retry()
    await low.reject("not wanted")
    with pytest.raises(AlreadySettled, match="acked"):
        await high.reject()
    with pytest.raises(AlreadySettled, match="acked"):
        await high.extend()
    (again,) = await queue.receive(wait=60, group="mailers")
    assert (again.id, again.attempt) == (middle.id, 2)
    await again.ack()
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.task.id, letter.reason, letter.error) == (low.id, "Rejected", "not wanted")

    async def empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 1)

    await eventually(empty)


async def test_a_lease_that_runs_out_returns_to_the_queue_and_an_extended_one_does_not(make_queue) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1))
    await queue.enqueue_batch([1, 2])
    lost, kept = await queue.receive(max_tasks=2, group="mailers")
    for _ in range(4):
        await asyncio.sleep(0.4)  # time itself is what the lease is about
        await kept.extend()
    (again,) = await queue.receive(max_tasks=2, wait=60, group="mailers")
    assert again.id == lost.id
    await kept.ack()
    await again.ack()


async def test_receive_waits_for_the_first_task_and_no_longer_than_told(make_queue) -> None:
    queue = await make_queue()
    began = time.monotonic()
    assert await queue.receive(wait=0.3, group="mailers") == []
    assert 0.3 <= time.monotonic() - began < 2
    waiting = asyncio.create_task(queue.receive(wait=300, group="mailers"))
    await queue.enqueue("now", priority=1)
    (task,) = await asyncio.wait_for(waiting, 60)
    assert task.payload() == "now"
    await task.ack()


async def test_receive_leaves_what_it_did_not_ask_for(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue_batch([NewTask(n, priority=n) for n in (1, 5, 10)])
    (first,) = await queue.receive(max_tasks=1, group="mailers")
    (second,) = await queue.receive(max_tasks=1, group="mailers")
    assert (first.payload(), second.payload()) == (10, 5)
    stats = await queue.stats()
    assert (stats.waiting, stats.in_flight) == (1, 2)


async def test_what_is_no_task_is_buried_rather_than_received(make_queue, nc, queue_name) -> None:
    queue = await make_queue()
    await nc.jetstream().publish(QueueName("default", queue_name).task(2), b"\xff\xff")
    await queue.enqueue("good", priority=1)
    (task,) = await queue.receive(max_tasks=1, wait=60, group="mailers")
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


async def is_asked(nc: Nats, queue_name: str) -> bool:
    """Whether a request waits at each of the group's consumers."""
    listed = await api(nc, f"CONSUMER.LIST.{QueueName('default', queue_name).stream}", {})
    return all(each["num_waiting"] for each in listed["consumers"] if each["name"].startswith("mailers"))


def sent_to(client: protoqueue.Client, server: NatsServer) -> int:
    """How many messages the server has sent to a client. Blocks the event loop."""
    (one,) = server.asked(f"/connz?cid={client._broker._nc.client_id}")["connections"]  # type: ignore[attr-defined]
    return int(one["out_msgs"])


def hold_until_sent(client: protoqueue.Client, server: NatsServer, messages: int) -> None:
    """Let the event loop stand until the server has sent a client so many."""
    deadline = time.monotonic() + 60
    while sent_to(client, server) < messages:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_receive_waits_a_moment_for_what_arrives_together(make_queue, nc, queue_name) -> None:
    queue = await make_queue()
    waiting = asyncio.create_task(queue.receive(10, wait=60, group="mailers"))
    await eventually(lambda: is_asked(nc, queue_name))  # else it would find all ten there
    await queue.enqueue_batch([NewTask(n, priority=1 + n) for n in range(10)])
    received = await asyncio.wait_for(waiting, 60)
    assert sorted(task.payload() for task in received) == list(range(10))


async def test_who_waits_gets_no_more_than_asked_for_and_the_highest_of_what_comes_together(
    make_queue, nc, server, client, queue_name
) -> None:
    """The low one is sent first each time; that all have come before it looks is what "together" means."""
    queue = await make_queue(GroupSpec(strict=True))
    with protoqueue.sync.connect(server.url) as elsewhere:
        producer = elsewhere.queue(queue.name)
        for _ in range(10):
            waiting = asyncio.create_task(queue.receive(1, wait=60, group="mailers"))
            # Else it would look at one level after the other.
            await eventually(lambda: is_asked(nc, queue_name), interval_s=0.001)
            before = sent_to(client, server)
            producer.enqueue_batch([NewTask(priority, priority=priority) for priority in (1, 5, 10)])
            hold_until_sent(client, server, before + 3)
            received = await asyncio.wait_for(waiting, 60)
            assert [task.payload() for task in received] == [10]
            rest: list[protoqueue.ReceivedTask] = []
            while len(rest) < 2:
                rest += await queue.receive(2 - len(rest), wait=10, group="mailers")
            assert sorted(task.payload() for task in rest) == [1, 5]
            for task in (*received, *rest):
                await task.ack()


async def test_a_receive_that_is_cancelled_hands_back_at_once_what_it_took(make_queue) -> None:
    """As when an HTTP client leaves. The lease is long: what is not handed back is missing at the end."""
    queue = await make_queue(GroupSpec(visibility_s=60, retry={"max_attempts": 3}))
    left = set(range(200))
    await queue.enqueue_batch(sorted(left))
    for _ in range(100):
        receiving = asyncio.create_task(queue.receive(2, wait=1, group="mailers"))
        await asyncio.sleep(random.uniform(0, 0.004))  # at any moment of it
        receiving.cancel()
        try:
            received = await receiving
        except asyncio.CancelledError:
            continue
        for task in received:
            left.discard(task.payload())
            await task.ack()

    async def all_received() -> bool:
        for task in await queue.receive(100, wait=1, group="mailers"):
            left.discard(task.payload())
            await task.ack()
        return not left

    await eventually(all_received)
    assert not [letter async for letter in queue.dead_letters()]


async def test_what_cannot_be_settled_says_so_and_can_be_tried_again(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    await server.start()
    nc = await nats.connect(server.url)
    await provision(nc, QueueSpec("q"), [GroupSpec(retry={"initial_delay": 60})])
    await nc.close()
    async with await protoqueue.connect(server.url) as client:
        queue = await client.queue("default/q")
        await queue.enqueue_batch([1, 2, 3, 4])
        acked, retried, rejected, extended = await queue.receive(4, wait=60, group="mailers")
        server.stop()  # killed, it might not know any more that it delivered them
        for settle in (acked.ack, retried.retry, rejected.reject, extended.extend):
            with pytest.raises(Unavailable):
                await asyncio.wait_for(settle(), 60)
        await server.start()

        async def settled() -> bool:
            try:
                await acked.ack()
            except Unavailable:
                return False
            return True

        await eventually(settled)
        await retried.retry()
        await rejected.reject()
        await extended.extend()
        with pytest.raises(AlreadySettled):
            await acked.ack()
        stats = await queue.stats()
        assert (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 1, 1, 1)
    for settle in (extended.ack, extended.retry, extended.reject, extended.extend):
        with pytest.raises(Unavailable, match="closed"):
            await settle()
    server.kill()


async def test_a_received_task_can_be_snoozed(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue(1)
    (task,) = await queue.receive(1, wait=60, group="mailers")
    with pytest.raises(InvalidTask, match="negative"):
        await task.snooze(-1)
    began = time.monotonic()
    await task.snooze(0.5)
    with pytest.raises(AlreadySettled, match="snoozed"):
        await task.ack()
    (again,) = await queue.receive(1, wait=60, group="mailers")
    assert time.monotonic() - began >= 0.5
    assert (again.id, again.attempt) == (task.id, 1)
    await again.ack()

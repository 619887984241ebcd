"""Received tasks that another process settles, from their token."""

import asyncio

import pytest

import protoqueue
from nats_server import NatsServer
from protoqueue import GroupNotFound, InvalidTask, LeaseLost
from provisioning import GroupSpec
from waiting import eventually


async def elsewhere(server: NatsServer, queue: protoqueue.Queue, token: str, what: str, *arguments: object) -> object:
    """Do it over a connection that has nothing in common with the one that received."""
    async with protoqueue.connect(server.url) as client:
        lease = await (await client.queue(queue.name)).lease(token)
        return await getattr(lease, what)(*arguments)


async def test_a_token_settles_a_task_from_another_connection(make_queue, server) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05}))
    await queue.enqueue_batch([{"n": n} for n in range(3)])
    done, failed, refused = await queue.receive(max_tasks=3)
    await elsewhere(server, queue, done.token, "ack")
    await elsewhere(server, queue, failed.token, "retry")
    await elsewhere(server, queue, refused.token, "reject", "not wanted")
    (again,) = await queue.receive(wait=60)
    assert (again.id, again.attempt, again.payload()) == (failed.id, 2, {"n": 1})
    await elsewhere(server, queue, again.token, "snooze", 0.05)
    (same,) = await queue.receive(wait=60)
    assert (same.id, same.attempt) == (failed.id, 2)
    await elsewhere(server, queue, same.token, "ack")
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.task.id, letter.reason, letter.error, letter.task.data) == (
        refused.id, "Rejected", "not wanted", refused.data,
    )  # fmt: skip

    async def empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 1)

    await eventually(empty)


async def test_a_lease_that_is_over_is_lost_whoever_asks(make_queue, server) -> None:
    queue = await make_queue(GroupSpec(visibility_s=4))  # in which the second is to be acked
    await queue.enqueue("slow")
    (first,) = await queue.receive()
    (second,) = await queue.receive(wait=60)
    for what in ("ack", "retry", "reject", "extend"):
        with pytest.raises(LeaseLost, match="not settled or extended in time"):
            await elsewhere(server, queue, first.token, what)
    await elsewhere(server, queue, second.token, "ack")
    await elsewhere(server, queue, second.token, "ack")  # the answer to the first got lost
    with pytest.raises(LeaseLost, match="settled, cancelled or purged"):
        await elsewhere(server, queue, second.token, "retry")


async def test_an_extended_lease_holds_for_its_token_at_every_process(make_queue, server) -> None:
    queue = await make_queue(GroupSpec(visibility_s=2))
    await queue.enqueue("slow")
    (task,) = await queue.receive()
    lease = await queue.lease(task.token)
    until = await lease.extend(6)
    assert until > task.leased_until
    for _ in range(6):  # time itself is what the lease is about
        await asyncio.sleep(0.6)
        assert await lease.keep()
    assert await queue.receive() == []
    await elsewhere(server, queue, task.token, "ack")
    with pytest.raises(InvalidTask, match="12 hours"):
        await lease.extend(24 * 3600)


async def test_an_ordered_task_that_was_given_back_is_not_acked_by_its_old_token(make_queue, server) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05}), partitions=2)
    await queue.enqueue("first", ordering_key="a")
    (task,) = await queue.receive()
    await elsewhere(server, queue, task.token, "retry")
    with pytest.raises(LeaseLost, match="settled otherwise"):
        await elsewhere(server, queue, task.token, "ack")
    (again,) = await queue.receive(wait=60)
    assert (again.id, again.attempt) == (task.id, 2)
    await elsewhere(server, queue, again.token, "reject", "enough")
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.task.id, letter.attempts) == (task.id, 2)


async def test_what_is_handed_back_comes_again_as_the_same_attempt(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue("work")
    (task,) = await queue.receive()
    await task.hand_back()
    (again,) = await queue.receive(wait=60)
    assert (again.id, again.attempt) == (task.id, 1)
    await again.ack()


async def test_a_token_of_another_queue_or_of_no_queue_is_refused(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue("work")
    (task,) = await queue.receive()
    for text in ("", "[]", "[1]", "null", "{", task.token.replace("default", "other"), task.token[:-3], "[" * 5000):
        with pytest.raises(InvalidTask, match="not a token"):
            await queue.lease(text)
    with pytest.raises(GroupNotFound):
        await queue.lease(task.token.replace('"mailers"', '"others"'))
    await task.ack()

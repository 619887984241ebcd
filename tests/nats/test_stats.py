"""Stats count exactly, per group and level."""

from datetime import timedelta

from protoqueue import GroupStats, NewTask
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually


async def test_stats_count_every_task_once_where_it_is(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue_batch([NewTask(0, priority=priority) for priority in (1, 1, 1, 5, 5, 10)])
    await queue.enqueue_batch([NewTask(0, delay=60) for _ in range(4)])
    held = await queue.receive(3, group="mailers")
    assert [task.priority for task in held] == [10, 5, 5]
    await held[0].reject("dead")
    await held[1].retry(60)

    async def counted() -> bool:
        stats = await queue.stats()
        assert (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (3, 1, 5, 1)
        assert stats.levels == {0: 3, 1: 0, 2: 0}
        assert stats.groups == {"mailers": GroupStats(waiting=3, in_flight=1, levels={0: 3, 1: 0, 2: 0})}
        assert stats.oldest_age is not None
        return timedelta() <= stats.oldest_age < timedelta(minutes=1)

    await eventually(counted)


async def test_each_group_of_a_broadcast_queue_has_counts_of_its_own(make_queue) -> None:
    queue = await make_queue(GroupSpec("one"), GroupSpec("two"), broadcast=True, levels=1)
    await queue.enqueue_batch([0] * 5)
    for task in await queue.receive(2, group="one"):
        await task.ack()
    await queue.receive(1, group="two")

    async def counted() -> bool:
        stats = await queue.stats()
        assert stats.groups == {"one": GroupStats(3, 0, {0: 3}), "two": GroupStats(4, 1, {0: 4})}
        return (stats.waiting, stats.in_flight) == (7, 1)

    await eventually(counted)


async def test_a_queue_without_a_group_counts_its_tasks_and_an_empty_one_has_no_age(client, nc, queue_name) -> None:
    await provision(nc, QueueSpec(queue_name))
    queue = await client.queue(f"default/{queue_name}")
    assert (await queue.stats()).oldest_age is None
    await queue.enqueue(0)
    stats = await queue.stats()
    assert (stats.waiting, stats.groups) == (1, {})
    assert stats.oldest_age is not None

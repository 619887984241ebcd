"""Tasks that a worker has fetched and finds no slot for."""

import asyncio

from protoqueue import Task, Worker
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing import in_memory
from waiting import eventually

NAME = GroupName(QueueName("default", "q"), "g")


async def test_a_task_that_is_cancelled_before_it_found_a_slot_does_not_come_back() -> None:
    """With maxAttempts 1 a hand-back must not look like a crash either."""
    worker, slow, release, ran = Worker(str(NAME.queue), group="g", concurrency=1), asyncio.Event(), asyncio.Event(), []

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        ran.append(task.id)
        if payload == "slow":
            slow.set()
            await release.wait()

    async with in_memory(str(NAME.queue), group=None) as memory:
        group = config_pb2.GroupConfig(namespace="default", queue="q", name="g")
        group.consumers.add(name=NAME.level_consumer(1), level=1, weight=1)
        group.retry.max_attempts = 1
        memory.add_group(group)
        queue = await memory.client.queue(str(NAME.queue))
        await queue.enqueue_batch(["quick"] * 3000 + ["slow"])
        receipts = await queue.enqueue_batch(["quick"] * 50)
        serving = asyncio.create_task(worker.serve())
        await asyncio.wait_for(slow.wait(), 60)
        assert (await queue.stats()).in_flight > 1  # it has looked ahead, since the tasks before were quick
        assert await asyncio.gather(*(queue.cancel(receipt.id) for receipt in receipts[1:])) == [True] * 49
        consumer = memory.broker.streams[NAME.queue.stream].consumers[NAME.level_consumer(1)]
        await eventually(lambda: consumer.in_flight == 2 and any(not lease.lent for lease in consumer.leases.values()))
        release.set()  # what is not cancelled has been handed back

        async def is_empty() -> bool:
            stats = await queue.stats()
            return stats.waiting + stats.in_flight + stats.scheduled == 0

        await eventually(is_empty)
        worker.stop()
        await serving
    assert (len(ran), ran[-1]) == (3002, receipts[0].id)

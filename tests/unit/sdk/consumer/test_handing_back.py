"""Tasks that a worker has fetched and finds no slot for."""

import asyncio

from protoqueue import Task, Worker
from protoqueue.naming import GroupName, QueueName
from protoqueue.testing import in_memory
from protoqueue.v1 import config_pb2
from waiting import eventually

NAME = GroupName(QueueName("default", "q"), "g")


async def test_a_task_that_is_cancelled_before_it_found_a_slot_does_not_come_back() -> None:
    """With maxAttempts 1 what is handed back is published anew."""
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
        await asyncio.wait_for(slow.wait(), 20)
        assert (await queue.stats()).in_flight > 1  # it has looked ahead, since the tasks before were quick
        assert await asyncio.gather(*(queue.cancel(receipt.id) for receipt in receipts[1:])) == [True] * 49
        stream = memory.broker.streams[NAME.queue.stream]
        await eventually(lambda: stream.last_sequence > 3051)  # what is not cancelled has been handed back
        release.set()

        async def is_empty() -> bool:
            stats = await queue.stats()
            return stats.ready + stats.in_flight + stats.scheduled == 0

        await eventually(is_empty)
        worker.stop()
        await serving
    assert (len(ran), ran[-1]) == (3002, receipts[0].id)

"""Taking tasks back, wherever they are. (test_conformance has what holds in memory too.)"""

import asyncio
import time

from protoqueue import Snooze, Task
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.task_codec import encode_task
from protoqueue.protocol.task_ids import made_at, new_task_id
from provisioning import GroupSpec
from waiting import eventually


async def test_a_task_deep_in_a_long_queue_is_found(make_queue, nc, queue_name) -> None:
    queue = await make_queue(levels=1)
    older = encode_task("older", b"1")
    made = made_at(first := new_task_id())
    assert made is not None
    assert abs(made.timestamp() - time.time()) < 60
    await queue.enqueue_batch([0] * 5000)
    await nc.jetstream().publish(QueueName("default", queue_name).task(0), older)
    assert not await queue.cancel(first, timeout=60)
    assert await queue.cancel("older", timeout=60)
    assert (await queue.stats()).waiting == 5000


async def test_every_group_of_a_broadcast_queue_is_rid_of_a_cancelled_task(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec("waits"), GroupSpec("runs"), GroupSpec("retries"), broadcast=True)
    receipt = await queue.enqueue(1)
    runs, ended, retries = make_worker(group="runs"), [], make_worker(group="retries")

    @runs.handler
    async def hang(payload: int) -> None:
        ended.append("started")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    @retries.handler
    async def snooze(payload: int) -> None:
        raise Snooze(60)

    start(runs)
    start(retries)

    async def under_way() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled) == (1, 1, 1) and ended == ["started"]

    await eventually(under_way)
    assert await queue.cancel(receipt.id)
    await eventually(lambda: ended == ["started", "cancelled"])

    async def empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 0)

    await eventually(empty)


async def test_a_cancelled_task_is_done_with_whatever_its_handler_makes_of_it(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    worker, trace = make_worker(concurrency=1), []

    @worker.handler
    async def stubborn(payload: int, task: Task) -> None:
        trace.append(("started", payload, task.attempt))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)
            if payload == 2:
                raise ValueError("turned into an error") from None

    start(worker)
    for number in (1, 2):
        receipt = await queue.enqueue(number)
        await eventually(lambda number=number: trace[-1:] == [("started", number, 1)])
        assert await asyncio.gather(*(queue.cancel(receipt.id) for _ in range(3))) == [True] * 3

    @worker.handler("own")
    async def own(payload: int) -> None:
        trace.append("own")
        raise asyncio.CancelledError

    await queue.enqueue(3, type="own")
    await eventually(lambda: trace.count("own") >= 1)

    async def one_retry() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 1, 0)

    await eventually(one_retry)

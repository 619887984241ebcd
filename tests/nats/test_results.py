"""Results and records on a real server: many at once, soon, and whatever is killed."""

import asyncio
import time
from collections import Counter
from statistics import median

from nats.aio.client import Client as Nats

import nats
import protoqueue
from nats_server import NatsServer
from protoqueue import TaskState
from protoqueue.history import results as module
from provisioning import GroupSpec, QueueSpec, provision
from waiting import PATIENCE_S, eventually

MANY = 10_000

WORKING = """
import os, time

@worker.handler
async def work(payload: int) -> int:
    if payload == 500:
        tell("reached")
    return payload
"""


async def test_ten_thousand_results_are_awaited_at_once_with_a_handful_of_subscriptions(
    nc, client, make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec(max_in_flight=20_000), levels=1, history={})
    receipts = await queue.enqueue_batch(list(range(MANY)))
    before = len(client._broker._nc._subs)
    waiting = [asyncio.create_task(receipt.result(timeout=PATIENCE_S)) for receipt in receipts]
    worker, most = make_worker(concurrency=100), 0

    @worker.handler
    async def double(payload: int) -> int:
        nonlocal most
        most = max(most, len(client._broker._nc._subs) - before)
        return 2 * payload

    await eventually(lambda: client._broker._nc._subs and queue._history._results._shared is not None)
    start(worker)
    assert await asyncio.gather(*waiting) == [2 * number for number in range(MANY)]
    assert most <= module.MOST_SUBSCRIPTIONS + 10
    await eventually(lambda: len(client._broker._nc._subs) <= before)
    # Those that ended long ago are read, many by one request.
    assert await asyncio.gather(*(receipt.result(timeout=PATIENCE_S) for receipt in receipts[:1000])) == [
        2 * number for number in range(1000)
    ]


async def test_a_result_that_is_awaited_comes_soon_after_its_handler_has_ended(
    nc: Nats, make_queue, make_worker, start
) -> None:
    queue, worker, ended = await make_queue(history={}), make_worker(), dict[int, float]()

    @worker.handler
    async def work(payload: int) -> int:
        ended[payload] = time.perf_counter()
        return payload

    start(worker)
    took, there_and_back = [], []
    for number in range(50):
        began = time.perf_counter()
        await nc.flush(int(PATIENCE_S))
        there_and_back.append(time.perf_counter() - began)
        receipt = await queue.enqueue(number)
        assert await receipt.result(timeout=PATIENCE_S) == number
        took.append(time.perf_counter() - ended[number])
    # One machine does all of it, and may be busy: then a request takes longer, too.
    assert median(took) < 0.02 + 20 * median(there_and_back)


async def test_a_killed_worker_loses_no_task_and_the_records_of_its_last_moments_at_most(
    nc: Nats, make_queue, processes, queue_name: str
) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1), levels=1, history={})
    receipts = await queue.enqueue_batch(list(range(1500)))
    process = processes(WORKING, concurrency=1)
    await eventually(lambda: process.told)
    process.kill()
    again = processes(WORKING, concurrency=10)

    async def is_empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight) == (0, 0)

    await eventually(is_empty)
    again.terminate()
    await asyncio.to_thread(again.wait, PATIENCE_S)
    records = await queue.history(limit=2000)
    done = {record.id for record in records}
    missing = [number for number, receipt in enumerate(receipts) if receipt.id not in done]
    # What it had acknowledged in its last moments may be missing, and that is one stretch.
    assert all(number <= 1000 for number in missing)
    assert len(missing) < 500


async def test_records_and_results_outlive_a_restart_of_nats(tmp_path) -> None:
    server = NatsServer(tmp_path / "nats")
    await server.start()
    admin = await nats.connect(server.url)
    spec = QueueSpec("email", history={})
    await provision(admin, spec, [GroupSpec(visibility_s=2)])
    async with protoqueue.connect(server.url) as client:
        queue = await client.queue("default/email")
        worker, hold = protoqueue.Worker("default/email", group="mailers", url=server.url), asyncio.Event()
        seen = Counter[int]()

        @worker.handler
        async def work(payload: int) -> int:
            seen[payload] += 1
            if payload == 3:
                await hold.wait()
            return payload

        serving = asyncio.create_task(worker.serve())
        receipts = [await queue.enqueue(number) for number in range(4)]
        assert [await receipt.result(timeout=PATIENCE_S) for receipt in receipts[:3]] == [0, 1, 2]
        waiting = asyncio.create_task(receipts[3].result(timeout=PATIENCE_S))
        await eventually(lambda: seen[3])
        server.kill()
        hold.set()
        await asyncio.sleep(0.2)  # the handler ends while NATS is away
        await server.start()
        assert await waiting == 3
        assert (await queue.status(receipts[3].id)).state is TaskState.DONE
        worker.stop()
        await serving
    await admin.close()
    server.kill()


async def test_a_worker_goes_on_where_the_stream_of_records_is_gone(nc: Nats, make_queue, make_worker, start) -> None:
    queue, worker, seen = await make_queue(history={}), make_worker(), list[int]()
    await nc.jetstream().delete_stream(QueueSpec(queue.name.partition("/")[2]).queue.history_stream)

    @worker.handler
    async def work(payload: int) -> int:
        seen.append(payload)
        return payload

    start(worker)
    receipts = await queue.enqueue_batch(list(range(100)))
    await eventually(lambda: len(seen) == 100)
    assert (await queue.status(receipts[0].id)).state is TaskState.UNKNOWN
    assert await queue.history() == []

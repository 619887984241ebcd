"""Changes of the resources, as the operator writes them to pq-config, take hold in running workers and clients."""

import asyncio
import contextlib
import time
from typing import Any

import aiohttp

from ports import free_port
from protoqueue import Task
from provisioning import GroupSpec, QueueSpec, provision, write_group, write_queue
from waiting import eventually


async def test_a_changed_retry_policy_binds_the_running_worker(make_queue, make_worker, start, nc, queue_name) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 50, "initial_delay": 0.1, "multiplier": 1}))
    worker, attempts = make_worker(), []

    @worker.handler
    async def fail(task: Task) -> None:
        attempts.append(task.attempt)
        raise ValueError

    await queue.enqueue({})
    start(worker)
    await eventually(lambda: len(attempts) >= 2)
    await write_group(nc, QueueSpec(queue_name), GroupSpec(retry={"max_attempts": 1}))

    async def buried() -> bool:
        return bool([letter async for letter in queue.dead_letters()])

    await eventually(buried)


async def test_pausing_queue_or_group_stops_the_worker_within_a_second_and_resuming_starts_it(
    make_queue, make_worker, start, nc, queue_name
) -> None:
    queue = await make_queue()
    worker, seen, started_at = make_worker(), [], []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)
        started_at.append(time.monotonic())

    start(worker)
    await queue.enqueue(1)
    await eventually(lambda: seen == [1])
    for number, pause, resume in (
        (2, write_queue(nc, QueueSpec(queue_name, paused=True)), write_queue(nc, QueueSpec(queue_name))),
        (3, write_group(nc, QueueSpec(queue_name), GroupSpec(paused=True)),
         write_group(nc, QueueSpec(queue_name), GroupSpec())),
    ):  # fmt: skip
        before = len(seen)
        await pause
        paused_at = time.monotonic()
        probes = 0

        async def probe_is_left_alone() -> bool:
            nonlocal probes
            probes += 1
            await queue.enqueue(0)
            await asyncio.sleep(0.1)
            return (await queue.stats()).waiting > 0

        await eventually(probe_is_left_alone)
        assert started_at[-1] - paused_at < 1
        await queue.enqueue(number)
        await resume
        await eventually(lambda number=number: number in seen)
        await eventually(lambda before=before, probes=probes: len(seen) == before + probes + 1)


async def test_more_priority_levels_are_pulled_and_used_without_a_restart(
    make_queue, make_worker, start, nc, queue_name
) -> None:
    queue = await make_queue(levels=1)
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: dict[str, Any], task: Task) -> None:
        seen.append(task.priority)

    start(worker)
    await queue.enqueue({}, priority=10)
    await eventually(lambda: seen == [10])
    await provision(nc, QueueSpec(queue_name, levels=3), [GroupSpec()])

    async def on_the_highest_level() -> bool:
        await queue.enqueue({}, priority=9)
        return queue._settings.priority_levels == 3

    await eventually(on_the_highest_level)
    await eventually(lambda: seen.count(9) >= 1)


async def test_a_shorter_lease_is_kept_up_at_once(make_queue, make_worker, start, nc, queue_name) -> None:
    queue = await make_queue(GroupSpec(visibility_s=30))
    worker, starts, done = make_worker(), [], asyncio.Event()

    @worker.handler
    async def slow(payload: int) -> None:
        starts.append(payload)
        if payload == 2:
            await asyncio.sleep(2.5)
            done.set()

    start(worker)
    await queue.enqueue(1)
    await eventually(lambda: starts == [1])
    await provision(nc, QueueSpec(queue_name), [GroupSpec(visibility_s=0.9)])
    await queue.enqueue(2)
    await asyncio.wait_for(done.wait(), 60)
    assert starts == [1, 2]


async def test_a_worker_whose_queue_or_group_does_not_exist_is_not_ready_and_says_which(
    make_worker, start, nc, queue_name, monkeypatch
) -> None:
    port = free_port()
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port))
    worker = make_worker()

    @worker.handler
    async def work(payload: int) -> None: ...

    start(worker)

    async def readiness() -> tuple[int, dict[str, str]]:
        url = f"http://127.0.0.1:{port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.json()

    async def becomes(status: int, answer: dict[str, str]) -> None:
        async def is_so() -> bool:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                return await readiness() == (status, answer)
            return False

        await eventually(is_so)

    await becomes(503, {"settings": f"queue default/{queue_name} does not exist on this NATS server yet"})
    await provision(nc, QueueSpec(queue_name))
    await becomes(503, {"settings": f"queue default/{queue_name} has no ConsumerGroup mailers yet"})
    await provision(nc, QueueSpec(queue_name), [GroupSpec()])
    await becomes(200, {"status": "ok"})

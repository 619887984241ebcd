"""Batches, middleware, lifespan, processes, and being told of deaths."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from protoqueue import ConfigurationError, Reject, Task
from provisioning import GroupSpec
from waiting import eventually

PROCESS = """
def count(payload: int) -> None:
    if payload < 0:
        raise ValueError("negative")
    tell("in", os.getpid(), "of", os.getppid(), payload)

worker.handler(executor="process")(count)
"""

COMPUTING = """
def compute(payload: int) -> None:
    tell("compute", os.getpid())
    while True:
        pass

def die(payload: int) -> None:
    os._exit(7)

def count(payload: int) -> None:
    tell("count", os.getpid())

worker.handler("compute", executor="process", timeout=3)(compute)
worker.handler("die", executor="process")(die)
worker.handler("count", executor="process")(count)
"""


async def test_a_batch_handler_gets_lists_and_may_fail_single_items(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05, "max_attempts": 2}))
    worker, sizes, seen = make_worker(concurrency=20), [], []

    @worker.batch(max_size=10, max_wait=0.2)
    async def work(payloads: list[int], tasks: list[Task]) -> list[Exception | type[Exception] | None]:
        sizes.append(len(payloads))
        seen.extend(payloads)
        assert [int(task.data) for task in tasks] == payloads
        return [{0: None, 1: ValueError("odd"), 2: None, 3: ValueError}[payload % 4] for payload in payloads]

    await queue.enqueue_batch(list(range(25)))
    start(worker)

    async def settled() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 12)

    await eventually(settled)
    assert max(sizes) == 10
    assert sorted(seen) == sorted([*range(25), *range(1, 25, 2)])


async def test_an_incomplete_batch_runs_after_its_wait_and_raising_fails_all_of_it(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker, sizes = make_worker(), []

    @worker.batch("pair", max_size=5, max_wait=0.1)
    def work(payloads: list[dict[str, int]]) -> None:
        sizes.append(len(payloads))
        raise ValueError("all of them")

    start(worker)
    for _ in range(2):
        await queue.enqueue({}, type="pair")

    async def buried() -> bool:
        return [letter.error async for letter in queue.dead_letters()] == ["all of them"] * 2

    await eventually(buried)
    assert sum(sizes) == 2


async def test_a_batch_handler_that_answers_nonsense_fails_its_tasks(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = make_worker()

    @worker.batch(max_size=1)
    async def work(payloads: list[int]) -> Any:
        return [None, None]

    await queue.enqueue(1)
    start(worker)

    async def buried() -> bool:
        return [letter.error_type async for letter in queue.dead_letters()] == ["TypeError"]

    await eventually(buried)


async def test_middleware_sees_before_after_and_errors_outermost_first(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    worker, trace = make_worker(), []

    @worker.middleware
    async def outer(task: Task, run: Callable[[], Awaitable[None]]) -> None:
        trace.append("outer before")
        try:
            await run()
        except ValueError as error:
            trace.append(f"outer saw {error}")
            raise Reject("translated") from error

    @worker.middleware
    async def inner(task: Task, run: Callable[[], Awaitable[None]]) -> None:
        trace.append("inner before")
        await run()
        trace.append("inner after")

    @worker.handler
    async def work(payload: str) -> None:
        trace.append(payload)
        if payload == "bad":
            raise ValueError(payload)

    await queue.enqueue("good")
    start(worker)
    await eventually(lambda: trace == ["outer before", "inner before", "good", "inner after"])
    trace.clear()
    await queue.enqueue("bad")

    async def buried() -> bool:
        return [letter.error async for letter in queue.dead_letters()] == ["translated"]

    await eventually(buried)
    assert trace == ["outer before", "inner before", "bad", "outer saw bad"]


async def test_a_lifespan_gives_resources_by_name_and_ends_after_the_last_task(make_queue, make_worker) -> None:
    queue = await make_queue()
    worker, trace = make_worker(), []

    @worker.lifespan
    @asynccontextmanager
    async def resources() -> AsyncIterator[dict[str, Any]]:
        trace.append("opened")
        yield {"pool": ["a", "b"], "unused": None}
        trace.append("closed")

    @worker.handler
    async def work(payload: int, *, pool: list[str]) -> None:
        trace.append(pool[payload])

    @worker.handler("plain")
    def plain(payload: int, *, pool: list[str]) -> None:
        trace.append(pool[payload])

    await queue.enqueue(0)
    await queue.enqueue(1, type="plain")
    serving = asyncio.create_task(worker.serve())
    await eventually(lambda: len(trace) == 3)
    worker.stop()
    await serving
    assert trace[0] == "opened"
    assert sorted(trace[1:3]) == ["a", "b"]
    assert trace[3] == "closed"


async def test_a_resource_that_no_lifespan_gives_ends_the_worker_at_the_start(make_queue, make_worker) -> None:
    await make_queue()
    worker = make_worker()

    @worker.handler
    async def work(payload: int, *, pool: list[str]) -> None: ...

    with pytest.raises(ConfigurationError, match="pool"):
        await worker.serve()


async def test_cpu_bound_functions_run_in_processes_on_request(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = processes(PROCESS)
    await queue.enqueue_batch([1, -1])
    await eventually(lambda: worker.told)
    _, child, _, parent, payload = worker.told[0].split()
    assert child != parent
    assert payload == "1"
    assert int(parent) != os.getpid()

    async def buried() -> bool:
        return [letter.error async for letter in queue.dead_letters()] == ["negative"]

    await eventually(buried)


async def test_a_function_over_its_timeout_is_killed_in_its_process_and_one_that_dies_fails_alone(
    make_queue, processes
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = processes(COMPUTING, concurrency=2)
    await queue.enqueue(0, type="count")
    await eventually(lambda: worker.told)  # the start of a process counts towards a timeout, and may take a while
    await queue.enqueue(1, type="compute")
    await eventually(lambda: len(worker.told) == 2)
    pid = int(worker.told[1].split()[1])
    await queue.enqueue(2, type="die")
    await queue.enqueue(3, type="count")

    async def buried() -> bool:
        return {letter.error_type async for letter in queue.dead_letters()} == {"ProcessDied", "TimeoutError"}

    await eventually(buried)
    await eventually(lambda: not psutil.pid_exists(pid))
    await eventually(lambda: len(worker.told) == 3)
    assert worker.told[2].startswith("count")


async def test_whoever_asked_is_told_of_deaths_and_its_errors_change_nothing(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    worker, told, told_in_a_thread = make_worker(), [], []

    @worker.handler
    async def work(payload: int) -> None:
        raise Reject("no")

    @worker.dead_letter
    async def note(task: Task, reason: str, error: str) -> None:
        told.append((task.id, reason, error))
        raise ValueError("cannot be noted")

    @worker.dead_letter
    def note_in_a_thread(task: Task, reason: str, error: str) -> None:
        told_in_a_thread.append((task.id, reason, error))

    receipts = await queue.enqueue_batch([1, 2])
    start(worker)
    await eventually(lambda: len(told_in_a_thread) == 2)
    assert {(receipt.id, "Rejected", "no") for receipt in receipts} == set(told) == set(told_in_a_thread)

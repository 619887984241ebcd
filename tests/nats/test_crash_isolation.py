"""Which of the tasks that were in flight together killed their worker, and what is no crash at all."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

import protoqueue
from backends import letters_of
from protoqueue import NewTask
from provisioning import GroupSpec
from waiting import eventually
from worker_process import WorkerProcess

INNOCENTS = 9
PROCESSES_S = 280.0
"""Up to a dozen workers are started, one after the other."""

# Each task notes its start and end; killers let the others begin first.
MIXED = """
@worker.handler("killer")
async def die(payload: int, task: Task) -> None:
    tell("start", payload)
    await asyncio.sleep(0.3)
    os._exit(9)

@worker.handler
async def work(payload: int, task: Task) -> None:
    tell("start", payload)
    await asyncio.sleep(0.5)
    tell("end", payload)
"""

HELD = """
@worker.handler
async def work(payload: int, task: Task) -> None:
    tell("start", payload, task.attempt)
    await asyncio.sleep({seconds})
    tell("end", payload)
"""


@contextlib.asynccontextmanager
async def restarted(start: Callable[[], WorkerProcess], count: int) -> AsyncIterator[list[WorkerProcess]]:
    """So many workers, each started anew when it dies, as a Deployment does; all that ever ran."""
    ever: list[WorkerProcess] = []

    async def keep_one() -> None:
        while True:
            ever.append(worker := start())
            while worker.alive:  # noqa: ASYNC110  # a process has no event to await
                await asyncio.sleep(0.05)

    keeping = [asyncio.create_task(keep_one()) for _ in range(count)]
    try:
        yield ever
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.wait(keeping)


def told(workers: list[WorkerProcess]) -> Counter[str]:
    return Counter(line for worker in workers for line in worker.told)


async def is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return stats.waiting + stats.in_flight + stats.scheduled == 0


@pytest.mark.parametrize(("workers", "killers"), [(1, 1), (2, 1), (1, 3), (2, 3)])
async def test_only_the_task_that_kills_its_worker_is_blamed(make_queue, processes, workers: int, killers: int) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1, retry={"max_attempts": 3}))
    await queue.enqueue_batch(
        [
            *[NewTask(number, type="killer") for number in range(100, 100 + killers)],
            *range(INNOCENTS),
        ]
    )
    async with restarted(lambda: processes(MIXED, concurrency=10), workers) as ever:
        await eventually(lambda: is_empty(queue), timeout_s=PROCESSES_S)
    letters = await letters_of(queue)
    assert [letter.reason for letter in letters] == ["Crashed"] * killers
    assert {letter.task.type for letter in letters} == {"killer"}
    assert all("0 other tasks were in flight" in letter.error for letter in letters)
    done = told(ever)
    assert [done[f"end {number}"] for number in range(INNOCENTS)] == [1] * INNOCENTS
    assert all(done[f"start {number}"] == 3 for number in range(100, 100 + killers))


async def test_in_an_ordered_queue_too_only_the_task_that_kills_its_worker_is_blamed(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1, retry={"max_attempts": 3}), partitions=16)
    keys = [f"key-{number}" for number in range(INNOCENTS)]
    await queue.enqueue_batch(
        [NewTask(100, type="killer", ordering_key="killer"), *[NewTask(n, ordering_key=k) for n, k in enumerate(keys)]]
    )
    async with restarted(lambda: processes(MIXED, concurrency=10), 1) as ever:
        await eventually(lambda: is_empty(queue), timeout_s=PROCESSES_S)
    letters = await letters_of(queue)
    assert [(letter.reason, letter.task.type) for letter in letters] == [("Crashed", "killer")]
    assert [told(ever)[f"end {number}"] for number in range(INNOCENTS)] == [1] * INNOCENTS


async def test_tasks_that_a_batch_handler_had_together_run_apart_after_a_crash(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1, retry={"max_attempts": 3}))
    await queue.enqueue_batch(list(range(10)))
    text = """
@worker.batch(max_size=10, max_wait=0.1)
async def work(payloads: list[int]) -> None:
    tell("batch", len(payloads))
    if 7 in payloads:
        os._exit(9)
    for payload in payloads:
        tell("end", payload)
"""
    async with restarted(lambda: processes(text, concurrency=10), 1) as ever:
        await eventually(lambda: is_empty(queue), timeout_s=PROCESSES_S)
    (letter,) = await letters_of(queue)
    assert (letter.reason, letter.task.data) == ("Crashed", b"7")
    done = told(ever)
    assert {line for line in done if line.startswith("end")} == {f"end {n}" for n in range(10) if n != 7}


async def test_what_was_received_together_and_lost_is_received_apart(make_queue) -> None:
    queue = await make_queue(GroupSpec(visibility_s=0.5, retry={"max_attempts": 2}))
    await queue.enqueue_batch([1, 2, 3])
    lost = await queue.receive(3, wait=5, group="mailers")
    assert len(lost) == 3  # and never settled: their holder has crashed
    seen = []

    async def all_done() -> bool:
        received = await queue.receive(3, wait=1, group="mailers")
        assert len(received) <= 1
        for task in received:
            seen.append(task.payload())
            await task.ack()
        return len(seen) == 3

    await eventually(all_done)
    assert sorted(seen) == [1, 2, 3]
    assert not await letters_of(queue)


async def test_what_a_worker_held_when_it_was_told_to_stop_is_no_crash_though_it_is_killed_right_after(
    make_queue, processes
) -> None:
    """With maxAttempts 1 one crash would be one too many; four rollouts with a grace period that is too short."""
    queue = await make_queue(GroupSpec(visibility_s=1, retry={"max_attempts": 1}))
    await queue.enqueue_batch([1, 2, 3])
    for _ in range(4):
        worker = processes(HELD.format(seconds=60), concurrency=3)
        await eventually(lambda worker=worker: len(worker.told) == 3)
        worker.terminate()
        await eventually(lambda worker=worker: "in flight at shutdown" in worker.log.read_text())
        worker.kill()
    last = processes(HELD.format(seconds=0), concurrency=3)
    await eventually(lambda: len([line for line in last.told if line.startswith("end")]) == 3)
    assert {line for line in last.told if line.startswith("start")} == {f"start {n} 1" for n in (1, 2, 3)}
    assert not await letters_of(queue)


async def test_being_told_to_stop_does_not_spare_a_task_the_crashes_before(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1, retry={"max_attempts": 2}))
    await queue.enqueue(1)
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        worker = processes(HELD.format(seconds=60))
        await eventually(lambda worker=worker: worker.told)
        worker._process.send_signal(how)
        if how == signal.SIGTERM:
            await eventually(lambda worker=worker: "in flight at shutdown" in worker.log.read_text())
        worker.kill()
    processes(HELD.format(seconds=60))
    (letter,) = await eventually(lambda: letters_of(queue))
    assert letter.reason == "Crashed"

"""Workers that die, are told to stop, or lose NATS."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import protoqueue
from nats_server import NatsServer
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec, QueueSpec, api, provision
from waiting import eventually
from worker_process import WorkerProcess

SLOW = """
@worker.handler
async def slow(payload: int, task: Task) -> None:
    tell("started", payload, task.attempt)
    await asyncio.sleep({seconds})
    tell("finished", payload)
"""

POISON = """
@worker.handler("poison")
async def die(payload: int, task: Task) -> None:
    tell("died of", payload, task.attempt)
    os._exit(9)

@worker.handler
async def work(payload: int) -> None:
    tell("finished", payload)
"""


async def test_a_task_whose_worker_is_killed_runs_again_elsewhere(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1))
    first = processes(SLOW.format(seconds=60))
    await queue.enqueue(7)
    await eventually(lambda: first.told == ["started 7 1"])
    first.kill()
    second = processes(SLOW.format(seconds=0))
    await eventually(lambda: second.told == ["started 7 1", "finished 7"])


async def test_a_task_that_kills_its_worker_goes_to_the_dead_letters(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=0.5, retry={"max_attempts": 2}))
    receipt = await queue.enqueue(13, type="poison")
    for _ in range(2):
        worker = processes(POISON)
        assert await asyncio.to_thread(worker.wait) == 9
        assert worker.told == ["died of 13 1"]
    survivor = processes(POISON)

    async def buried() -> list[protoqueue.DeadLetter]:
        return [letter async for letter in queue.dead_letters()]

    (letter,) = await eventually(buried)
    assert (letter.task.id, letter.reason) == (receipt.id, "Crashed")
    await queue.enqueue(1)
    await eventually(lambda: survivor.told == ["finished 1"])


async def test_a_task_that_may_run_once_does_not_run_again_after_a_crash_and_one_that_may_more_often_does(
    make_queue, processes
) -> None:
    """The group's policy would have it otherwise, and a consumer of the server delivers as often as is needed."""
    queue = await make_queue(GroupSpec(visibility_s=0.5, retry={"max_attempts": 2}))
    once = await queue.enqueue(1, type="poison", retry=protoqueue.Retries(1))
    first = processes(POISON)
    assert await asyncio.to_thread(first.wait) == 9

    async def letters() -> list[protoqueue.DeadLetter]:
        return [letter async for letter in queue.dead_letters()]

    survivor = processes(POISON)
    (letter,) = await eventually(letters)
    assert (letter.task.id, letter.reason, letter.task.max_attempts) == (once.id, "Crashed", 1)
    assert survivor.told == []
    survivor.terminate()
    assert await asyncio.to_thread(survivor.wait) == 0  # or it may take the next task, and die of it
    await queue.enqueue(2, type="poison", retry=protoqueue.Retries(4))
    for _ in range(4):
        assert await asyncio.to_thread(processes(POISON).wait) == 9
    processes(POISON)
    await eventually(lambda: _count(letters, 2))
    assert [(letter.attempts, letter.task.max_attempts) for letter in await letters()] == [(1, 1), (4, 4)]


async def is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight) == (0, 0)


async def _count(letters: Callable[[], Awaitable[list[protoqueue.DeadLetter]]], wanted: int) -> bool:
    return len(await letters()) == wanted


async def test_sigterm_finishes_what_runs_hands_back_the_rest_and_exits_with_0(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=30))
    worker = processes(SLOW.format(seconds=1), concurrency=2)
    await queue.enqueue_batch(list(range(6)))
    await eventually(lambda: len([line for line in worker.told if line.startswith("started")]) == 2)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait) == 0
    assert len([line for line in worker.told if line.startswith("started")]) == 2
    assert len([line for line in worker.told if line.startswith("finished")]) == 2
    other = processes(SLOW.format(seconds=0))
    # Far sooner than the lease of 30 s, so nothing was kept.
    await eventually(lambda: len([line for line in other.told if line.startswith("finished")]) == 4)


async def test_what_does_not_finish_within_the_grace_period_goes_back_at_once(make_queue, make_worker) -> None:
    queue = await make_queue(GroupSpec(visibility_s=30))
    stubborn, started = make_worker(grace_s=0.2), asyncio.Event()

    @stubborn.handler
    async def hang(payload: int) -> None:
        started.set()
        await asyncio.sleep(60)

    await queue.enqueue(1)
    serving = asyncio.create_task(stubborn.serve())
    await asyncio.wait_for(started.wait(), 60)
    stubborn.stop()
    await asyncio.wait_for(serving, 60)
    other, done = make_worker(), asyncio.Event()

    @other.handler
    async def work(payload: int) -> None:
        done.set()

    serving = asyncio.create_task(other.serve())
    await asyncio.wait_for(done.wait(), 60)
    other.stop()
    await serving


async def test_being_handed_back_again_and_again_does_not_make_a_task_a_poisoned_one(make_queue, hand_back) -> None:
    """A rolling deployment is no crash: with maxAttempts 1 even the second delivery would be one too many."""
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    await queue.enqueue(1)
    await hand_back(3)
    assert not [letter async for letter in queue.dead_letters()]


async def test_workers_and_clients_outlive_a_restart_of_nats(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    await server.start()
    nc = await nats.connect(server.url, max_reconnect_attempts=-1, error_cb=_ignore)
    await provision(nc, QueueSpec("q"), [GroupSpec(visibility_s=2)])
    async with await protoqueue.connect(server.url) as client:
        queue = await client.queue("default/q")
        worker, seen = protoqueue.Worker("default/q", group="mailers", url=server.url), set()

        @worker.handler
        async def work(payload: int) -> None:
            seen.add(payload)

        serving = asyncio.create_task(worker.serve())
        await queue.enqueue(1)
        await eventually(lambda: seen == {1})
        for number, stop in ((2, server.kill), (3, server.stop)):
            stop()
            try:
                await queue.enqueue(0, timeout=0.3)
                raise AssertionError("stored without NATS")
            except protoqueue.Unavailable:
                pass
            waiting = asyncio.create_task(queue.enqueue(number, timeout=None))
            await server.start()
            await asyncio.wait_for(waiting, 60)
            await eventually(lambda number=number: number in seen)
        worker.stop()
        await serving
    await nc.close()
    server.stop()


async def test_a_handler_that_runs_on_while_nats_is_away_for_longer_than_its_lease_is_not_run_twice(
    tmp_path: Path,
) -> None:
    """Its worker gets the task again, and knows that it runs."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    nc = await nats.connect(server.url, max_reconnect_attempts=-1, error_cb=_ignore)
    await provision(nc, QueueSpec("q"), [GroupSpec(visibility_s=0.6)])
    async with await protoqueue.connect(server.url) as client:
        queue = await client.queue("default/q")
        worker, starts, release = protoqueue.Worker("default/q", group="mailers", url=server.url), [], asyncio.Event()

        @worker.handler
        async def work(payload: int) -> None:
            starts.append(payload)
            if payload == 1:
                await release.wait()

        serving = asyncio.create_task(worker.serve())
        await queue.enqueue(1)
        await eventually(lambda: starts == [1])
        server.stop()  # killed, it might not know any more that it delivered the task, and deliver it as a new one
        await asyncio.sleep(1.2)  # the lease runs out meanwhile
        await server.start()
        await queue.enqueue(2, timeout=None)
        await eventually(lambda: 2 in starts)

        async def come_again() -> bool:
            info = await api(nc, f"CONSUMER.INFO.{QueueName('default', 'q').stream}.mailers_p1", {})
            return info["num_redelivered"] >= 1

        await eventually(come_again)
        release.set()
        await eventually(lambda: is_empty(queue))
        worker.stop()
        await serving
    assert starts == [1, 2]
    await nc.close()
    server.stop()


async def test_a_worker_waits_for_nats_the_queue_and_the_group(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    worker = WorkerProcess(SLOW.format(seconds=0), server.url, "default/q", tmp_path / "worker")
    try:
        await eventually(lambda: "waiting for NATS" in worker.log.read_text())
        await server.start()
        nc = await nats.connect(server.url)
        await eventually(lambda: "queue default/q does not exist" in worker.log.read_text())
        spec = QueueSpec("q")
        await provision(nc, spec)
        async with await protoqueue.connect(server.url) as client:
            await (await client.queue("default/q")).enqueue(1)
        await provision(nc, spec, [GroupSpec()])
        await eventually(lambda: worker.told == ["started 1 1", "finished 1"])
        await nc.close()
    finally:
        worker.kill()
        server.stop()


async def test_a_deleted_consumer_is_waited_for_and_used_again(make_queue, make_worker, start, nc, queue_name) -> None:
    queue = await make_queue(levels=1)
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    start(worker)
    await queue.enqueue(1)
    await eventually(lambda: seen == [1])
    await eventually(lambda: is_empty(queue))  # or a new consumer delivers the task again
    await api(nc, f"CONSUMER.DELETE.{QueueName('default', queue_name).stream}.mailers_p0", {})
    await queue.enqueue(2)
    await provision(nc, QueueSpec(queue_name, levels=1), [GroupSpec()])
    await eventually(lambda: seen == [1, 2])


async def test_an_interrupt_is_a_request_to_stop_too(make_queue, processes) -> None:
    await make_queue()
    worker = processes(SLOW.format(seconds=0))
    await eventually(lambda: "worker started" in worker.log.read_text())
    worker._process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(worker.wait) == 0


async def _ignore(_error: Exception) -> None: ...


async def test_a_plain_function_that_never_returns_does_not_keep_the_process_from_exiting_with_0(
    make_queue, processes
) -> None:
    queue = await make_queue()
    worker = processes(
        "worker._options.grace_s = 0.3\n@worker.handler\ndef hang(payload: int) -> None:\n"
        "    tell('started')\n    time.sleep(60)\n"
    )
    await queue.enqueue(1)
    await eventually(lambda: worker.told)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 10) == 0

"""Handlers that close their group for a while (`Throttle`), on a server and in memory alike."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

import protoqueue
from backends import Backend, is_empty, worker_of
from protoqueue import Task, Throttle
from protoqueue.admin.throttles import end_throttle
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.throttle import ThrottledUntil, read_throttle
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

SLOTS = 5

LIMITED = """
import time
from pathlib import Path
from protoqueue import Throttle

def opens_at() -> float:
    # The API refuses everybody for four seconds from its first call on.
    path = Path({path!r})
    if not path.exists():
        mine = path.with_suffix("." + str(os.getpid()))
        mine.write_text(str(time.time() + 4))
        try:
            os.link(mine, path)
        except FileExistsError:
            pass
    return float(path.read_text())

@worker.handler
async def call(payload: int, task: Task) -> None:
    left = opens_at() - time.time()
    tell("refused" if left > 0 else "served", payload, task.attempt, time.time())
    await asyncio.sleep(0.02)
    if left > 0:
        raise Throttle(delay=left, why="429 Too Many Requests")
"""


async def test_while_an_api_refuses_each_slot_calls_it_once_and_no_task_loses_an_attempt(
    make_queue, processes, tmp_path
) -> None:
    """Three processes that share a limit of which the API alone knows; one of them starts while it is closed."""
    queue, path = await make_queue(GroupSpec(retry={"max_attempts": 1})), tmp_path / "opens"
    text = LIMITED.format(path=str(path))
    workers = [processes(text, concurrency=SLOTS) for _ in range(2)]

    def told() -> list[list[str]]:
        return [line.split() for worker in workers for line in worker.told]

    async def is_closed() -> bool:
        return (await queue.stats()).groups["mailers"].throttled_until is not None

    async def respond() -> bool:
        return len(await queue.workers("mailers")) == len(workers)

    await eventually(respond)
    await queue.enqueue_batch(list(range(200)))
    await eventually(lambda: path.exists())
    await eventually(is_closed)
    workers.append(processes(text, concurrency=SLOTS))
    await eventually(lambda: sum(line[0] == "served" for line in told()) == 200)
    calls = Counter(line[0] for line in told())
    assert calls["refused"] <= SLOTS * len(workers), calls
    assert {line[2] for line in told()} == {"1"}
    assert sorted(int(line[1]) for line in told() if line[0] == "served") == list(range(200))
    await eventually(lambda: is_empty(queue))
    assert not await is_closed()


async def test_no_worker_of_the_group_starts_a_task_before_the_time_is_over(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"max_attempts": 1}))
    seen: list[tuple[str, int, float]] = []
    closed_until: list[float] = []
    for name in ("a", "b"):
        worker = worker_of(backend, queue, concurrency=1)

        @worker.handler
        async def work(payload: int, task: Task, *, name: str = name) -> None:
            seen.append((name, payload, asyncio.get_running_loop().time()))
            if payload == 1 and not closed_until:
                closed_until.append(asyncio.get_running_loop().time() + 1.5)
                raise Throttle(1.5)

        start(worker)
    await queue.enqueue(1)
    await eventually(lambda: closed_until)
    await eventually(lambda: _throttled(queue))
    await queue.enqueue_batch([2, 3, 4])
    await eventually(lambda: {payload for _, payload, _ in seen[1:]} == {1, 2, 3, 4})
    assert min(at for _, _, at in seen[1:]) >= closed_until[0] - 0.1
    assert [letter async for letter in queue.dead_letters()] == []


async def _throttled(queue: protoqueue.Queue, group: str = "mailers") -> datetime | None:
    return (await queue.stats()).groups[group].throttled_until


async def test_a_worker_that_starts_while_the_group_is_closed_waits_too(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    closing, seen = worker_of(backend, queue), []

    @closing.handler
    async def close(payload: int) -> None:
        raise Throttle(delay=2)

    await queue.enqueue(1)
    assert await closing.run_once() == 1
    until = await eventually(lambda: _throttled(queue))
    await queue.enqueue(2)
    late = worker_of(backend, queue)

    @late.handler
    async def work(payload: int) -> None:
        seen.append((payload, datetime.now(UTC)))

    assert await late.run_once() == 0  # as of a paused group nothing is ready
    start(late)
    await eventually(lambda: len(seen) == 2)
    assert all((at - until).total_seconds() > -0.1 for _, at in seen)


async def test_the_longest_of_several_throttles_counts(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue, concurrency=3), []

    @worker.handler
    async def work(payload: float) -> None:
        seen.append((payload, asyncio.get_running_loop().time()))
        if len(seen) <= 3:
            await eventually(lambda: len(seen) >= 3)
            raise Throttle(payload)

    await queue.enqueue_batch([0.2, 2.0, 0.4])
    start(worker)
    await eventually(lambda: len(seen) == 6)
    assert seen[3][1] - seen[2][1] >= 1.9
    await eventually(lambda: is_empty(queue))


async def test_an_ordered_task_keeps_its_place_and_its_attempt(backend, queue_name, start) -> None:
    queue = await backend.queue(QueueSpec(queue_name, partitions=2), GroupSpec(retry={"max_attempts": 1}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt))
        if len(seen) == 1:
            raise Throttle(0.3)

    for number in range(3):
        await queue.enqueue(number, ordering_key="a")
    start(worker)
    await eventually(lambda: is_empty(queue))
    assert seen == [(0, 1), (0, 1), (1, 1), (2, 1)]


async def test_in_a_broadcast_queue_the_other_groups_go_on(backend, queue_name, start) -> None:
    spec = QueueSpec(queue_name, broadcast=True)
    queue = await backend.queue(spec, GroupSpec("calls"), GroupSpec("counts"))
    calls, counts, seen = worker_of(backend, queue, "calls"), worker_of(backend, queue, "counts"), []

    @calls.handler
    async def call(payload: int) -> None:
        raise Throttle(600)

    @counts.handler
    async def count(payload: int) -> None:
        seen.append(payload)

    start(calls)
    await queue.enqueue(1)
    await eventually(lambda: _throttled(queue, "calls"))
    start(counts)
    await queue.enqueue(2)
    await eventually(lambda: seen == [1, 2])
    assert await _throttled(queue, "counts") is None


async def test_nothing_is_received_by_hand_before_the_time_is_over(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker = worker_of(backend, queue)

    @worker.handler
    async def work(payload: int) -> None:
        raise Throttle(1.5)

    await queue.enqueue(1)
    await worker.run_once()
    until = await eventually(lambda: _throttled(queue))
    await queue.enqueue(2)
    assert await queue.receive() == []
    (task,) = await queue.receive(1, wait=60)
    assert datetime.now(UTC) >= until
    await task.ack()


async def test_a_receive_that_waits_gives_back_what_comes_while_the_group_is_closed(backend, spec) -> None:
    queue = await backend.queue(spec)
    waiting = asyncio.create_task(queue.receive(1, wait=60))
    await asyncio.sleep(1)  # until it has looked, and waits for a task
    until = datetime.now(UTC) + timedelta(seconds=2)
    await write(backend, queue, ThrottledUntil(until).encode())
    await queue.enqueue(2)
    (task,) = await waiting
    assert datetime.now(UTC) >= until
    assert (task.attempt, task.data) == (1, b"2")
    await task.ack()


@pytest.mark.parametrize("by_token", [False, True], ids=["by the task", "by its token"])
async def test_who_receives_by_hand_closes_the_group_too(backend, spec, by_token: bool) -> None:
    queue = await backend.queue(spec, GroupSpec(retry={"max_attempts": 1}))
    await queue.enqueue_batch([1, 2])
    (task,) = await queue.receive(1)
    holder = await queue.lease(task.token) if by_token else task
    await holder.throttle(1.5, why="429 from the API")
    key = GroupName(QueueName.parse(queue.name), "mailers").throttle_key
    told = read_throttle((await backend.client._broker.read_key(DONE_BUCKET, key, 60)).value)
    assert told is not None
    assert told.why == "429 from the API"
    received = await queue.receive(1, wait=60)
    assert datetime.now(UTC) >= told.until
    while len(received) < 2:
        received += await queue.receive(1, wait=60)
    assert sorted((task.data, task.attempt) for task in received) == [(b"1", 1), (b"2", 1)]
    for each in received:
        await each.ack()


@pytest.mark.parametrize("by_token", [False, True], ids=["by the task", "by its token"])
async def test_a_throttle_that_cannot_be_closes_nothing_and_settles_nothing(backend, spec, by_token: bool) -> None:
    queue = await backend.queue(spec)
    await queue.enqueue(1)
    (task,) = await queue.receive(1)
    holder = await queue.lease(task.token) if by_token else task
    with pytest.raises(protoqueue.InvalidTask, match="-1"):
        await holder.throttle(-1)
    assert await _throttled(queue) is None
    await holder.ack()
    refused = protoqueue.LeaseLost if by_token else protoqueue.AlreadySettled
    with pytest.raises(refused):
        await holder.throttle(600)
    assert await _throttled(queue) is None


async def write(backend: Backend, queue: protoqueue.Queue, value: bytes) -> None:
    broker = backend.client._broker
    key = GroupName(QueueName.parse(queue.name), "mailers").throttle_key
    entry = await broker.read_key(DONE_BUCKET, key, 60)
    await broker.write_key(DONE_BUCKET, key, value, entry.number, 60)


async def test_what_another_has_put_in_its_place_closes_nothing_and_opens_what_is_closed(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    await write(backend, queue, b"[1, 2")
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)
        if payload == 1:
            raise Throttle(600)

    start(worker)
    await queue.enqueue(1)
    await eventually(lambda: _throttled(queue))
    await queue.enqueue(2)
    await write(backend, queue, b"{}")
    await eventually(lambda: seen == [1, 2])
    assert await _throttled(queue) is None


async def test_a_throttle_that_is_ended_by_hand_is_over_for_all_workers_at_once(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    first, second, seen = worker_of(backend, queue), worker_of(backend, queue), []

    async def work(payload: int) -> None:
        seen.append(payload)
        if payload == 1:
            raise Throttle(600)

    for worker in (first, second):
        worker.handler(work)
    start(first)
    await queue.enqueue(1)
    await eventually(lambda: _throttled(queue))
    start(second)
    await queue.enqueue(2)

    async def is_told_among_all() -> bool:
        group = (await backend.client.overview())[queue.name].stats.groups["mailers"]
        return group.throttled_until is not None

    await eventually(is_told_among_all)
    group = GroupName(QueueName.parse(queue.name), "mailers")
    assert await end_throttle(backend.client._broker, group, 60)
    await eventually(lambda: seen == [1, 2])
    assert await _throttled(queue) is None
    assert not await end_throttle(backend.client._broker, group, 60)

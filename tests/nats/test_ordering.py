"""Ordered queues: one at a time and in order per key, whatever happens."""

import asyncio
import time
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from protoqueue import InvalidTask, NewTask, Reject, Snooze, Task
from protoqueue.protocol.subjects import partition_of
from provisioning import GroupSpec
from waiting import eventually

RECORDING = """
@worker.handler
async def work(payload: int, task: Task) -> None:
    tell("start", task.ordering_key, payload)
    await asyncio.sleep(0.02)
    tell("end", task.ordering_key, payload)
"""


async def test_tasks_of_a_key_run_in_order_and_one_at_a_time_while_keys_run_in_parallel(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05, "max_attempts": 9}), partitions=8)
    keys = [f"customer-{number}" for number in range(6)]
    await queue.enqueue_batch([NewTask(number, ordering_key=key) for number in range(15) for key in keys])
    done: defaultdict[str, list[int]] = defaultdict(list)
    busy: set[str] = set()
    parallel, failed = 0, set()
    for _ in range(3):
        worker = make_worker(concurrency=4)

        @worker.handler
        async def work(payload: int, task: Task) -> None:
            nonlocal parallel
            key = task.ordering_key
            assert key not in busy
            busy.add(key)
            parallel = max(parallel, len(busy))
            await asyncio.sleep(0.005)
            busy.remove(key)
            if payload == 7 and key not in failed:
                failed.add(key)
                raise ValueError("once")
            done[key].append(payload)

        start(worker)
    await eventually(lambda: sum(map(len, done.values())) == 15 * len(keys))
    assert all(done[key] == list(range(15)) for key in keys)
    assert failed == set(keys)
    assert parallel > 1


async def test_order_holds_when_workers_are_killed(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1), partitions=4)
    await queue.enqueue_batch([NewTask(number, ordering_key=key) for number in range(25) for key in "ab"])
    first, second = processes(RECORDING), processes(RECORDING)
    await eventually(lambda: len(first.told) + len(second.told) > 20)
    first.kill()
    second.kill()
    third = processes(RECORDING)

    def ended() -> dict[str, set[int]]:
        found: defaultdict[str, set[int]] = defaultdict(set)
        for line in first.told + second.told + third.told:
            what, key, number = line.split()
            if what == "end":
                found[key].add(int(number))
        return found

    await eventually(lambda: sum(map(len, ended().values())) == 50)
    for process in (first, second, third):
        for key in "ab":
            starts = [int(line.split()[2]) for line in process.told if line.startswith(f"start {key}")]
            assert starts == sorted(starts)


async def test_a_failing_task_holds_up_its_key_until_it_is_buried_and_no_longer(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 0.05, "max_attempts": 3}), partitions=2)
    await queue.enqueue_batch([NewTask(number, ordering_key="k") for number in (1, 2)])
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt))
        if payload == 1:
            raise ValueError

    start(worker)
    await eventually(lambda: seen[-1:] == [(2, 1)])
    assert seen == [(1, 1), (1, 2), (1, 3), (2, 1)]
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.reason, letter.attempts) == ("MaxAttempts", 3)


async def test_a_redriven_ordered_task_comes_back_to_its_key(make_queue, make_worker, start) -> None:
    queue = await make_queue(partitions=2)
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.ordering_key))
        if len(seen) == 1:
            raise Reject("first")

    await queue.enqueue(1, ordering_key="k")
    start(worker)

    async def redriven() -> bool:
        return await queue.redrive() == 1

    await eventually(redriven)
    await eventually(lambda: seen == [(1, "k"), (1, "k")])


async def test_in_a_broadcast_queue_only_the_group_that_gave_an_ordered_task_up_gets_it_again(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec("good"), GroupSpec("bad"), partitions=2, broadcast=True)
    seen: Counter[str] = Counter()
    for group in ("good", "bad"):
        worker = make_worker(group=group)

        @worker.handler
        async def work(task: Task, *, group: str = group) -> None:
            seen[group] += 1
            if group == "bad" and seen[group] == 1:
                raise Reject("first")

        start(worker)
    await queue.enqueue(1, ordering_key="k")

    async def redriven() -> bool:
        return await queue.redrive() == 1

    await eventually(redriven)
    await eventually(lambda: seen["bad"] == 2)
    last = await queue.enqueue(2, ordering_key="k")
    await eventually(lambda: seen.total() == 5)
    assert last
    assert seen == {"good": 2, "bad": 3}


async def test_neither_a_snooze_nor_a_hand_back_nor_a_crash_costs_an_ordered_task_an_attempt(
    make_queue, make_worker, start, hand_back
) -> None:
    retry = {"initial_delay": 0.05, "max_attempts": 2}
    queue = await make_queue(GroupSpec(retry=retry, visibility_s=0.5), partitions=2)
    await queue.enqueue_batch([NewTask(number, ordering_key="k") for number in (1, 2)])
    (lost,) = await queue.receive(1, group="mailers")  # and never settled: its holder has crashed
    await hand_back(3)
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt))
        if len(seen) <= 3:
            raise Snooze(0.05)
        if payload == 1:
            raise ValueError

    start(worker)
    await eventually(lambda: seen[-1:] == [(2, 1)])
    assert seen == [*[(1, 1)] * 4, (1, 2), (2, 1)]
    (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.task.id, letter.reason, letter.attempts) == (lost.id, "MaxAttempts", 2)


async def test_an_ordered_retry_is_never_early_also_where_its_delay_is_longer_than_the_lease(
    make_queue, make_worker, start
) -> None:
    retry = {"initial_delay": 1.0, "multiplier": 1, "jitter": 0.0, "max_attempts": 4}
    queue = await make_queue(GroupSpec(retry=retry, visibility_s=0.3), partitions=1)
    worker, starts = make_worker(), []

    @worker.handler
    async def work(payload: int) -> None:
        starts.append(time.monotonic())
        raise ValueError

    await queue.enqueue(1, ordering_key="k")
    start(worker)
    await eventually(lambda: len(starts) == 4)
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(starts))


async def test_an_ordered_task_that_kills_its_worker_goes_to_the_dead_letters(make_queue) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 3}, visibility_s=0.3), partitions=1)
    await queue.enqueue_batch([NewTask(number, ordering_key="k") for number in (1, 2)])
    taken = []
    while not taken or taken[-1].payload() == 1:
        taken += await queue.receive(1, wait=5, group="mailers")
    assert [(task.payload(), task.attempt) for task in taken] == [*[(1, 1)] * 3, (2, 1)]
    assert [letter.reason async for letter in queue.dead_letters()] == ["Crashed"]


async def test_a_slow_ordered_task_holds_its_own_partition_only(make_queue, make_worker, start) -> None:
    """Its worker has one slot, and waits for tasks of all partitions when they come."""
    queue = await make_queue(partitions=16)
    release, done = asyncio.Event(), []
    for _ in range(2):
        worker = make_worker(concurrency=1)

        @worker.handler
        async def work(payload: int) -> None:
            if payload == 0:
                await release.wait()
            done.append(payload)

        start(worker)

    async def both_wait() -> bool:
        await queue.enqueue(-1, ordering_key="first")
        return len(done) >= 4

    await eventually(both_wait)
    done.clear()
    key_of = {partition_of(key, 16): key for key in map(str, range(1000))}
    slow, others = key_of[3], [key for partition, key in key_of.items() if partition != 3]
    await queue.enqueue_batch(
        [NewTask(0, ordering_key=slow), *[NewTask(n, ordering_key=key) for n in (1, 2) for key in others]]
    )
    await eventually(lambda: len([n for n in done if n > 0]) == 30)
    assert 0 not in done
    release.set()
    await eventually(lambda: 0 in done)


async def test_an_ordered_queue_wants_a_key(make_queue) -> None:
    queue = await make_queue(partitions=2)
    with pytest.raises(InvalidTask, match="ordering_key"):
        await queue.enqueue(1)

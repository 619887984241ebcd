"""Which task comes next."""

import asyncio
from collections import Counter

import pytest

from protoqueue import NewTask, Task
from protoqueue.protocol.subjects import level_of
from provisioning import GroupSpec
from waiting import eventually

TELLING = """
from protoqueue.protocol.subjects import level_of

@worker.handler
async def work(task: Task) -> None:
    tell(time.monotonic(), level_of(task.priority, 3))
    await asyncio.sleep(0.005)
"""


@pytest.mark.parametrize(("concurrency", "service_s"), [(1, 0.0), (10, 0.0), (4, 0.01)])
async def test_under_overload_each_level_gets_its_weight_within_a_tenth(
    make_queue, make_worker, start, concurrency: int, service_s: float
) -> None:
    queue = await make_queue(GroupSpec(weights=[1, 2, 4]))
    sample = 700 if service_s else 2800  # a handler that returns at once has hundreds ahead
    await queue.enqueue_batch([NewTask(0, priority=priority) for priority in (1, 5, 10) for _ in range(sample)])
    worker, order = make_worker(concurrency=concurrency), []

    @worker.handler
    async def work(task: Task) -> None:
        order.append(level_of(task.priority, 3))
        if service_s:
            await asyncio.sleep(service_s)

    start(worker)
    await eventually(lambda: len(order) >= sample)
    share = Counter(order[:sample])
    for level, weight in ((0, 1), (1, 2), (2, 4)):
        assert share[level] == pytest.approx(sample * weight / 7, rel=0.1)


async def test_several_workers_together_give_each_level_its_weight_within_a_tenth(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(weights=[1, 2, 4]))
    sample = 1400
    await queue.enqueue_batch([NewTask(0, priority=priority) for priority in (1, 5, 10) for _ in range(sample)])
    crew = [processes(TELLING, concurrency=4) for _ in range(3)]

    def order() -> list[int]:
        lines = (line.split() for worker in crew for line in worker.told)
        return [int(level) for _, level in sorted((float(when), level) for when, level in lines)]

    await eventually(lambda: len(order()) >= sample, interval_s=0.2)
    share = Counter(order()[:sample])
    for level, weight in ((0, 1), (1, 2), (2, 4)):
        assert share[level] == pytest.approx(sample * weight / 7, rel=0.1)


async def test_the_share_of_an_idle_level_goes_to_the_others(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(weights=[1, 2, 4]))
    await queue.enqueue_batch([NewTask(0, priority=1) for _ in range(200)])
    worker, running, most, done = make_worker(concurrency=8), 0, 0, 0

    @worker.handler
    async def work(payload: int) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        done += 1

    start(worker)
    await eventually(lambda: done == 200)
    assert most == 8


async def test_strict_runs_everything_higher_first(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(strict=True))
    await queue.enqueue_batch([NewTask(0, priority=priority) for priority in (1, 5, 10) for _ in range(100)])
    worker, order = make_worker(concurrency=4), []

    @worker.handler
    async def work(task: Task) -> None:
        order.append(task.priority)
        await asyncio.sleep(0.001)

    start(worker)
    await eventually(lambda: len(order) == 300)
    assert order[:96] == [10] * 96
    assert set(order[104:196]) == {5}


async def test_several_workers_under_strict_start_nothing_lower_while_something_higher_waits(
    make_queue, processes
) -> None:
    queue = await make_queue(GroupSpec(strict=True))
    await queue.enqueue_batch([NewTask(0, priority=priority) for priority in (1, 5, 10) for _ in range(200)])
    crew = [processes(TELLING, concurrency=4) for _ in range(2)]
    await eventually(lambda: sum(len(worker.told) for worker in crew) == 600, interval_s=0.2)
    lines = sorted((float(when), int(level)) for worker in crew for when, level in map(str.split, worker.told))
    order = [level for _, level in lines]
    # Where levels meet, one worker may hold the last of the higher one for 20 ms while the other begins the lower.
    assert order[:150] == [2] * 150
    assert set(order[250:350]) == {1}


@pytest.mark.parametrize("strict", [True, False])
async def test_a_high_task_waits_at_most_for_running_handlers(make_queue, make_worker, start, strict: bool) -> None:
    queue = await make_queue(GroupSpec(strict=strict, weights=[1, 2, 1000]))
    await queue.enqueue_batch([NewTask(0, priority=1) for _ in range(500)])
    worker, order, urgent = make_worker(concurrency=2), [], asyncio.Event()

    @worker.handler
    async def work(task: Task) -> None:
        order.append(task.priority)
        await asyncio.sleep(0.1)

    @worker.handler("urgent")
    async def hurry(task: Task) -> None:
        urgent.set()

    start(worker)
    await eventually(lambda: len(order) >= 4)
    await queue.enqueue(0, priority=10, type="urgent")
    before = len(order)
    await asyncio.wait_for(urgent.wait(), 60)
    # Two handlers run; while they end, each slot may have taken one more that was already on its way.
    assert len(order) - before <= 4

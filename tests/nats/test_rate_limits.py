"""Limits of queue and group bind running workers, together and live. (tests/nats/ratelimit has the limiter itself.)"""

import asyncio
import time

from provisioning import GroupSpec, QueueSpec, write_group, write_queue
from waiting import eventually


async def test_workers_share_the_queue_s_limit_and_obey_its_change(
    make_queue, make_worker, start, nc, queue_name
) -> None:
    queue = await make_queue(GroupSpec(), rate_limit={"tasks": 50, "per": 1, "burst": 5})
    starts: list[float] = []
    for _ in range(2):
        worker = make_worker()

        @worker.handler
        async def work(payload: int) -> None:
            starts.append(time.monotonic())

        start(worker)
    await queue.enqueue_batch([0] * 600)
    await eventually(lambda: len(starts) >= 100)
    assert starts[99] - starts[0] >= 1.5
    for first, last in zip(starts, starts[25:], strict=False):
        assert last - first >= 0.3  # 25 tasks are 5 of burst and 20 at 50 a second
    held, changed = 600 - len(starts), time.monotonic()
    await write_queue(nc, QueueSpec(queue_name))
    await eventually(lambda: len(starts) == 600)
    assert starts[-1] - changed < 0.9 * held / 50, "sooner than the limit would have let them"


async def test_what_waits_for_its_turn_goes_back_at_once_when_the_worker_stops(make_queue, make_worker) -> None:
    queue = await make_queue(GroupSpec(rate_limit={"tasks": 1, "per": 60, "burst": 1}))
    worker, seen = make_worker(grace_s=20), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    await queue.enqueue_batch(list(range(5)))
    serving = asyncio.create_task(worker.serve())
    await eventually(lambda: len(seen) == 1)
    worker.stop()
    await asyncio.wait_for(serving, 5)

    async def all_back() -> bool:
        stats = await queue.stats()
        # A task that was handed back counts as in flight until the next pull.
        return stats.waiting + stats.in_flight == 4

    await eventually(all_back)
    assert len(seen) == 1


async def test_a_worker_s_own_limit_is_its_own(make_queue, make_worker, start, nc, queue_name) -> None:
    limit = {"tasks": 10, "per": 1, "burst": 1, "scope": "Worker"}
    queue = await make_queue(GroupSpec(rate_limit=limit))
    counts = [0, 0]
    for number in range(2):
        worker = make_worker()

        @worker.handler
        async def work(payload: int, *, number: int = number) -> None:
            counts[number] += 1

        start(worker)
    await queue.enqueue_batch([0] * 200)
    began = time.monotonic()
    await eventually(lambda: min(counts) >= 10)
    assert time.monotonic() - began < 5
    assert max(counts) <= 10 * (time.monotonic() - began) + 15
    await write_group(nc, QueueSpec(queue_name), GroupSpec())
    await eventually(lambda: sum(counts) == 200)

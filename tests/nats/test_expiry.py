"""Tasks that are not started in time."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from protoqueue import InvalidTask, Task
from provisioning import GroupSpec
from waiting import eventually


async def test_a_task_not_started_in_time_is_dropped_without_any_worker(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue(1, expires=0.5)
    await queue.enqueue(2, expires=60)

    async def one_left() -> bool:
        return (await queue.stats()).waiting == 1

    await eventually(one_left)


@pytest.mark.parametrize("keep", [True, False])
async def test_an_expired_task_is_not_started_and_is_kept_if_the_queue_says_so(
    make_queue, make_worker, start, keep: bool
) -> None:
    queue = await make_queue(keep_expired=keep)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await queue.enqueue(1, expires=soon)
    await queue.enqueue(2, expires=timedelta(minutes=1))
    await asyncio.sleep(0.4)  # it is the passing of time itself that is tested
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    start(worker)

    async def settled() -> bool:
        reasons = [(letter.reason, letter.task.data) async for letter in queue.dead_letters()]
        stats = await queue.stats()
        return seen == [2] and reasons == ([("Expired", b"1")] if keep else []) and stats.waiting + stats.in_flight == 0

    await eventually(settled)


async def test_what_was_started_in_time_does_not_expire_between_its_attempts(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay": 1.2, "jitter": 0.0}), keep_expired=True)
    worker, attempts = make_worker(), []

    @worker.handler
    async def work(task: Task) -> None:
        attempts.append(task.attempt)
        if task.attempt == 1:
            raise ValueError

    start(worker)
    await queue.enqueue(1, expires=1)
    await eventually(lambda: attempts == [1, 2])


async def test_a_delayed_task_may_expire_after_it_is_due_but_not_before(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue(1, delay=1, expires=2)
    with pytest.raises(InvalidTask, match="before it is due"):
        await queue.enqueue(1, delay=2, expires=1)
    with pytest.raises(InvalidTask, match="before it is due"):
        await queue.enqueue(1, expires=0)
    with pytest.raises(InvalidTask, match="time zone"):
        await queue.enqueue(1, expires=datetime(2099, 1, 1))

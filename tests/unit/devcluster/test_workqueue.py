import asyncio
import contextlib
from collections.abc import AsyncIterator

from protoqueue_devcluster.kube.workqueue import WorkQueue
from waiting import eventually


@contextlib.asynccontextmanager
async def running(queue: WorkQueue[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_key_added_many_times_is_worked_on_once() -> None:
    worked: list[str] = []

    async def reconcile(key: str) -> None:
        worked.append(key)

    queue = WorkQueue("test", reconcile)
    for key in ("a", "a", "b", "a"):
        queue.add(key)
    async with running(queue):
        await eventually(lambda: len(worked) == 2)
    assert worked == ["a", "b"]


async def test_a_key_added_while_it_is_worked_on_is_worked_on_again_but_never_twice_at_a_time() -> None:
    release = asyncio.Event()
    busy = most = rounds = 0

    async def reconcile(_: str) -> None:
        nonlocal busy, most, rounds
        busy += 1
        most = max(most, busy)
        await release.wait()
        busy -= 1
        rounds += 1

    queue = WorkQueue("test", reconcile)
    async with running(queue):
        queue.add("a")
        await eventually(lambda: busy == 1)
        queue.add("a")
        queue.add("a")
        release.set()
        await eventually(lambda: rounds == 2)
    assert most == 1


async def test_a_failing_key_is_tried_again_and_does_not_hold_up_others() -> None:
    attempts: list[str] = []

    async def reconcile(key: str) -> None:
        attempts.append(key)
        if key == "bad" and attempts.count("bad") < 3:
            raise ValueError("not yet")

    queue = WorkQueue("test", reconcile, workers=1)
    async with running(queue):
        queue.add("bad")
        queue.add("good")
        await eventually(lambda: attempts.count("bad") == 3)
    assert attempts[:2] == ["bad", "good"]


async def test_a_key_may_ask_to_be_looked_at_again() -> None:
    rounds = 0

    async def reconcile(_: str) -> float | None:
        nonlocal rounds
        rounds += 1
        return 0.01 if rounds < 3 else None

    queue = WorkQueue("test", reconcile)
    async with running(queue):
        queue.add("a")
        await eventually(lambda: rounds == 3)

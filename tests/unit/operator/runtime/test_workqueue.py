"""The work queue, with handlers that say when they go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from protoqueue_operator.runtime import workqueue
from protoqueue_operator.runtime.workqueue import LONGEST_BACKOFF_S, Requeue, WorkQueue, backoff_s
from waiting import eventually

Start = Callable[..., WorkQueue[str]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    queues: list[WorkQueue[str]] = []

    def begin(handle: Callable[[str], Awaitable[Requeue | None]], workers: int = 4, **shares: Any) -> WorkQueue[str]:
        queue = WorkQueue(handle, workers, **shares)
        queue.start()
        queues.append(queue)
        return queue

    yield begin
    for queue in queues:
        await queue.stop()


async def test_what_is_added_many_times_is_served_once(start: Start) -> None:
    served: list[str] = []

    async def handle(key: str) -> None:
        served.append(key)

    queue = start(handle, workers=1)
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    await eventually(lambda: "b" in served)
    assert served == ["a", "b"]


async def test_one_key_is_never_served_twice_at_a_time_and_once_more_after_a_change(start: Start) -> None:
    running, most, served, go_on = 0, 0, 0, asyncio.Event()

    async def handle(_: str) -> None:
        nonlocal running, most, served
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        served += 1

    queue = start(handle)
    queue.add("a")
    await eventually(lambda: running == 1)
    for _ in range(5):
        queue.add("a")
    go_on.set()
    await eventually(lambda: served == 2 and len(queue) == 0)
    assert most == 1


async def test_what_fails_is_served_again_until_it_succeeds(start: Start) -> None:
    tries = 0

    async def handle(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("not yet")

    start(handle).add("a")
    await eventually(lambda: tries == 3)


async def test_a_change_does_not_wait_for_the_pause_after_a_failure(start: Start) -> None:
    served: list[str] = []

    async def handle(key: str) -> Requeue:
        served.append(key)
        return Requeue(3600)

    queue = start(handle)
    queue.add("a")
    await eventually(lambda: len(served) == 1)
    queue.add("a")
    await eventually(lambda: len(served) == 2)


async def test_what_is_forgotten_is_not_served_again(start: Start) -> None:
    served: list[str] = []

    async def handle(key: str) -> Requeue | None:
        served.append(key)
        return Requeue(0.3) if key == "a" else None

    queue = start(handle, workers=1)
    queue.add("a")
    await eventually(lambda: "a" in served)
    queue.forget("a")
    before = served.count("a")
    queue.add_later("b", 0.6)
    await eventually(lambda: "b" in served)
    assert served.count("a") == before


@pytest.mark.parametrize(("failures", "least", "most"), [(1, 0.4, 0.6), (2, 0.8, 1.2), (5, 6.4, 9.6), (100, 48, 72)])
def test_pauses_grow_to_a_bound(failures: int, least: float, most: float) -> None:
    assert backoff_s(failures, -1, LONGEST_BACKOFF_S) == pytest.approx(least)
    assert backoff_s(failures, 1, LONGEST_BACKOFF_S) == pytest.approx(most)
    assert backoff_s(failures, 0, 10) <= 10


async def test_what_has_patience_lets_others_go_first_but_not_for_ever(start: Start) -> None:
    served: list[str] = []
    go = asyncio.Event()

    async def handle(key: str) -> None:
        await go.wait()
        served.append(key)

    queue = start(handle, workers=1)
    queue.add("under way")
    await asyncio.sleep(0)
    queue.add("patient", 60)
    queue.add("a little patient", 0.001)
    queue.add("upgraded", 60)
    queue.add("urgent")
    queue.add("upgraded")
    await asyncio.sleep(0.01)
    queue.add("late")
    assert len(queue) == 6
    go.set()
    await eventually(lambda: len(queue) == 0)
    assert served == ["under way", "urgent", "upgraded", "a little patient", "late", "patient"]


async def test_what_fails_again_and_again_keeps_no_worker_from_what_is_new(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workqueue, "FIRST_BACKOFF_S", 0.01)
    served: list[str] = []
    go = asyncio.Semaphore(0)

    async def handle(key: str) -> Requeue | None:
        await go.acquire()
        served.append(key)
        return Requeue(longest_s=60) if key == "failing" else None

    queue = start(handle, workers=1)
    queue.add("failing")
    queue.add("under way")
    go.release()
    await eventually(lambda: queue.is_serving("under way"))
    await asyncio.sleep(0.05)  # meanwhile the pause of the failing one passes
    queue.add("new")
    for _ in range(3):
        go.release()
    await eventually(lambda: len(served) == 4)
    assert served == ["failing", "under way", "new", "failing"]


async def test_what_shares_workers_leaves_the_others_to_others_and_all_of_it_gets_its_turn(start: Start) -> None:
    served: list[str] = []
    running, most, go_on = 0, 0, asyncio.Event()

    async def handle(key: str) -> None:
        nonlocal running, most
        if key.startswith("slow"):
            running += 1
            most = max(most, running)
            await go_on.wait()
            running -= 1
        served.append(key)

    queue = start(handle, workers=4, share_of=lambda key: "slow" if key.startswith("slow") else None, share=2)
    for number in range(20):
        queue.add(f"slow{number}")
    await eventually(lambda: running == 2)
    queue.add("slow7", 5.0)
    queue.add("quick")
    await eventually(lambda: served == ["quick"])
    go_on.set()
    await eventually(lambda: len(served) == 21)
    assert len(set(served)) == 21
    assert most == 2

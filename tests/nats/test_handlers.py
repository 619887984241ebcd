"""What handlers get, and how they run."""

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from protoqueue import ConfigurationError, NewTask, Task
from protoqueue.protocol.v1 import task_pb2
from provisioning import GroupSpec
from waiting import eventually


class Email(BaseModel):
    to: str
    copies: int = 1


async def test_a_handled_task_leaves_the_queue(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    seen: list[Any] = []
    worker = make_worker()

    @worker.handler
    async def handle(payload: dict[str, Any], task: Task) -> None:
        seen.append((payload, task))

    receipt = await queue.enqueue({"to": "a@b.c"}, priority=9, metadata={"trace": 7}, type="welcome")
    start(worker)
    await eventually(lambda: seen)
    payload, task = seen[0]
    assert payload == {"to": "a@b.c"}
    assert (task.id, task.type, task.attempt, task.priority) == (receipt.id, "welcome", 1, 9)
    assert task.metadata == {"trace": 7}
    assert task.enqueued_at is not None

    async def empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 0)

    await eventually(empty)


async def test_payloads_arrive_as_the_annotation_says(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    seen: dict[str, Any] = {}
    worker = make_worker()

    @worker.handler("model")
    async def model(payload: Email) -> None:
        seen["model"] = payload

    @worker.handler("bytes")
    async def binary(payload: bytes) -> None:
        seen["bytes"] = payload

    @worker.handler("list")
    async def numbers(payload: list[int]) -> None:
        seen["list"] = payload

    @worker.handler("text")
    async def text(payload: str) -> None:
        seen["text"] = payload

    @worker.handler("protobuf")
    async def protobuf(payload: task_pb2.TaskMetadata) -> None:
        seen["protobuf"] = payload

    @worker.handler("task")
    async def alone(task: Task) -> None:
        seen["task"] = task.data

    sent = {
        "model": Email(to="a@b.c", copies=2),
        "bytes": b"\x00\xff",
        "list": [1, 2, 3],
        "text": "grüße",
        "protobuf": task_pb2.TaskMetadata(priority=3),
        "task": b"raw",
    }
    await queue.enqueue_batch([NewTask(payload, type=kind) for kind, payload in sent.items()])
    start(worker)
    await eventually(lambda: len(seen) == len(sent))
    assert seen == sent


async def test_plain_functions_run_in_threads_and_do_not_hold_up_async_ones(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    release, threads, ran = threading.Event(), [], asyncio.Event()
    worker = make_worker()

    @worker.handler("plain")
    def plain(payload: dict[str, Any]) -> None:
        threads.append(threading.current_thread())
        release.wait(20)

    @worker.handler("async")
    async def quick(payload: dict[str, Any]) -> None:
        ran.set()

    await queue.enqueue({}, type="plain")
    start(worker)
    await eventually(lambda: threads)
    await queue.enqueue({}, type="async")
    await asyncio.wait_for(ran.wait(), 60)
    release.set()
    assert threads[0] is not threading.main_thread()


async def test_no_more_tasks_run_at_once_than_concurrency_allows(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    worker = make_worker(concurrency=3)
    running, most, done = 0, 0, 0

    @worker.handler
    async def handle(payload: dict[str, Any]) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done += 1

    await queue.enqueue_batch([{}] * 40)
    start(worker)
    await eventually(lambda: done == 40)
    assert most == 3


async def test_what_a_busy_worker_has_no_slot_for_stays_with_idle_ones(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    release, stuck, others = asyncio.Event(), [], []
    busy, idle = make_worker(concurrency=1), make_worker(concurrency=1)

    @busy.handler
    async def hold(payload: int) -> None:
        stuck.append(payload)
        await release.wait()

    @idle.handler
    async def work(payload: int) -> None:
        others.append(payload)

    start(busy)
    await queue.enqueue(0)
    await eventually(lambda: stuck)
    start(idle)
    for priority in (1, 5, 10):
        await queue.enqueue_batch([NewTask(number, priority=priority) for number in range(1, 11)])
    await eventually(lambda: len(others) == 30)
    release.set()
    assert stuck == [0]


async def test_a_handler_that_takes_longer_than_the_lease_keeps_its_task(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(visibility_s=0.6))
    started: list[int] = []
    done = asyncio.Event()

    async def slow(task: Task) -> None:
        started.append(task.attempt)
        await asyncio.sleep(2)
        done.set()

    for _ in range(2):  # the idle one would be lent what the other's lease is over for
        worker = make_worker(concurrency=1)
        worker.handler(slow)
        start(worker)
    await queue.enqueue({})
    await asyncio.wait_for(done.wait(), 60)
    assert started == [1]

    async def is_over() -> bool:
        stats = await queue.stats()
        return stats.waiting + stats.in_flight == 0

    await eventually(is_over)


async def test_a_handler_over_its_timeout_fails_the_attempt(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = make_worker()

    @worker.handler(timeout=0.1)
    async def slow(payload: dict[str, Any]) -> None:
        await asyncio.sleep(30)

    await queue.enqueue({})
    start(worker)

    async def buried() -> bool:
        return [letter.error_type async for letter in queue.dead_letters()] == ["TimeoutError"]

    await eventually(buried)


async def test_a_plain_function_that_hangs_after_its_timeout_takes_no_thread_from_the_next_task(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker, release, done = make_worker(concurrency=1), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @worker.handler("hangs", timeout=0.1)
    def hang(payload: int) -> None:
        release.wait(30)

    @worker.handler
    def work(payload: int) -> None:
        loop.call_soon_threadsafe(done.set)

    await queue.enqueue(1, type="hangs", priority=10)
    await queue.enqueue(2)
    start(worker)
    await asyncio.wait_for(done.wait(), 60)
    release.set()


class Ending(BaseException):
    """As libraries have them that want `except Exception` to let theirs through."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit(3), "SystemExit"),
        (KeyError("missing"), "KeyError"),
        (Ending(), "Ending"),
        (StopIteration(), "RuntimeError"),  # no coroutine or future lets one through
        (GeneratorExit(), "GeneratorExit or RuntimeError"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "plain", "batch", "item"])
async def test_whatever_a_handler_raises_fails_the_attempt_and_not_the_worker(
    make_queue, make_worker, start, raised: BaseException, told: str, kind: str
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker, done = make_worker(concurrency=1), asyncio.Event()

    async def fail(payload: int) -> None:
        raise raised

    def fail_plainly(payload: int) -> None:
        raise raised

    async def fail_all(payloads: list[int]) -> None:
        raise raised

    async def fail_each(payloads: list[int]) -> list[BaseException]:
        return [raised for _ in payloads]

    if kind in ("async", "plain"):
        worker.handler(fail if kind == "async" else fail_plainly)
    else:
        worker.batch(max_wait=0)(fail_all if kind == "batch" else fail_each)

    @worker.handler("after")
    async def after(payload: int) -> None:
        done.set()

    await queue.enqueue(1, priority=10)
    await queue.enqueue(2, type="after")
    start(worker)
    await asyncio.wait_for(done.wait(), 60)

    async def buried() -> bool:
        return [letter.error_type in told async for letter in queue.dead_letters()] == [True]

    await eventually(buried)


@pytest.mark.parametrize("cancel", ["itself", "what runs it", "something of its own"])
async def test_a_handler_that_ends_in_cancellation_fails_the_attempt(make_queue, make_worker, start, cancel) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = make_worker(concurrency=1)
    done = asyncio.Event()

    @worker.handler
    async def cancelled(payload: dict[str, Any]) -> None:
        if cancel == "itself":
            raise asyncio.CancelledError
        if cancel == "what runs it":
            asyncio.current_task().cancel()
        sleeping = asyncio.create_task(asyncio.sleep(30))
        sleeping.cancel()
        await sleeping

    @worker.handler("after")
    async def after(payload: dict[str, Any]) -> None:
        if not asyncio.current_task().cancelling():  # of which a TaskGroup would make something
            done.set()

    await queue.enqueue({})
    await queue.enqueue({}, type="after")
    start(worker)
    await asyncio.wait_for(done.wait(), 60)

    async def buried() -> bool:
        return [letter.error_type async for letter in queue.dead_letters()] == ["CancelledError"]

    await eventually(buried)


async def test_a_type_without_handler_is_buried_once_it_has_waited(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1, "rollout_grace": 1.5}))
    worker = make_worker()

    @worker.handler("known")
    async def known(payload: dict[str, Any]) -> None: ...

    await queue.enqueue({}, type="unknown")
    start(worker)

    async def buried() -> bool:
        return [(le.reason, le.error_type) async for le in queue.dead_letters()] == [("NoHandler", "NoHandler")]

    await eventually(buried)


@pytest.mark.parametrize("partitions", [0, 4])
async def test_what_no_handler_takes_yet_waits_for_a_newer_worker_and_loses_no_attempt(
    make_queue, make_worker, start, partitions: int
) -> None:
    """As while a new version is rolled out; one attempt is all there is."""
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}), partitions=partitions)
    old, refused = make_worker(), []

    @old.handler("known")
    async def known(payload: dict[str, int]) -> None:
        raise AssertionError("it cannot read that")

    @old.middleware
    async def note(task: Task, run: Any) -> None:
        refused.append(task.type)
        await run()

    keys = ("a", "b") if partitions else ("", "")
    await queue.enqueue({}, type="new", ordering_key=keys[0])
    await queue.enqueue({"a": "text"}, type="known", ordering_key=keys[1])
    serving = asyncio.create_task(old.serve())

    async def both_wait() -> bool:
        stats = await queue.stats()
        return "known" in refused and stats.scheduled + stats.in_flight == 2 and not stats.waiting

    await eventually(both_wait)
    new, seen = make_worker(), []

    @new.handler
    async def work(payload: dict[str, Any], task: Task) -> None:
        seen.append((task.type, task.attempt))

    old.stop()
    await serving
    start(new)
    await eventually(lambda: sorted(seen) == [("known", 1), ("new", 1)])
    assert not [letter async for letter in queue.dead_letters()]


async def test_handlers_enqueue_through_the_worker_s_own_client(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    worker, seen = make_worker(), []
    with pytest.raises(ConfigurationError, match="not running"):
        _ = worker.client

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)
        if payload < 3:
            await (await worker.client.queue(queue.name)).enqueue(payload + 1)

    await queue.enqueue(1)
    start(worker)
    await eventually(lambda: seen == [1, 2, 3])

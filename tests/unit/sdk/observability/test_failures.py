"""What is said of a task that fails: in the log at each attempt, and in its dead letter."""

import asyncio
import time
from typing import Any

import protoqueue
from protoqueue.observability.tracebacks import MOST_CHARACTERS
from protoqueue.testing import InMemory, in_memory

QUICK: Any = {"max_attempts": 2, "initial_delay": 60, "jitter": 0}


async def run_through(memory: InMemory, worker: protoqueue.Worker, *payloads: Any) -> list[protoqueue.DeadLetter]:
    queue = await memory.client.queue("default/q")
    await queue.enqueue_batch(payloads)
    for _ in range(3):
        await worker.run_once()
        await memory.advance(600)
    return [letter async for letter in queue.dead_letters()]


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    raise ValueError("wörld\n" + "x" * 100_000)


async def test_every_failed_attempt_is_logged_with_its_traceback_and_the_last_one_kept(caplog) -> None:
    worker = protoqueue.Worker("default/q", group="g")

    def look_up(key: str) -> None:
        raise KeyError(key)

    @worker.handler
    async def handle(payload: str) -> None:
        look_up(payload)

    async with in_memory("default/q", group="g", retry=QUICK) as memory:
        (letter,) = await run_through(memory, worker, "missing")
    said = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING", "ERROR"]
    for record in said:
        assert letter.task.id in record.getMessage()
        assert "default/q" in record.getMessage()
        assert record.exc_info is not None
    assert letter.traceback.startswith("Traceback")
    assert letter.traceback.endswith("KeyError: 'missing'")
    assert "in look_up" in letter.traceback
    assert "execute.py" not in letter.traceback


async def test_a_traceback_is_kept_short_with_its_beginning_and_its_end() -> None:
    worker = protoqueue.Worker("default/q", group="g")

    @worker.handler
    def handle(payload: int) -> None:
        try:
            deep(payload)
        except ValueError as error:
            raise RuntimeError("at the end") from error

    @worker.handler("endless")
    def recurse(payload: int) -> None:
        recurse(payload)

    async with in_memory("default/q", group="g", retry=QUICK | {"max_attempts": 1}) as memory:
        letters = await run_through(memory, worker, 200, protoqueue.NewTask(1, type="endless"))
    assert len(letters) == 2
    for letter in letters:
        assert len(letter.traceback) <= MOST_CHARACTERS
        assert letter.traceback.startswith("Traceback")
        assert letter._message.headers["Pq-Traceback"].isascii()
    ends = {letter.error_type: letter.traceback.splitlines()[-1] for letter in letters}
    assert ends["RuntimeError"] == "RuntimeError: at the end"
    assert ends["RecursionError"].startswith("RecursionError")


async def test_what_a_handler_says_on_purpose_needs_no_traceback_in_the_log(caplog) -> None:
    worker = protoqueue.Worker("default/q", group="g")

    @worker.handler
    async def handle(payload: str) -> None:
        raise protoqueue.Reject("no") if payload == "reject" else protoqueue.Retry("not now")

    @worker.handler("typed")
    async def typed(payload: int) -> None: ...

    async with in_memory("default/q", group="g", retry=QUICK) as memory:
        await run_through(memory, worker, "reject", "retry", protoqueue.NewTask("text", type="typed"))
    said = [record for record in caplog.records if "failed" in record.getMessage()]
    assert len(said) == 4
    assert not [record for record in said if record.exc_info]


async def test_a_task_that_is_buried_as_crashed_is_logged_and_its_attempts_are_its_deliveries(caplog) -> None:
    worker = protoqueue.Worker("default/q", group="g")

    @worker.handler
    async def handle(payload: int) -> None: ...

    async with in_memory("default/q", group="g", retry=QUICK, visibility_timeout=30) as memory:
        queue = await memory.client.queue("default/q")
        receipt = await queue.enqueue(1)
        for _ in range(2):
            assert len(await queue.receive(group="g")) == 1  # and never settled
            await memory.advance(31)
        await worker.run_once()
        (letter,) = [letter async for letter in queue.dead_letters()]
    assert (letter.task.id, letter.reason, letter.attempts) == (receipt.id, "Crashed", 2)
    assert "2 times" in letter.error
    (said,) = [record.getMessage() for record in caplog.records if "Crashed" in record.getMessage()]
    for part in (receipt.id, "default/q", "kubectl describe pod"):
        assert part in said


async def test_an_event_loop_that_is_blocked_for_a_third_of_the_lease_is_said_with_what_to_do(caplog) -> None:
    worker = protoqueue.Worker("default/q", group="g")

    @worker.handler
    async def block(payload: float) -> None:
        await asyncio.sleep(0.2)
        time.sleep(payload)  # noqa: ASYNC251  # that is what this is about
        await asyncio.sleep(0.2)

    async with in_memory("default/q", group="g", visibility_timeout=3) as memory:
        queue = await memory.client.queue("default/q")
        await queue.enqueue(1.3)
        await worker.run_once()
    (said,) = [record.getMessage() for record in caplog.records if "blocked" in record.getMessage()]
    assert "make it a plain function" in said

"""What the methods of a client are given: mistakes are refused at once and named, and durations are of either kind."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from protoqueue import ConfigurationError, InvalidTask, Queue, connect
from protoqueue.testing import in_memory

NAN = float("nan")


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        ("enqueue", {"payload": 1, "timeout": "5"}, "timeout: '5' is not a duration in seconds"),
        ("enqueue", {"payload": 1, "timeout": -1}, "timeout: a duration must not be negative"),
        ("enqueue_batch", {"items": [1], "timeout": "5"}, "timeout"),
        ("stats", {"timeout": "5"}, "timeout"),
        ("stats", {"timeout": None}, "timeout"),
        ("purge", {"timeout": NAN}, "timeout"),
        ("cancel", {"task_id": "1", "timeout": "5"}, "timeout"),
        ("peek", {"timeout": "5"}, "timeout"),
        ("peek", {"limit": 2.5}, "limit must be an integer of at least 0, not 2.5"),
        ("receive", {"wait": NAN, "group": "test"}, "wait: nan is not a duration in seconds"),
        ("receive", {"wait": "5", "group": "test"}, "wait"),
        ("receive", {"max_tasks": 2.5, "group": "test"}, "max_tasks must be an integer of at least 1, not 2.5"),
        ("receive", {"max_tasks": 0, "group": "test"}, "max_tasks"),
        ("redrive", {"limit": "3"}, "limit must be an integer of at least 0, not '3'"),
        ("redrive", {"rate": "3"}, "rate must be a number of tasks per second"),
        ("redrive", {"rate": NAN}, "rate must be a number of tasks per second"),
    ],
)
async def test_an_argument_that_cannot_be_is_named_at_once(method: str, arguments: dict[str, Any], says: str) -> None:
    async with in_memory() as memory:
        queue = await memory.client.queue("default/test")
        with pytest.raises(InvalidTask, match=says):
            await asyncio.wait_for(getattr(queue, method)(**arguments), 1)


async def test_a_timeout_of_connect_that_cannot_be_is_named() -> None:
    with pytest.raises(ConfigurationError, match="timeout: 'soon' is not a duration in seconds"):
        await connect("nats://127.0.0.1:1", timeout="soon")  # type: ignore[arg-type]


async def test_a_timedelta_says_as_well_as_seconds_how_long() -> None:
    second = timedelta(seconds=1)
    async with in_memory() as memory, await connect(timeout=second) as client:
        queue: Queue = await client.queue("default/test")
        await queue.enqueue(1, delay=second, expires=5 * second, timeout=second)
        await queue.enqueue_batch([2], timeout=second)
        await memory.advance(2 * second)
        assert [task.payload(int) for task in await queue.receive(wait=second, group="test")] == [2, 1]
        assert (await queue.stats(timeout=second)).in_flight == 2
        assert len(await queue.peek(timeout=second)) == 2
        assert [letter async for letter in queue.dead_letters(timeout=second)] == []
        assert not await queue.cancel("1", timeout=second)
        assert await queue.purge(timeout=second) == 2

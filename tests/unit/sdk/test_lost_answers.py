"""NATS stores something and its answer gets lost, or refuses for a while: nothing is lost or there twice for that."""

import asyncio
from datetime import UTC, datetime

import pytest

from protoqueue import Outgoing, QueueFull, Task, Unavailable, Worker
from protoqueue.ambient import use_broker
from protoqueue.client import Client
from protoqueue.connection import Message
from protoqueue.connection.broker import Published
from protoqueue.naming import DONE_BUCKET, RATE_BUCKET, GroupName, Header, QueueName
from protoqueue.outgoing import prepare
from protoqueue.settings import QueueSettings
from protoqueue.testing import InMemory
from protoqueue.testing.memory import MemoryBroker
from protoqueue.v1 import config_pb2
from waiting import eventually

NAME = GroupName(QueueName("default", "q"), "g")


class Unreliable(MemoryBroker):
    """Loses the answer to the first retry if told so, and refuses the first write to the bucket `full`."""

    def __init__(self, loses_an_answer: bool = False, full: str | None = None) -> None:
        super().__init__()
        self._loses_an_answer, self._full = loses_an_answer, full

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        published = await super().publish(message, timeout_s)
        if Header.ATTEMPT in message.headers and self._loses_an_answer:
            self._loses_an_answer = False
            raise Unavailable("the answer got lost")
        return published

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        if bucket == self._full:
            self._full = None
            raise QueueFull("maximum bytes exceeded")
        return await super().write_key(bucket, key, value, revision, timeout_s)


def queue_on(broker: MemoryBroker, **group: object) -> None:
    memory = InMemory()
    memory.broker = broker
    memory.add_queue(config_pb2.QueueConfig(namespace="default", name="q", priority_levels=1))
    config = config_pb2.GroupConfig(namespace="default", queue="q", name="g", **group)  # type: ignore[arg-type]
    config.consumers.add(name=NAME.level_consumer(0), weight=1)
    memory.add_group(config)


def recording(seen: list[int], error: Exception | None = None) -> Worker:
    worker = Worker("default/q", group="g")

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task.attempt)
        if error:
            raise error

    return worker


async def test_a_retry_whose_first_publish_got_no_answer_is_stored_once() -> None:
    retry = config_pb2.RetryPolicy(max_attempts=5, multiplier=1)
    retry.initial_delay.FromSeconds(60)
    retry.max_delay.FromSeconds(60)
    broker, seen = Unreliable(loses_an_answer=True), list[int]()
    queue_on(broker, retry=retry)
    with use_broker(broker):
        async with Client(broker) as client:
            queue = await client.queue("default/q")
            await queue.enqueue(1)
            assert await recording(seen, ValueError()).run_once() == 1
            stats = await queue.stats()
    assert seen == [1]
    assert (stats.ready, stats.in_flight, stats.scheduled) == (0, 0, 1)


class Slow(MemoryBroker):
    """Stores a retry only once it is `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.released = asyncio.Event(), asyncio.Event()

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        if Header.ATTEMPT in message.headers:
            self.asked.set()
            await self.released.wait()
        return await super().publish(message, timeout_s)


async def test_a_task_whose_outcome_is_being_stored_is_not_cancelled_and_its_worker_goes_on() -> None:
    broker, seen = Slow(), list[int]()
    queue_on(broker)
    worker = recording(seen, ValueError())
    with use_broker(broker):
        async with Client(broker) as client:
            queue = await client.queue("default/q")
            receipt = await queue.enqueue(1)
            serving = asyncio.create_task(worker.serve())
            await asyncio.wait_for(broker.asked.wait(), 10)
            assert not await broker.call(NAME.queue.cancellations, receipt.id.encode(), 1)
            broker.released.set()
            await queue.enqueue(2)
            await eventually(lambda: len(seen) >= 2)
            assert not serving.done()
            worker.stop()
            await serving


@pytest.mark.parametrize("bucket", [DONE_BUCKET, RATE_BUCKET])
async def test_a_bucket_that_refuses_for_a_while_ends_no_worker(bucket: str) -> None:
    broker, seen = Unreliable(full=bucket), list[int]()
    limit = config_pb2.RateLimit(tasks=1000, burst=1000, scope="Group")
    limit.per.FromSeconds(1)
    queue_on(broker, exactly_once=True, rate_limit=limit)
    with use_broker(broker):
        async with Client(broker) as client:
            await (await client.queue("default/q")).enqueue(1)
            assert await recording(seen).run_once() == 1
    assert seen == [1]


@pytest.mark.parametrize(("dedup_id", "duplicate"), [(None, False), ("welcome-1", True)])
def test_a_task_is_no_duplicate_of_its_own_earlier_try(dedup_id: str | None, duplicate: bool) -> None:
    settings = QueueSettings(NAME.queue, "s", "l", "d")
    prepared = prepare(Outgoing(1, dedup_id=dedup_id), "id", datetime.now(UTC), settings, 1_000_000, {})
    assert prepared.receipt(Published(7, duplicate=True)).duplicate is duplicate

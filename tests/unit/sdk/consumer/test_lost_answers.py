"""NATS stores something and its answer gets lost, or refuses for a while: nothing is lost or there twice for that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from protoqueue import QueueFull, Task, Unavailable, Worker
from protoqueue.aio import cancel
from protoqueue.broker import IN_PROGRESS, Message, Published, Revision
from protoqueue.broker.override import use_broker
from protoqueue.client import Client
from protoqueue.protocol.buckets import DONE_BUCKET, RATE_BUCKET
from protoqueue.protocol.config import DEFAULT_VISIBILITY_S
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing import InMemory
from protoqueue.testing.memory import MemoryBroker
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
    assert (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 1)


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
            await asyncio.wait_for(broker.asked.wait(), 60)
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


class Faulty(MemoryBroker):
    """Its first look into the ledger ends in an error that nobody foresaw."""

    faults = 1

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        if bucket == DONE_BUCKET and key != NAME.throttle_key and self.faults:
            self.faults -= 1
            raise RuntimeError("a bug")
        return await super().read_key(bucket, key, timeout_s)


async def test_an_unforeseen_error_costs_a_delivery_and_neither_the_task_nor_its_slot() -> None:
    broker, seen = Faulty(), list[int]()
    queue_on(broker, exactly_once=True)
    with use_broker(broker):
        async with Client(broker) as client:
            await (await client.queue("default/q")).enqueue(1)
            assert await asyncio.wait_for(recording(seen).run_once(), 60) == 1
            assert seen == []
            broker.advance(DEFAULT_VISIBILITY_S)
            assert await recording(seen).run_once() == 1
    assert seen == [1]


class Watched(MemoryBroker):
    """Tells of each lease that is extended, and may be cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.extended, self.connected = 0, True
        self._back: list[Callable[[], None]] = []

    def on_reconnect(self, call: Callable[[], None]) -> None:
        self._back.append(call)

    def reconnect(self) -> None:
        self.connected = True
        for call in self._back:
            call()

    async def answer(self, reply: str, token: bytes) -> None:
        self.extended += token == IN_PROGRESS
        await super().answer(reply, token)


@pytest_asyncio.fixture
async def held() -> AsyncIterator[Callable[[float], Awaitable[Watched]]]:
    """A broker whose one task, lent for so many seconds, a worker holds until the test ends."""
    stack = AsyncExitStack()

    async def hold(lease_s: float) -> Watched:
        broker, started = Watched(), asyncio.Event()
        visibility = Duration()
        visibility.FromMilliseconds(int(lease_s * 1000))
        queue_on(broker, visibility_timeout=visibility)
        stack.enter_context(use_broker(broker))
        client = await stack.enter_async_context(Client(broker))
        await (await client.queue("default/q")).enqueue(1)
        worker = Worker("default/q", group="g", grace_s=0)

        @worker.handler
        async def hang(task: Task) -> None:
            started.set()
            await asyncio.sleep(60)

        serving = asyncio.create_task(worker.serve())
        stack.push_async_callback(cancel, serving)
        await asyncio.wait_for(started.wait(), 60)
        return broker

    async with stack:
        yield hold


async def test_leases_are_not_extended_into_the_buffer_of_a_connection_that_is_away(held) -> None:
    """What is sent while NATS is away is kept, and there is room for no more than two MiB of it: acks need that."""
    broker = await held(0.09)
    await eventually(lambda: broker.extended > 1, interval_s=0.01)
    broker.connected = False
    await asyncio.sleep(0)
    before = broker.extended
    await asyncio.sleep(0.3)  # ten extensions' time: that nothing happens is what is tested
    assert broker.extended == before
    broker.connected = True
    await eventually(lambda: broker.extended > before)


async def test_leases_are_extended_as_soon_as_the_connection_is_back(held) -> None:
    broker = await held(300)
    broker.connected = False
    before = broker.extended
    broker.reconnect()
    await eventually(lambda: broker.extended > before)


class Repeating(MemoryBroker):
    """Publishes everything twice, as where the first answer got lost, and answers as the second time."""

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        await super().publish(message, timeout_s)
        return await super().publish(message, timeout_s)


@pytest.mark.parametrize("dedup_id", [None, "welcome-1"])
async def test_a_task_is_no_duplicate_of_its_own_earlier_try(dedup_id: str | None) -> None:
    broker = Repeating()
    queue_on(broker)
    async with Client(broker) as client:
        queue = await client.queue("default/q")
        receipt = await queue.enqueue(1, dedup_id=dedup_id)
        assert (receipt.duplicate, [task.id for task in await queue.peek()]) == (False, [receipt.id])
        assert (await queue.enqueue(1, dedup_id=dedup_id)).duplicate is (dedup_id is not None)

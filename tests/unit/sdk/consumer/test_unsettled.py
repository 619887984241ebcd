"""Outcomes that cannot be stored: tasks that succeeded, and what is noted when the worker stops."""

import asyncio
from typing import Any

import pytest

from protoqueue import Reject, Worker
from protoqueue.broker import NAK, Message, Published, Revision
from protoqueue.client import Client
from protoqueue.errors import PermissionDenied, Unavailable
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2
from protoqueue.settlement.ledger import Ledger
from protoqueue.testing import in_memory
from protoqueue.testing.memory import MemoryBroker
from waiting import eventually

NAME = GroupName(QueueName("default", "q"), "g")


class Refusing:
    """A user's connection that may not publish what `is_refused` says, until somebody allows it."""

    def __init__(self, broker: MemoryBroker, refused: str) -> None:
        self._broker = broker
        self.refused: str | None = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def _check(self, subject: str) -> None:
        if self.refused is not None and subject.startswith(self.refused):
            raise PermissionDenied(f"may not publish to {subject}")

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        self._check(message.subject)
        return await self._broker.publish(message, timeout_s)

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        self._check(f"$KV.{bucket}.{key}")
        return await self._broker.write_key(bucket, key, value, revision, timeout_s)


async def test_successes_that_the_ledger_does_not_take_hold_no_slots() -> None:
    worker, ran = Worker(str(NAME.queue), group="g", concurrency=2), []

    @worker.handler
    async def work(payload: int) -> None:
        ran.append(payload)

    async with in_memory(str(NAME.queue), group=None) as memory:
        group = config_pb2.GroupConfig(namespace="default", queue="q", name="g", exactly_once=True)
        group.consumers.add(name=NAME.level_consumer(1), level=1, weight=1)
        memory.add_group(group)
        queue = await memory.client.queue(str(NAME.queue))
        await queue.enqueue_batch(list(range(6)))
        connection = Refusing(memory.broker, f"$KV.{DONE_BUCKET}.")
        serving = asyncio.create_task(worker.serve(connection))
        await eventually(lambda: sorted(ran) == list(range(6)))
        connection.refused = None

        async def is_empty() -> bool:
            stats = await queue.stats()
            return stats.waiting + stats.in_flight == 0

        await eventually(is_empty)
        worker.stop()
        await serving
    assert sorted(ran) == list(range(6))


async def test_an_outcome_that_waits_to_be_stored_when_its_worker_is_told_to_stop_is_not_a_crash() -> None:
    worker, more = Worker(str(NAME.queue), group="g", concurrency=1, grace_s=60), asyncio.Event()

    @worker.handler
    async def work(payload: str) -> None:
        if payload == "bad":
            raise Reject("bad")
        more.set()

    def note() -> bytes:
        return memory.broker.key(DONE_BUCKET, NAME.delivery_key(1)).value or b""

    async with in_memory(str(NAME.queue), group="g") as memory:
        queue = await memory.client.queue(str(NAME.queue))
        await queue.enqueue("bad")
        await queue.enqueue("good")
        serving = asyncio.create_task(worker.serve(Refusing(memory.broker, "pqdlq.")))
        await asyncio.wait_for(more.wait(), 60)  # the slot of the first is free
        worker.stop()
        await eventually(lambda: b'"returned"' in note())
        serving.cancel()
        await asyncio.wait([serving])


async def test_a_task_that_the_ledger_knows_is_not_said_to_have_run_twice(caplog: pytest.LogCaptureFixture) -> None:
    worker, ran = Worker(str(NAME.queue), group="g"), []

    @worker.handler
    async def work(payload: int) -> None:
        ran.append(payload)

    async with in_memory(str(NAME.queue), group=None) as memory:
        group = config_pb2.GroupConfig(namespace="default", queue="q", name="g", exactly_once=True)
        group.consumers.add(name=NAME.level_consumer(1), level=1, weight=1)
        memory.add_group(group)
        queue = await memory.client.queue(str(NAME.queue))
        await Ledger(memory.broker, NAME).record((await queue.enqueue(1)).id)
        await worker.run_once()
        assert (await queue.stats()).waiting == 0
        await Ledger(memory.broker, NAME).record((await queue.enqueue(2)).id)
        assert await queue.receive() == []
        assert (await queue.stats()).waiting == 0
    assert ran == []
    assert "twice" not in caplog.text


async def test_a_receive_that_learns_nothing_of_earlier_deliveries_hands_back_and_says_so(caplog) -> None:
    class Unreadable(Refusing):
        async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
            if key != NAME.throttle_key:  # that is looked at before anything is taken
                self._check(f"$KV.{bucket}.{key}")
            return await self._broker.read_key(bucket, key, timeout_s)

    async with in_memory(str(NAME.queue), group="g", retry={"max_attempts": 1}) as memory:
        queue = await memory.client.queue(str(NAME.queue))
        await queue.enqueue(1)
        (task,) = await queue.receive()
        await memory.client._broker.answer(task._delivery.reply, NAK)
        connection = Unreadable(memory.broker, f"$KV.{DONE_BUCKET}.")
        client = Client(connection, owned=False)
        with pytest.raises(Unavailable, match="pq-done"):
            await (await client.queue(str(NAME.queue))).receive(group="g")
        await client.close()
        assert "may not publish" in caplog.text

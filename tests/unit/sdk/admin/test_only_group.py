"""Who does not name the consumer group."""

import asyncio
from typing import Any

import pytest

from protoqueue import ConfigurationError, GroupNotFound, QueueNotFound, Worker
from protoqueue.admin.only_group import only_group
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing import InMemory, in_memory
from protoqueue.testing.memory import MemoryBroker
from waiting import eventually

QUEUE = QueueName("default", "email")


def add_group(memory: InMemory, name: str) -> None:
    config = config_pb2.GroupConfig(namespace="default", queue="email", name=name)
    config.consumers.add(name=GroupName(QUEUE, name).level_consumer(0), level=0, weight=1)
    memory.add_group(config)


async def test_only_the_queue_s_own_living_groups_count() -> None:
    async with in_memory("default/email", group=None) as memory:
        with pytest.raises(QueueNotFound, match="default/other"):
            await only_group(memory.broker, QueueName("default", "other"))
        with pytest.raises(GroupNotFound, match="apply a ConsumerGroup"):
            await only_group(memory.broker, QUEUE)
        add_group(memory, "mailers")
        memory.broker.put_key(CONFIG_BUCKET, GroupName(QueueName("default", "email-2"), "x").config_key, b"{}")
        memory.broker.put_key(CONFIG_BUCKET, QUEUE.freed_key, b"{}")
        memory.broker.put_key(CONFIG_BUCKET, GroupName(QUEUE, "deleted").config_key, None)
        assert await only_group(memory.broker, QUEUE) == GroupName(QUEUE, "mailers")
        add_group(memory, "others")
        with pytest.raises(ConfigurationError, match=r"the groups mailers, others: pass group="):
            await only_group(memory.broker, QUEUE)


async def test_a_worker_without_a_group_waits_until_there_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async with in_memory("default/email", group=None) as memory:
        worker, seen = Worker("default/email"), []

        @worker.handler
        async def work(payload: int) -> None:
            seen.append(payload)

        serving = asyncio.create_task(worker.serve())
        await eventually(lambda: "has no consumer group" in caplog.text)
        add_group(memory, "mailers")
        await (await memory.client.queue("default/email")).enqueue(1, priority=1)
        await eventually(lambda: seen == [1])
        worker.stop()
        await serving


async def test_a_worker_that_waits_for_its_group_can_be_stopped() -> None:
    async with in_memory("default/email", group=None):
        worker = Worker("default/email")

        @worker.handler
        async def work(payload: int) -> None: ...

        serving = asyncio.create_task(worker.serve())
        await asyncio.sleep(0)
        worker.stop()
        await asyncio.wait_for(serving, 60)


async def test_run_once_without_a_group_says_what_is_missing() -> None:
    async with in_memory("default/email", group=None):
        for queue, missing in (("default/other", QueueNotFound), ("default/email", GroupNotFound)):
            worker = Worker(queue)

            @worker.handler
            async def work(payload: int) -> None: ...

            with pytest.raises(missing):
                await worker.run_once(timeout=30)


class Own:
    """A connection of the worker's own."""

    is_closed = False

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def close(self) -> None:
        self.is_closed = True


async def test_a_worker_that_cannot_tell_its_group_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with in_memory("default/email", group=None) as memory:
        for name in ("mailers", "others"):
            add_group(memory, name)
        connection = Own(memory.broker)

        async def connected(*_: object) -> Any:
            return connection

        monkeypatch.setattr("protoqueue.worker.connected_broker", connected)
        worker = Worker("default/email")

        @worker.handler
        async def work(payload: int) -> None: ...

        with pytest.raises(ConfigurationError, match="has the groups"):
            await worker.serve()
        assert connection.is_closed

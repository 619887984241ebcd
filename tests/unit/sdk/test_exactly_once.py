"""Thousands of seeded failures at every step between a handler's end and its ack."""

import random
from collections import Counter

import pytest

from protoqueue import Unavailable, Worker
from protoqueue.ambient import use_broker
from protoqueue.client import Client
from protoqueue.naming import DONE_BUCKET, GroupName, QueueName
from protoqueue.testing import InMemory
from protoqueue.testing.memory import MemoryBroker
from protoqueue.v1 import config_pb2

TASKS = 1500


class FailingBroker(MemoryBroker):
    """Fails at a seeded half of the steps: before it takes something, or after it has taken it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self.failures: Counter[str] = Counter()

    def _fail(self, where: str) -> bool:
        failing = self._chance.random() < 0.25
        self.failures[where] += failing
        return failing

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        if bucket == DONE_BUCKET and self._fail("before the ledger"):
            raise Unavailable("failing")
        number = await super().write_key(bucket, key, value, revision, timeout_s)
        if bucket == DONE_BUCKET and self._fail("after the ledger"):
            raise Unavailable("failing")
        return number

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        if self._fail("before the ack"):
            raise Unavailable("failing")
        await super().answer_confirmed(reply, token, timeout_s)
        if self._fail("after the ack"):
            raise Unavailable("failing")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_each_effect_happens_once_however_often_ledger_and_acks_fail(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protoqueue.ledger._AGAIN_S", 0.001)
    memory = InMemory()
    memory.broker = broker = FailingBroker(seed)
    name = GroupName(QueueName("default", "q"), "g")
    queue_config = config_pb2.QueueConfig(namespace="default", name="q", priority_levels=1)
    memory.add_queue(queue_config)
    group = config_pb2.GroupConfig(namespace="default", queue="q", name="g", exactly_once=True)
    group.consumers.add(name=name.level_consumer(0), weight=1)
    group.visibility_timeout.FromSeconds(1)
    group.retry.max_attempts = 100
    memory.add_group(group)
    effects: Counter[int] = Counter()
    worker = Worker("default/q", group="g", concurrency=20)

    @worker.handler
    async def work(payload: int) -> None:
        effects[payload] += 1

    with use_broker(broker):
        async with Client(broker) as client:
            queue = await client.queue("default/q")
            await queue.enqueue_batch(list(range(TASKS)))
            for _ in range(60):
                await worker.run_once()
                if not (await queue.stats()).in_flight:
                    break
                broker.advance(1.5)
            stats = await queue.stats()
            assert (stats.ready, stats.in_flight, stats.dead) == (0, 0, 0)
    assert effects == dict.fromkeys(range(TASKS), 1)
    assert min(broker.failures.values()) > 100

"""The webhooks example in memory, against its own receiver."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from types import ModuleType

import pytest

from examples.loading import example_module
from protoqueue.protocol.v1.config_pb2 import GroupConfig, QueueConfig
from protoqueue.testing import InMemory, in_memory

KEY = b"secret"
PARTITIONS = 4


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("WEBHOOK_SIGNING_KEY", KEY.decode())
    with example_module("webhooks", "workers") as module:
        yield module


@pytest.fixture
def receiver(workers: ModuleType) -> Iterator[ModuleType]:
    with example_module("webhooks", "receiver") as module:
        yield module


def add_ordered_queue(memory: InMemory) -> None:
    queue = QueueConfig(namespace="default", name="webhooks", ordering_partitions=PARTITIONS)
    queue.dead_letter.enabled = True
    memory.add_queue(queue)
    group = GroupConfig(namespace="default", queue="webhooks", name="senders")
    group.retry.max_attempts, group.retry.multiplier = 10, 1
    group.retry.initial_delay.FromMilliseconds(200)
    group.retry.max_delay.FromMilliseconds(200)
    for partition in range(PARTITIONS):
        group.consumers.add(name=f"senders_o{partition}", partition=partition, weight=1)
    memory.add_group(group)


async def test_each_customer_gets_its_events_in_order_from_an_endpoint_that_fails(
    workers: ModuleType, receiver: ModuleType
) -> None:
    async with in_memory() as memory, receiver.running_receiver(KEY) as (url, endpoint):
        add_ordered_queue(memory)
        queue = await memory.client.queue("default/webhooks")
        customers = ("acme", "initech", "hooli")
        for number in range(5):
            for customer in customers:
                event = workers.Event(url=f"{url}/hooks", customer=customer, number=number)
                await queue.enqueue(event, ordering_key=customer)
        for _ in range(30):
            await workers.worker.run_once()
            await memory.advance(1)
    assert endpoint.requests > 15
    assert endpoint.received == {customer: [0, 1, 2, 3, 4] for customer in customers}


async def test_an_endpoint_that_is_gone_makes_a_dead_letter(workers: ModuleType, receiver: ModuleType) -> None:
    async with in_memory() as memory, receiver.running_receiver(KEY) as (url, _):
        add_ordered_queue(memory)
        queue = await memory.client.queue("default/webhooks")
        await queue.enqueue(workers.Event(url=f"{url}/gone", customer="former", number=0), ordering_key="former")
        await workers.worker.run_once()
        assert [letter.reason async for letter in queue.dead_letters()] == ["Rejected"]


def test_a_request_is_signed_and_says_which_task_it_is(workers: ModuleType) -> None:
    event = workers.Event(url="http://127.0.0.1/hooks", customer="acme", number=3, data={"paid": True})
    request = workers.request(event, "task-1", KEY)
    assert json.loads(request.data) == {"customer": "acme", "number": 3, "data": {"paid": True}}
    assert request.get_header("Webhook-id") == "task-1"
    assert request.get_header("Webhook-signature") == hmac.new(KEY, request.data, hashlib.sha256).hexdigest()


def test_the_receiver_takes_nothing_that_is_signed_with_another_key(receiver: ModuleType) -> None:
    endpoint = receiver.Receiver(KEY)
    assert endpoint.answer("/hooks", "forged", b"{}").startswith("401")
    assert endpoint.forged == 1

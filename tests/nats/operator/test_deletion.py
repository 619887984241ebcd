"""A queue that goes only when it is empty, on a real server: no acknowledged task goes with it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from nats_server import NatsServer
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.contents import contents, own_streams
from protoqueue_operator.jetstream.desired import queue_streams, standing_consumers
from protoqueue_operator.jetstream.diff import CreateConsumer, CreateStream
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.nats.credentials import Credentials
from unit.operator.samples import queue_body
from unit.operator.wired import Wired, make_pool
from waiting import eventually

_numbers = itertools.count(1)
GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER]}


class Api:
    """Of the API server only that finalizers go."""

    def __init__(self) -> None:
        self.released: list[Key] = []

    async def set_finalizers(self, key: Key, _: str, finalizers: tuple[str, ...]) -> dict[str, Any]:
        assert not finalizers
        self.released.append(key)
        return queue_body(name=key.name)

    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"

    async def namespace_is_terminating(self, _: str) -> bool:
        return False


class Nobody:
    """Is told of brokers and queues, and of what there is to report."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


class Going:
    """A Queue with `deletionPolicy: DeleteIfEmpty`, and its streams."""

    def __init__(self, url: str) -> None:
        self.name = QueueName("default", f"going{next(_numbers)}")
        self.api = Api()
        self.brokers = make_pool(self.api, Nobody(), Credentials((url,)))
        self.wired = Wired(self.api, self.brokers, Nobody())

    @property
    def jetstream(self) -> JetStream:
        return self.brokers.own.jetstream

    async def begin(self) -> None:
        self.brokers.start()
        await eventually(lambda: self.brokers.own.connection.is_up)
        # Without its buckets an account may hold no stream for a moment: the server, which removes the folder of the
        # streams then, may do so while it makes the next one, and refuses that.
        await self.brokers.own.configs.get("any")
        queue = self.queue()
        assert isinstance(queue.spec, QueueSpec)
        await apply_plan(self.jetstream, [CreateStream(each) for each in queue_streams(queue, queue.spec)], {})
        standing = standing_consumers(queue, queue.spec, initial_layout(queue.name, queue.spec))
        await apply_plan(self.jetstream, [CreateConsumer(each) for each in standing], {})

    def queue(self) -> Queue:
        body = queue_body({"deletionPolicy": "DeleteIfEmpty", "history": {}}, name=self.name.name, **GOING)
        return self.wired.queue(body)

    async def looked_at(self) -> bool:
        """Whether the queue is gone after another look at it."""
        await self.wired.wiring.queue_deletion.delete(self.queue())
        return bool(self.api.released)

    async def holds(self) -> str:
        return contents(self.queue(), await own_streams(self.queue(), self.jetstream))


@pytest_asyncio.fixture
async def going(server: NatsServer) -> AsyncIterator[Going]:
    going = Going(server.url)
    await going.begin()
    yield going
    await going.brokers.stop()


async def test_an_empty_queue_goes_with_its_streams_and_the_records_of_what_is_done(going: Going) -> None:
    await going.jetstream.publish(going.name.record("done", "one"), b"", {})
    assert await going.looked_at()
    assert await own_streams(going.queue(), going.jetstream) == {}


@pytest.mark.parametrize("kind", ["task", "scheduled"])
async def test_a_task_that_comes_after_the_queue_was_found_empty_keeps_it(
    going: Going, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    update, delete = going.jetstream.update_stream, going.jetstream.delete_stream
    subject = going.name.task(0) if kind == "task" else going.name.scheduled("one")
    due = {"Nats-Schedule": "@at 2100-01-01T00:00:00Z", "Nats-Schedule-Target": going.name.due(going.name.task(0))}
    stored: list[str] = []

    async def one_comes() -> None:
        if not stored:
            stored.append(subject)
            await going.jetstream.publish(subject, b"", {} if kind == "task" else due)

    async def before_an_update(config: dict[str, Any]) -> None:
        await one_comes()
        await update(config)

    async def before_a_deletion(name: str) -> None:
        await one_comes()
        await delete(name)

    monkeypatch.setattr(going.jetstream, "update_stream", before_an_update)
    monkeypatch.setattr(going.jetstream, "delete_stream", before_a_deletion)
    assert not await going.looked_at()
    assert await going.holds() == ("1 task" if kind == "task" else "1 task not yet due")
    await going.jetstream.purge(going.name.stream, going.name.task(0))
    await going.jetstream.purge(going.name.stream, going.name.all_scheduled)
    assert await going.looked_at()


async def test_no_acknowledged_task_goes_with_a_queue_that_producers_go_on_filling(going: Going) -> None:
    for number in range(40):
        acknowledged: list[int] = []

        async def produce(delay_s: float, told: list[int]) -> None:
            await asyncio.sleep(delay_s)  # spreads the first publish over the moments of a deletion
            with suppress(BrokerUnavailable):  # closed, or gone
                for sequence in range(5):
                    await going.jetstream.publish(going.name.task(0), b"")
                    told.append(sequence)

        went, _ = await asyncio.gather(going.looked_at(), produce(number * 0.00025, acknowledged))
        held = await going.jetstream.stream(going.name.stream)
        assert (held["state"]["messages"] if held else 0) == len(acknowledged), f"round {number}"
        assert went == (not acknowledged)
        for name in await own_streams(going.queue(), going.jetstream):
            await going.jetstream.delete_stream(name)
        going.api.released.clear()
        await going.begin()

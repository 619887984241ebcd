"""A queue that leaves one NATS for another, between two real ones: what may still come is not lost on the way."""

import base64
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from nats_server import NatsServer
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.contents import contents, own_streams
from protoqueue_operator.jetstream.desired import queue_streams, standing_consumers
from protoqueue_operator.jetstream.diff import CreateConsumer, CreateStream, UpdateStream
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.queue.relocation import location_of
from unit.operator.samples import queue_body
from unit.operator.wired import Wired, make_pool
from waiting import eventually

NOT_YET, NIGHTLY = "@at 2100-01-01T00:00:00Z", "0 0 3 * * *"
_numbers = itertools.count(1)


class Secrets:
    """Of the API server only what it says of Secrets: each names a server."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}

    async def get(self, key: Key) -> dict[str, Any]:
        url = base64.b64encode(self.urls[key.name].encode()).decode()
        return {"metadata": {"resourceVersion": "1"}, "data": {"url": url}}

    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"


class Nobody:
    """Is told of brokers and queues, and of what there is to report."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


class Move:
    """The Queue lives at the operator's own NATS, and comes to ask for another."""

    def __init__(self, old_url: str, new_url: str) -> None:
        self.name = QueueName("default", f"moving{next(_numbers)}")
        secrets = Secrets()
        secrets.urls["new"] = new_url
        self.brokers = make_pool(secrets, Nobody(), Credentials((old_url,)))
        self.wired = Wired(secrets, self.brokers, Nobody())

    @property
    def old(self) -> JetStream:
        return self.brokers.own.jetstream

    async def begin(self, *kinds: str) -> None:
        """Make the streams where the queue lives: all, or those whose names end like this."""
        self.brokers.start()
        await eventually(lambda: self.brokers.own.connection.is_up)
        queue, spec = self.queue()
        home = await self.wired.wiring.relocation.home_of(queue, spec)
        self.location = (await location_of(home)).model_dump(by_alias=True)
        streams = queue_streams(queue, spec)
        made = [stream for stream in streams if stream.name.endswith(kinds or ("",))]
        await apply_plan(self.old, [CreateStream(stream) for stream in made], {})
        if self.name.stream in {stream.name for stream in made}:
            standing = standing_consumers(queue, spec, initial_layout(queue.name, spec))
            await apply_plan(self.old, [CreateConsumer(each) for each in standing], {})

    def queue(self, **spec: Any) -> tuple[Queue, QueueSpec]:
        body = queue_body(spec, name=self.name.name, generation=1 + len(spec))
        if spec:
            body["status"] = {"nats": self.location}
        queue = self.wired.queue(body)
        assert isinstance(queue.spec, QueueSpec)
        return queue, queue.spec

    async def asks(self, **more: Any) -> bool:
        """Whether the queue lives at the new home, having asked for it."""
        queue, spec = self.queue(nats={"connectionSecretRef": {"name": "new"}}, **more)
        await self.brokers.resolve(queue.meta.key, "new")
        asked = self.brokers.requested(queue.meta.key)
        assert asked
        await eventually(lambda: asked.broker.connection.is_up)
        return (await self.wired.wiring.relocation.home_of(queue, spec)).broker is asked.broker

    async def stored(self, subject: str, when: str = "") -> None:
        """Have a task stored where the queue lives."""
        schedule = {"Nats-Schedule": when, "Nats-Schedule-Target": self.name.due(self.name.task(0))} if when else {}
        await self.old.publish(subject, b"", schedule)

    async def taken_over(self) -> None:
        """Another cluster's Queue of the name takes the streams where the queue lives."""
        queue, spec = self.queue()
        other = replace(queue, meta=replace(queue.meta, uid="of-another-cluster"))
        there = await own_streams(queue, self.old)
        configs = {name: info["config"] for name, info in there.items()}
        await apply_plan(self.old, [UpdateStream(stream) for stream in queue_streams(other, spec)], configs)

    async def holds(self) -> str:
        queue, _ = self.queue()
        return contents(queue, await own_streams(queue, self.old))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("elsewhere"))
    await server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def move(server: NatsServer, elsewhere: NatsServer) -> AsyncIterator[Move]:
    move = Move(server.url, elsewhere.url)
    yield move
    await move.brokers.stop()


async def test_an_empty_queue_moves_and_leaves_nothing(move: Move) -> None:
    await move.begin()
    assert await move.asks()
    assert await own_streams(move.queue()[0], move.old) == {}


@pytest.mark.parametrize("closing", ["dead_letter_stream", "stream"])
async def test_a_task_that_comes_while_the_streams_are_closed_is_not_lost(
    move: Move, monkeypatch: pytest.MonkeyPatch, closing: str
) -> None:
    await move.begin()
    update = move.old.update_stream

    async def and_one_comes(config: dict[str, Any]) -> None:
        if config["name"] == getattr(move.name, closing):
            await move.stored(move.name.task(0))
        await update(config)

    monkeypatch.setattr(move.old, "update_stream", and_one_comes)
    assert not await move.asks()
    assert await move.holds() == "1 task"
    with pytest.raises(BrokerUnavailable):  # closed: whoever produces is told, and nothing more comes in
        await move.stored(move.name.task(0))
    assert not await move.asks()
    assert await move.holds() == "1 task"


async def test_what_is_due_later_keeps_the_queue_whatever_schedules_it_lists_now(move: Move) -> None:
    await move.begin()
    await move.stored(move.name.cron("nightly"), NIGHTLY)
    await move.stored(move.name.scheduled("one"), NOT_YET)
    assert await move.holds() == "1 task not yet due"
    schedules = [{"name": name, "cron": "0 0 3 * * *"} for name in ("nightly", "weekly", "monthly")]
    assert not await move.asks(schedules=schedules)
    assert await move.holds() == "1 task not yet due"


async def test_recurring_tasks_hold_nobody(move: Move) -> None:
    await move.begin()
    await move.stored(move.name.cron("nightly"), NIGHTLY)
    assert await move.asks()


@pytest.mark.parametrize("tasks", [0, 1])
async def test_what_another_cluster_has_taken_over_neither_holds_a_queue_nor_goes_with_it(
    move: Move, tasks: int
) -> None:
    await move.begin()
    await move.taken_over()
    for _ in range(tasks):
        await move.stored(move.name.task(0))
    before = await own_streams(move.queue()[0], move.old)
    assert await move.asks()
    after = await own_streams(move.queue()[0], move.old)
    assert [info["config"] for info in after.values()] == [info["config"] for info in before.values()]


async def test_what_is_left_of_a_queue_without_its_stream_is_not_left_behind(move: Move) -> None:
    await move.begin("_DLQ")
    await move.stored(move.name.dead_letter("mailers"))
    assert not await move.asks()
    assert await move.holds() == "1 dead letter"


SECRETIVE = """
accounts {
  OLD { jetstream: enabled, users: [{user: old, password: pw, permissions: {publish: {deny: "$SYS.REQ.USER.INFO"}}}] }
  NEW { jetstream: enabled, users: [{user: new, password: pw, permissions: {publish: {deny: "$SYS.REQ.USER.INFO"}}}] }
}
"""


async def test_two_accounts_of_one_server_that_names_neither_are_told_apart_by_their_streams(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, SECRETIVE, login="old:pw@")
    await server.start()
    move = Move(*(server.url.replace("//", f"//{user}:pw@") for user in ("old", "new")))
    try:
        await move.begin()
        assert move.location["account"] == ""
        await move.stored(move.name.task(0))
        assert not await move.asks()
        assert await move.holds() == "1 task"
    finally:
        await move.brokers.stop()
        server.kill()

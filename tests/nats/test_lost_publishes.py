"""Connections that break, and answers that get lost, while something is being stored."""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import protoqueue
from nats_server import taken_in
from protoqueue import Unavailable
from protoqueue.broker import ConnectionOptions, Message, atomic_batch, jetstream
from provisioning import GroupSpec
from waiting import eventually


class Relay:
    """A way to the server. It does what it is told at the first bytes of a client's that hold `at`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.at: bytes | None = None
        self.passes_on = True
        """Whether the server gets those bytes."""
        self.is_deaf = False
        """Whether what the server says is lost, as it is from then on."""
        self.reached = asyncio.Event()
        self.bytes_per_s = math.inf
        """How much the server gets, as over a slow link."""

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        assert self._server
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection; new ones are whole."""
        self.at, self.is_deaf = None, False
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        mine = {writer, server_writer}
        self._writers |= mine
        await asyncio.gather(self._pass_on(reader, server_writer), self._answer(server_reader, writer))
        self._writers -= mine

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if self.at and self.at in data:
                    self.is_deaf = True
                    self.reached.set()
                    if not self.passes_on:
                        continue
                writer.write(data)
                await asyncio.sleep(len(data) / self.bytes_per_s)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if not self.is_deaf:
                    writer.write(data)
        writer.close()


@pytest_asyncio.fixture
async def relay(server) -> AsyncIterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.stop()


@pytest.mark.parametrize("passes_on", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize("at", [b"Nats-Batch-Sequence: 1\r", b"Nats-Batch-Sequence: 2\r", b"Nats-Batch-Commit"])
async def test_a_batch_whose_connection_breaks_is_stored_once_by_who_waits(
    make_queue, queue_name, relay: Relay, monkeypatch, at: bytes, passes_on: bool
) -> None:
    monkeypatch.setattr(atomic_batch, "ONE_TRY_S", 60)  # that the connection is back is reason enough to try again
    direct = await make_queue(GroupSpec())
    async with await protoqueue.connect(await relay.start()) as client:
        queue = await client.queue(f"default/{queue_name}")
        relay.at, relay.passes_on = at, passes_on
        storing = asyncio.create_task(queue.enqueue_batch(range(50), timeout=None))
        await asyncio.wait_for(relay.reached.wait(), 60)
        if passes_on and at == b"Nats-Batch-Commit":

            async def is_stored() -> bool:
                return (await direct.stats()).waiting == 50

            await eventually(is_stored)
        relay.cut()
        receipts = await asyncio.wait_for(storing, 60)
    tasks = await direct.peek(100)
    assert [task.id for task in tasks] == [receipt.id for receipt in receipts]
    assert not any(receipt.duplicate for receipt in receipts)


@pytest.mark.parametrize("passes_on", [True, False], ids=["stored", "not stored"])
async def test_a_task_whose_connection_breaks_is_stored_once_as_soon_as_there_is_one_again(
    make_queue, queue_name, relay: Relay, monkeypatch, passes_on: bool
) -> None:
    monkeypatch.setattr(jetstream, "ONE_TRY_S", 60)
    direct = await make_queue(GroupSpec())
    async with await protoqueue.connect(await relay.start()) as client:
        queue = await client.queue(f"default/{queue_name}")
        relay.at, relay.passes_on = b"Nats-Msg-Id", passes_on
        storing = asyncio.create_task(queue.enqueue(1, timeout=60))
        await asyncio.wait_for(relay.reached.wait(), 60)
        if passes_on:

            async def is_stored() -> bool:
                return (await direct.stats()).waiting == 1

            await eventually(is_stored)
        relay.cut()
        receipt = await asyncio.wait_for(storing, 60)
    assert [task.id for task in await direct.peek(10)] == [receipt.id]


async def test_an_answer_that_got_lost_is_asked_for_again_within_the_timeout(
    make_queue, queue_name, relay: Relay
) -> None:
    direct = await make_queue(GroupSpec())
    async with await protoqueue.connect(await relay.start()) as client:
        queue = await client.queue(f"default/{queue_name}")
        relay.at = b"Nats-Msg-Id"
        storing = [
            asyncio.create_task(queue.enqueue(1, timeout=60)),
            asyncio.create_task(queue.enqueue_batch([2, 3], timeout=60)),
        ]
        await asyncio.wait_for(relay.reached.wait(), 60)
        relay.at = None

        async def is_stored() -> bool:
            return (await direct.stats()).waiting >= 1

        await eventually(is_stored)
        relay.is_deaf = False
        await asyncio.wait_for(asyncio.gather(*storing), 60)
    assert (await direct.stats()).waiting == 3


async def test_a_batch_gives_up_after_its_timeout(make_queue, queue_name, relay: Relay) -> None:
    direct = await make_queue(GroupSpec())
    async with await protoqueue.connect(await relay.start()) as client:
        queue = await client.queue(f"default/{queue_name}")
        relay.at, relay.passes_on = b"Nats-Batch-Commit", False
        with pytest.raises(Unavailable, match=r"3 tasks .*: NATS did not respond \(timeout 0\.3 s\)"):
            await asyncio.wait_for(queue.enqueue_batch(range(3), timeout=0.3), 60)
        await client.close()
        with pytest.raises(Unavailable, match="closed"):
            await asyncio.wait_for(queue.enqueue_batch(range(3), timeout=None), 60)
    assert (await direct.stats()).waiting == 0


async def test_what_waits_for_an_answer_is_told_when_the_client_is_closed(
    make_queue, queue_name, relay: Relay, monkeypatch
) -> None:
    for module in (atomic_batch, jetstream):
        monkeypatch.setattr(module, "ONE_TRY_S", 60)
    await make_queue(GroupSpec())
    client = await protoqueue.connect(await relay.start())
    queue = await client.queue(f"default/{queue_name}")
    relay.at = b"Nats-Msg-Id"
    storing = [
        asyncio.create_task(queue.enqueue(1, timeout=None)),
        asyncio.create_task(queue.enqueue_batch([2, 3], timeout=None)),
    ]
    await asyncio.wait_for(relay.reached.wait(), 60)
    await client.close()
    for told in await asyncio.wait_for(asyncio.gather(*storing, return_exceptions=True), 60):
        assert isinstance(told, Unavailable)
        assert "closed" in str(told)


async def test_closing_raises_nothing_while_nats_is_away_and_something_is_left_to_send(
    make_queue, queue_name, relay: Relay
) -> None:
    await make_queue(GroupSpec())
    client = await protoqueue.connect(await relay.start())
    queue = await client.queue(f"default/{queue_name}")
    relay.stop()
    for _ in range(2):  # the first is sent into the connection that breaks, the second waits for another
        with pytest.raises(Unavailable, match="not connected to NATS"):
            await queue.enqueue(1, timeout=0.5)
    await asyncio.wait_for(client.close(), 60)


async def test_a_batch_that_takes_longer_than_one_try_is_stored_within_its_timeout(
    make_queue, queue_name, relay: Relay, monkeypatch
) -> None:
    monkeypatch.setattr(atomic_batch, "ONE_TRY_S", 0.2)
    direct = await make_queue(GroupSpec())
    relay.bytes_per_s = 2_000_000
    async with await protoqueue.connect(await relay.start()) as client:
        queue = await client.queue(f"default/{queue_name}")
        await asyncio.wait_for(queue.enqueue_batch([bytes(100_000)] * 20, timeout=None), 60)
    assert (await direct.stats()).waiting == 20


PASSING = {
    10008: "JetStream system temporarily unavailable",
    10009: "JetStream cluster can not handle request",
    10023: "insufficient resources",
}


@pytest.fixture
async def unwilling(nc, queue_name):
    """Answers publishes to `unwilling.<queue>` with each of the passing errors, then as JetStream does."""
    refusals = [{"error": {"code": 503, "err_code": code, "description": text}} for code, text in PASSING.items()]

    async def answer(message) -> None:
        number = 3 - len(refusals)
        await message.respond(json.dumps(refusals.pop(0) if refusals else {"stream": "S", "seq": number + 1}).encode())

    subscription = await nc.subscribe(f"unwilling.{queue_name}", cb=answer)
    await taken_in(nc)
    yield f"unwilling.{queue_name}"
    await subscription.unsubscribe()


@pytest.mark.parametrize("timeout_s", [None, 30])
async def test_what_jetstream_cannot_do_for_now_is_asked_again_within_the_timeout(
    server, unwilling: str, timeout_s: float | None
) -> None:
    broker = await jetstream.JetStreamBroker.connect(ConnectionOptions(server.url), 5)
    assert (await broker.publish(Message(unwilling, b""), timeout_s)).sequence == 4
    await broker.close()


async def test_what_jetstream_cannot_do_until_the_timeout_is_over_says_why(server, nc, queue_name) -> None:
    async def refuse(message) -> None:
        await message.respond(json.dumps({"error": {"err_code": 10023, "description": PASSING[10023]}}).encode())

    subscription = await nc.subscribe(f"unwilling.{queue_name}", cb=refuse)
    await taken_in(nc)
    broker = await jetstream.JetStreamBroker.connect(ConnectionOptions(server.url), 5)
    with pytest.raises(Unavailable, match="insufficient resources"):
        await broker.publish(Message(f"unwilling.{queue_name}", b""), 0.3)
    await broker.close()
    await subscription.unsubscribe()

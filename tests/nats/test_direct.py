"""What the SDK needs of nats-py's inner workings for its short way in, and what requests over it do."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.errors import FlushTimeoutError

from nats_server import NatsServer, taken_in
from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.pull_inbox import JetStreamInbox
from protoqueue.broker.requests import NoResponders, Requests
from waiting import eventually


@pytest_asyncio.fixture
async def direct(server: NatsServer) -> AsyncIterator[DirectClient]:
    client = DirectClient()
    await client.connect(server.url)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def requests(direct: DirectClient) -> Requests:
    requests = Requests(direct)
    await requests.open()
    return requests


async def test_messages_come_as_they_were_sent_and_in_order(direct: DirectClient, nc: Nats, queue_name: str) -> None:
    seen: list[tuple[bytes, ...]] = []
    await direct.subscribe_direct(f"{queue_name}.*", lambda *message: seen.append(message))
    await taken_in(direct)
    await nc.publish(f"{queue_name}.1", b"\r\nPUB x", reply="to.me", headers={"A": "1"})
    for number in range(2, 1000):
        await nc.publish(f"{queue_name}.{number}")
    await eventually(lambda: len(seen) == 999)
    assert seen[0] == (f"{queue_name}.1".encode(), b"to.me", b"\r\nPUB x", b"NATS/1.0\r\nA: 1\r\n\r\n")
    assert seen[1:] == [(f"{queue_name}.{number}".encode(), b"", b"", b"") for number in range(2, 1000)]


async def test_an_error_in_one_message_is_reported_and_the_next_still_comes(server: NatsServer, nc: Nats) -> None:
    errors: list[Exception] = []

    async def note(error: Exception) -> None:
        errors.append(error)

    client, seen = DirectClient(), []
    await client.connect(server.url, error_cb=note)
    await client.subscribe_direct("failing", lambda _s, _r, data, _h: seen.append(int(data)))
    await taken_in(client)
    for data in (b"1", b"no number", b"2"):
        await nc.publish("failing", data)
    await eventually(lambda: seen == [1, 2])
    await client.close()
    assert [type(error) for error in errors] == [ValueError]


async def test_what_was_sent_before_the_end_of_a_subscription_comes_and_nothing_after(
    direct: DirectClient, nc: Nats, queue_name: str
) -> None:
    seen: list[bytes] = []
    subscription = await direct.subscribe_direct(queue_name, lambda _s, _r, data, _h: seen.append(data))
    await taken_in(direct)
    for _ in range(500):
        await nc.publish(queue_name, b"before")
    await taken_in(nc)
    await direct.end(subscription)
    assert seen == [b"before"] * 500
    await nc.publish(queue_name, b"after")
    await taken_in(nc)
    await taken_in(direct)
    assert len(seen) == 500


async def test_other_subscriptions_get_their_messages_as_ever(direct: DirectClient, nc: Nats, queue_name: str) -> None:
    ours = await direct.subscribe(queue_name)
    await taken_in(direct)
    await nc.publish(queue_name, b"x", headers={"A": "1"})
    message = await ours.next_msg(60)
    assert (message.data, message.headers) == (b"x", {"A": "1"})


async def test_messages_come_again_after_a_reconnect(tmp_path: Path) -> None:
    server, client, seen = NatsServer(tmp_path), DirectClient(), []
    await server.start()
    await client.connect(server.url, reconnect_time_wait=0, max_reconnect_attempts=-1)
    await client.subscribe_direct("here", lambda _s, _r, data, _h: seen.append(data))
    server.kill()
    await server.start()

    async def arrives() -> bool:
        await client.publish("here", b"again")
        return bool(seen)

    await eventually(arrives)
    await client.close()
    server.kill()


async def test_commands_are_sent_in_order_with_what_is_published(direct: DirectClient, queue_name: str) -> None:
    seen: list[bytes] = []
    await direct.subscribe_direct(queue_name, lambda _s, _r, data, _h: seen.append(data))
    await direct.publish(queue_name, b"1")
    await direct.send(f"PUB {queue_name} 1\r\n2\r\n".encode())
    await direct.publish(queue_name, b"3")
    await eventually(lambda: seen == [b"1", b"2", b"3"])
    await direct.send(f"PUB {queue_name} 1\r\n4\r\n".encode())
    assert direct._flush_queue.qsize() == 1  # else it waits for what is sent next
    await eventually(lambda: seen[3:] == [b"4"])


async def test_each_request_gets_its_own_answer(requests: Requests, nc: Nats, queue_name: str) -> None:
    waiting: list[tuple[str, bytes]] = []

    async def answer_backwards(message) -> None:
        waiting.append((message.reply, message.data))
        if len(waiting) == 50:
            for reply, data in reversed(waiting):
                await nc.publish(reply, b"to " + data)

    await nc.subscribe(queue_name, cb=answer_backwards)
    await taken_in(nc)
    answers = await asyncio.gather(*(requests.ask(queue_name, b"%d" % n, {"A": "1"}, 10) for n in range(50)))
    assert answers == [b"to %d" % number for number in range(50)]


async def test_only_the_first_answer_counts(requests: Requests, nc: Nats, queue_name: str) -> None:
    async def answer_twice(message) -> None:
        await nc.publish(message.reply, b"first")
        await nc.publish(message.reply, b"second")

    await nc.subscribe(queue_name, cb=answer_twice)
    await taken_in(nc)
    assert [await requests.ask(queue_name, b"", None, 5) for _ in range(20)] == [b"first"] * 20


async def test_a_request_that_nobody_listens_to_fails_at_once(requests: Requests, queue_name: str) -> None:
    began = time.monotonic()
    with pytest.raises(NoResponders):
        await requests.ask(queue_name, b"", None, 30)
    assert time.monotonic() - began < 10


async def test_a_request_without_an_answer_times_out(requests: Requests, nc: Nats, queue_name: str) -> None:
    await nc.subscribe(queue_name)
    await taken_in(nc)
    with pytest.raises(TimeoutError):
        await requests.ask(queue_name, b"", None, 0.05)


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(
    requests: Requests, nc: Nats, queue_name: str
) -> None:
    asked = await nc.subscribe(queue_name)
    await taken_in(nc)
    asking = asyncio.create_task(requests.ask(queue_name, b"", None, 30))
    await asked.next_msg(60)
    [answer] = requests._waiting.values()
    answer.set_result(b"yes")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not requests._waiting


async def test_an_inbox_that_is_withdrawn_while_nats_is_away_leaves_nothing_behind_and_waits_for_nobody(
    tmp_path: Path,
) -> None:
    """Else each outage left a subscription for every consumer, which each reconnect renewed."""
    server, client = NatsServer(tmp_path), DirectClient()
    await server.start()
    await client.connect(server.url, reconnect_time_wait=0.1, max_reconnect_attempts=-1)
    inbox = JetStreamInbox(client, "s", "c", lambda _delivery: None, lambda _end: None)
    await inbox.request(1, 5)
    server.kill()
    await eventually(lambda: not client.is_connected)
    await asyncio.wait_for(inbox.withdraw(), 60)
    assert not client._subs
    assert not client._arrived
    await client.close()


async def test_a_subscription_s_end_is_asked_for_before_its_last_messages_are_waited_for() -> None:
    """Else what the server sends in between would be dropped, and a task wait for the end of its lease."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"headers": true, "max_payload": 1048576}\r\n')
        while line := await reader.readline():
            lines.append(line.split()[0])
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        client = DirectClient()
        await client.connect(f"nats://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await client.end(await client.subscribe_direct("here", lambda *_: None))
        await client.close()
    assert lines[-2:] == [b"UNSUB", b"PING"]


class Unanswered(DirectClient):
    async def flush(self, timeout: int = 0) -> None:
        raise FlushTimeoutError


async def test_an_inbox_whose_withdrawal_nats_never_answers_leaves_nothing_behind(server: NatsServer) -> None:
    client = Unanswered()
    await client.connect(server.url)
    inbox = JetStreamInbox(client, "s", "c", lambda _delivery: None, lambda _end: None)
    await inbox.request(1, 5)
    await inbox.withdraw()
    assert not client._subs
    assert not client._arrived
    await client.close()

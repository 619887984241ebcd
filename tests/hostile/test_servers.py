"""What answers at the address in somebody's Secret may be anything: it costs its own queues, and nobody else's."""

import asyncio
import itertools
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

import protoqueue
from doors import password
from hostile.peers import Peer, Serve, answering, http, info, letting_in, without_tls
from ports import free_port
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import parse_credentials
from waiting import eventually

MIB = 1024 * 1024
PASSWORD = password()


@asynccontextmanager
async def tenants(url: str, **keys: str) -> AsyncIterator[Connection]:
    """The operator's connection to what a Secret names."""
    connection = Connection(parse_credentials({"url": url, **keys}, "it"), lambda _: None, trusted=False)
    connection.open()
    try:
        yield connection
    finally:
        await connection.close()


def address(peer: Peer, scheme: str = "nats", login: str = "") -> str:
    return f"{scheme}://{login}127.0.0.1:{peer.port}"


async def test_a_message_without_end_is_not_waited_for() -> None:
    sent = 0

    async def endless(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"MSG x 1 999999999999\r\n")
        while True:
            writer.write(b"x" * MIB)
            await writer.drain()
            sent += 1

    async with Peer(letting_in(endless)) as peer, tenants(address(peer)):
        await eventually(lambda: peer.connections > 3)
        assert sent / peer.connections < 16, "MiB that were read before it was given up"


@pytest.mark.parametrize("opening", [b"INFO {", b"MSG " + b"x" * 100, b"-ERR 'x", b"+OK "])
async def test_a_line_without_end_is_not_waited_for(opening: bytes) -> None:
    async def endless(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(opening)
        while True:
            writer.write(b"x" * MIB)
            await writer.drain()

    async with Peer(letting_in(endless)) as peer, tenants(address(peer)):
        await eventually(lambda: peer.connections > 2)


async def test_a_flood_of_messages_is_read_at_a_pace_that_leaves_time_and_memory_to_others() -> None:
    sent, beats = 0, [time.monotonic()]

    async def flood(sid: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        message = b"MSG $JS.EVENT.ADVISORY.STREAM.DELETED.x %s 1024\r\n" % sid + b"x" * 1024 + b"\r\n"
        while True:
            writer.write(message * 500)
            await writer.drain()
            sent += 500 * len(message)

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.02)
            beats.append(time.monotonic())

    heard: list[object] = []
    async with Peer(answering(b"{}", flood)) as peer, tenants(address(peer)) as connection:
        await eventually(lambda: connection.is_up)
        await connection.subscribe("$JS.EVENT.ADVISORY.>", heard.append)
        beating = asyncio.create_task(beat())
        started = time.monotonic()
        await eventually(lambda: time.monotonic() - started > 6)
        beating.cancel()
        seconds = time.monotonic() - started
        assert len(heard) > 100
        assert sent < (4 * (4 + seconds) + 24) * MIB
        assert max(after - before for before, after in itertools.pairwise(beats)) < 2


async def test_garbage_in_place_of_a_greeting_ends_no_connection_for_good() -> None:
    garbage = [
        b"INFO []\r\n",
        b'INFO {"max_payload": "x"}\r\n',
        b"INFO \xff\xfe\r\n",
        b"x" * 100_000,
        b"\r\n\r\n",
        b"INFO null\r\n",
    ]

    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer.connections == 1:
            await letting_in(hang_up)(peer, reader, writer)
        else:
            writer.write(garbage[peer.connections % len(garbage)])
            await writer.drain()

    async def hang_up(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async with Peer(serve) as peer, tenants(address(peer)) as connection:
        await eventually(lambda: peer.connections > len(garbage) + 2)
        with pytest.raises(BrokerUnavailable, match="no connection"):
            await connection.request("x", b"", 1)


GARBAGE = {
    "no JSON": b"\x00\xff",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "many digits": b"9" * 10_000,
    "an error that is none": b'{"error": 7}',
    "an error without text": b'{"error": {"code": []}}',
    "nothing that is asked for": b"{}",
    "other types": b'{"config": [], "state": 1, "streams": {}, "consumers": "x", "total": "y", "message": 3}',
    "a list of other things": b'{"streams": [1, null], "consumers": [[]], "missing": [{}], "total": 2}',
    "half of it": b'{"config": {"name": "x"}, "state": {}, "stream_name": 1}',
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_answers_that_make_no_sense_are_a_condition_as_silence_is(what: str) -> None:
    async with Peer(answering(GARBAGE[what])) as peer, tenants(address(peer)) as connection:
        await eventually(lambda: connection.is_up)
        jetstream = JetStream(connection)
        for ask in (
            lambda: jetstream.stream("s"),
            lambda: jetstream.consumers("s"),
            lambda: jetstream.consumer("s", "c"),
            lambda: jetstream.last_message("s", "x"),
            lambda: jetstream.create_consumer("s", {"name": "c"}),
            lambda: anext(jetstream.streams()),
        ):
            with pytest.raises(BrokerUnavailable, match="answers that are not JetStream's"):
                await ask()
        assert isinstance(await connection.account(), str)


@pytest.mark.parametrize("client", ["operator", "SDK"])
async def test_what_a_server_says_is_one_line_without_control_characters_and_not_long(
    client: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def curse(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR 'evil \x1b[2J\x07\rroot: all is well " + b"y" * 3000 + b"'\r\n")
        await writer.drain()
        await peer.hear(reader)

    async with Peer(letting_in(curse)) as peer:
        if client == "operator":
            async with tenants(address(peer)):
                await eventually(lambda: "evil" in caplog.text)
        else:
            connecting = asyncio.create_task(protoqueue.connect(address(peer), timeout=60))
            await eventually(lambda: "evil" in caplog.text)
            connecting.cancel()
            await asyncio.wait([connecting])
    for record in caplog.records:
        if "evil" in record.getMessage():
            assert record.getMessage().isprintable()
            assert len(record.getMessage()) < 600


async def test_who_names_an_address_learns_nothing_of_what_listens_there() -> None:
    async with (
        Peer(http(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as web,
        Peer(lambda peer, reader, writer: peer.hear(reader)) as silent,
    ):
        said = set()
        urls = [address(web), address(silent), f"nats://127.0.0.1:{free_port()}", "nats://no-such-host.invalid:4222"]
        for url in urls:
            async with tenants(url) as connection:
                await eventually(lambda connection=connection: connection._troubles)
                with pytest.raises(BrokerUnavailable) as raised:
                    await connection.request("x", b"", 1)
                said.add(str(raised.value).replace(connection.shown, "there"))
        assert said == {"no connection to there; retrying, see the operator's log"}


async def test_errors_that_differ_each_time_make_no_condition_longer() -> None:
    connection = Connection(parse_credentials({"url": "nats://a"}, "it"), lambda _: None)
    for number in range(1000):
        await connection._failed(OSError(f"<object at {number:#x}> {'x' * 1000}"))
        await connection._failed(type(f"E{number}", (Exception,), {})("\x1b\n" * 1000))
    with pytest.raises(BrokerUnavailable) as raised:
        await connection.request("x", b"", 1)
    assert len(str(raised.value)) < 8 * 400
    condition = Condition(type="Ready", status="False", reason="NatsUnavailable", message="x\x1b\n" * 50_000)
    assert len(condition.message) <= 2048
    assert condition.message.isprintable()


def refusing(_port: int) -> Serve:
    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(info(auth_required=True))
        peer.heard += await reader.readline()
        writer.write(b"-ERR 'Authorization Violation'\r\n")

    return serve


ANSWERS: dict[str, Callable[[], Serve]] = {
    "refuses": lambda: refusing(0),
    "no TLS": lambda: without_tls,
    "403": lambda: http(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
    "redirects": lambda: http(b"HTTP/1.1 301 x\r\nLocation: /y\r\n\r\n"),
    "nonsense": lambda: http(b"\x00\x01\x02 no protocol at all\r\n\r\n"),
    "echo": lambda: echo,
}


async def echo(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says again what it is told, as an error."""
    writer.write(info(auth_required=True))
    line = await reader.readline()
    writer.write(b"-ERR '" + line.strip() + b"'\r\n")
    await writer.drain()


LOGINS: tuple[tuple[str, dict[str, str]], ...] = (
    (f"jo:{PASSWORD}@", {}),
    (f"{PASSWORD}@", {}),
    ("", {"user": "jo", "password": PASSWORD}),
    ("", {"token": PASSWORD}),
)
"""In the address, or beside it in the Secret."""


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("scheme", ["nats", "tls", "ws", "wss"])
async def test_no_login_is_logged_or_raised_whatever_answers(
    scheme: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.DEBUG)

    async def operator(login: str, keys: dict[str, str], *, trusted: bool) -> None:
        async with Peer(ANSWERS[answer]()) as peer:
            credentials = parse_credentials({"url": address(peer, scheme, login), **keys}, "it")
            connection = Connection(credentials, lambda _: None, trusted=trusted)
            connection.open()
            await eventually(lambda: peer.connections)
            await eventually(lambda: connection._troubles)
            with pytest.raises(BrokerUnavailable) as refused:
                await connection.request("x", b"", 1)
            await connection.close()
        assert PASSWORD not in str(refused.value)

    async def sdk(login: str) -> None:
        async with Peer(ANSWERS[answer]()) as peer:
            with pytest.raises(protoqueue.ProtoQueueError) as raised:
                await protoqueue.connect(address(peer, scheme, login), timeout=1.5)
        assert PASSWORD not in repr(raised.value)
        assert PASSWORD not in re.sub(r"\s", "", str(raised.value.__cause__))

    # All at once: a server that says nothing of NATS is given up only after seconds.
    await asyncio.gather(
        *(operator(login, keys, trusted=trusted) for login, keys in LOGINS for trusted in (True, False)),
        *(sdk(login) for login, keys in LOGINS if not keys),
    )
    assert PASSWORD not in caplog.text

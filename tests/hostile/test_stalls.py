"""A server that stalls while a connection is made costs the connect timeout: then comes the next try."""

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

import protoqueue
from hostile.peers import Peer, Serve, info, letting_in
from protoqueue.broker.reconnecting_client import ReconnectingClient
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import parse_credentials
from waiting import eventually

CLOSED_WITHIN_S = 30.0
CONNECT_TIMEOUT_S = {"SDK": 2.0, "operator": 5.0}
LATE_S = 5.0
"""By how much a busy machine may be late."""

AUTHORITY = trustme.CA()
TLS = info(tls_required=True)


def server_context(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


class Stalling:
    """Serves `stall` to connections of those numbers, and lets in who comes with another."""

    def __init__(self, stall: Serve, numbers: range) -> None:
        self._stall = stall
        self._numbers = numbers
        self._is_encrypted = stall in ENCRYPTED
        self.began: list[float] = []
        """When each connection was made."""
        self.let_in = 0
        self.ends = asyncio.Event()
        """Ends the first connection."""

    async def __call__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.began.append(time.monotonic())
        if peer.connections in self._numbers:
            await self._stall(peer, reader, writer)
            return
        if self._is_encrypted:
            writer.write(TLS)
            await writer.start_tls(server_context())
        else:
            writer.write(info())
        pongs = asyncio.create_task(self._pongs(reader, writer))
        ends = asyncio.create_task((self.ends if peer.connections == 1 else asyncio.Event()).wait())
        await asyncio.wait([pongs, ends], return_when=asyncio.FIRST_COMPLETED)
        pongs.cancel()
        ends.cancel()

    async def _pongs(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_let_in = False
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
                self.let_in += not is_let_in
                is_let_in = True

    @property
    def longest_try_s(self) -> float:
        return max(after - before for before, after in itertools.pairwise(self.began))


async def says_nothing(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.hear(reader)


async def greets_by_half(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(info()[:20])
    await peer.hear(reader)


async def drips(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A greeting that always goes on and never ends."""
    hearing = asyncio.create_task(peer.hear(reader))
    writer.write(b"INFO {")
    while not hearing.done():
        writer.write(b" ")
        await asyncio.wait([hearing], timeout=0.2)


async def greets_and_says_nothing(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The client says who it is and asks for an answer."""
    writer.write(info())
    await peer.hear(reader)


async def lets_in_and_says_nothing(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await letting_in(says_nothing)(peer, reader, writer)


async def says_nothing_in_the_handshake(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TLS)
    await peer.hear(reader)


async def hangs_up_before_the_handshake(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TLS)
    await writer.drain()


async def hangs_up_in_the_handshake(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TLS)
    await reader.read(1)


async def resets_in_the_handshake(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TLS)
    await reader.read(1)
    writer.transport.abort()


async def handshakes_in_plain_text(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TLS)
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await peer.hear(reader)


async def shows_an_unknown_certificate(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(TLS)
    with contextlib.suppress(OSError):
        await writer.start_tls(server_context(trustme.CA()))
        await peer.hear(reader)


async def says_nothing_once_encrypted(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Not even that it has heard that the connection ends: it reads no more."""
    number = peer.connections
    writer.write(TLS)
    await writer.start_tls(server_context())
    await reader.readuntil(b"PING\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await eventually(lambda: peer.connections > number)


PLAIN: list[Serve] = [says_nothing, greets_by_half, drips, greets_and_says_nothing]
ENCRYPTED: list[Serve] = [
    says_nothing_in_the_handshake,
    hangs_up_before_the_handshake,
    hangs_up_in_the_handshake,
    resets_in_the_handshake,
    handshakes_in_plain_text,
    shows_an_unknown_certificate,
    says_nothing_once_encrypted,
]
STALLS = PLAIN + ENCRYPTED


@asynccontextmanager
async def seeking(client: str, url: str, ca: Path) -> AsyncIterator[None]:
    """A connection that is made in the background."""
    if client == "operator":
        keys = {"ca.crt": AUTHORITY.cert_pem.bytes().decode()} if url.startswith("tls") else {}
        connection = Connection(parse_credentials({"url": url, **keys}, "it"), lambda _: None)
        connection.open()
        try:
            yield
        finally:
            await asyncio.wait_for(connection.close(), CLOSED_WITHIN_S)
        return

    async def connect() -> protoqueue.Client:
        return await protoqueue.connect(url, ca=str(ca) if url.startswith("tls") else None, timeout=300)

    connecting = asyncio.create_task(connect())
    try:
        yield
        client_ = await connecting
        await asyncio.wait_for(client_.close(), CLOSED_WITHIN_S)
    finally:
        connecting.cancel()
        await asyncio.wait([connecting])


async def outlast(stall: Serve, client: str, ca: Path, *, reconnecting: bool) -> float:
    """How long the longest try took, the wait for the next one with it."""
    stalling = Stalling(stall, range(2, 4) if reconnecting else range(1, 3))
    async with Peer(stalling) as peer:
        scheme = "tls" if stall in ENCRYPTED else "nats"
        async with seeking(client, f"{scheme}://127.0.0.1:{peer.port}", ca):
            if reconnecting:
                await eventually(lambda: stalling.let_in == 1)
                stalling.ends.set()
            await eventually(lambda: stalling.let_in == 1 + reconnecting)
        return stalling.longest_try_s


async def outlast_all(stalls: Sequence[Serve], client: str, ca: Path, *, reconnecting: bool) -> None:
    tries = [outlast(stall, client, ca, reconnecting=reconnecting) for stall in stalls]
    took = await asyncio.gather(*tries, return_exceptions=True)
    within = CONNECT_TIMEOUT_S[client] + LATE_S
    bad = {stall.__name__: s for stall, s in zip(stalls, took, strict=True) if not isinstance(s, float) or s > within}
    assert not bad


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


@pytest.mark.parametrize("client", CONNECT_TIMEOUT_S)
async def test_a_first_connection_outlasts_servers_that_stall(client: str, ca: Path) -> None:
    await outlast_all(STALLS, client, ca, reconnecting=False)


@pytest.mark.parametrize("client", CONNECT_TIMEOUT_S)
async def test_a_reconnect_outlasts_servers_that_stall(client: str, ca: Path) -> None:
    await outlast_all([*STALLS, lets_in_and_says_nothing], client, ca, reconnecting=True)


def reading_nothing(*, encrypted: bool) -> Serve:
    """Lets a client in and takes nothing of what it sends afterwards."""

    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if encrypted:
            writer.write(TLS)
            await writer.start_tls(server_context())
        else:
            writer.write(info())
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.left.wait()

    return serve


async def full(peer: Peer, *, encrypted: bool) -> ReconnectingClient:
    """A client that has more to send than the system takes for a server that reads nothing."""
    client = ReconnectingClient()
    context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode()) if encrypted else None
    url = f"{'tls' if encrypted else 'nats'}://127.0.0.1:{peer.port}"
    options = {"ping_interval": 1, "max_outstanding_pings": 1, "connect_timeout": 1, "reconnect_time_wait": 0.1}
    await client.connect(url, tls=context, max_reconnect_attempts=-1, **options)
    assert client._transport
    client._transport.write(b"PUB x 33554432\r\n" + b"x" * 33554432 + b"\r\n")
    return client


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_server_that_reads_nothing_more_is_left_for_the_next(encrypted: bool) -> None:
    async with Peer(reading_nothing(encrypted=encrypted)) as peer:
        client = await full(peer, encrypted=encrypted)
        await eventually(lambda: peer.connections > 2)
        await asyncio.wait_for(client.close(), CLOSED_WITHIN_S)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_connection_to_a_server_that_reads_nothing_more_can_be_closed(encrypted: bool) -> None:
    async with Peer(reading_nothing(encrypted=encrypted)) as peer:
        client = await full(peer, encrypted=encrypted)
        await asyncio.wait_for(client.close(), CLOSED_WITHIN_S)
        assert client.is_closed


async def upgrade_is_not_answered(request: web.Request) -> web.WebSocketResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def upgraded_and_nothing_said(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(autoclose=False)
    await socket.prepare(request)
    await asyncio.Event().wait()
    return socket


@pytest.mark.parametrize("stall", [upgrade_is_not_answered, upgraded_and_nothing_said])
@pytest.mark.parametrize("reconnecting", [False, True])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_server_that_stalls_over_websocket_is_outlasted(
    scheme: str, reconnecting: bool, stall: Callable[[web.Request], Awaitable[web.WebSocketResponse]]
) -> None:
    requests = let_in = 0

    async def serve(request: web.Request) -> web.WebSocketResponse:
        nonlocal requests, let_in
        requests += 1
        if requests in (range(2, 4) if reconnecting else range(1, 3)):
            return await stall(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(info())
        async for message in socket:
            if b"PING" in message.data:
                await socket.send_bytes(b"PONG\r\n")
                let_in += 1
                if reconnecting and requests == 1:
                    break
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context() if scheme == "wss" else None)
    await site.start()
    client = ReconnectingClient()
    context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode()) if scheme == "wss" else None
    options = {"connect_timeout": 1, "reconnect_time_wait": 0.1, "max_reconnect_attempts": -1}
    url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    connecting = asyncio.create_task(client.connect(url, tls=context, **options))
    try:
        await eventually(lambda: requests == 4 - (not reconnecting) and let_in > reconnecting)
        await connecting
    finally:
        connecting.cancel()
        await asyncio.wait([connecting])
        await asyncio.wait_for(client.close(), CLOSED_WITHIN_S)
        await runner.cleanup()


async def test_connecting_can_be_cancelled_in_the_moment_in_which_a_server_accepts() -> None:
    """Before Python 3.12 `asyncio.wait_for` drops a cancellation that comes as what it waits for is done."""
    for rounds in range(20):
        connecting: asyncio.Task[protoqueue.Client]

        async def cancels(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(rounds % 4):  # noqa: B023
                await asyncio.sleep(0)
            if peer.connections == 1:
                connecting.cancel()  # noqa: B023

        async def connect(url: str) -> protoqueue.Client:
            return await protoqueue.connect(url, timeout=300)

        async with Peer(cancels) as peer:
            connecting = asyncio.create_task(connect(f"nats://127.0.0.1:{peer.port}"))
            done, _ = await asyncio.wait([connecting], timeout=CLOSED_WITHIN_S)
            connecting.cancel()
            assert done
            assert connecting.cancelled()

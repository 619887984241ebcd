"""Peers of a client that are no NATS server, or none that means well; each keeps what it was sent."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

Serve: TypeAlias = Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """Listens on a port of its own; `serve` speaks with each who connects. Use it as `async with`."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.heard = bytearray()
        self.connections = 0
        self.left = asyncio.Event()
        """Set when the test has no more use of this."""

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self.left.set()
        self._server.close()
        for writer in self._writers:
            writer.close()

    @property
    def port(self) -> int:
        assert self._server
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(self, reader, writer)
        writer.close()
        self._writers.discard(writer)

    async def hear(self, reader: asyncio.StreamReader) -> None:
        """Keep all that is sent, until nothing more comes."""
        while data := await reader.read(1 << 16):
            self.heard += data


def info(**more: Any) -> bytes:
    """As a server greets."""
    greeting = {"server_id": "X", "version": "2.15.1", "headers": True, "max_payload": 1048576, "proto": 1}
    return b"INFO " + json.dumps(greeting | more).encode() + b"\r\n"


async def without_tls(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greets as a NATS server that asks for a login and not for TLS."""
    writer.write(info(auth_required=True, nonce="abc"))
    await peer.hear(reader)


def letting_in(then: Serve, **more: Any) -> Serve:
    """Lets a client in as a NATS server does, then goes on as `then` says."""

    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(info(**more))
        while not (line := await reader.readline()).startswith(b"PING"):
            if not line:
                return
            peer.heard += line
        writer.write(b"PONG\r\n")
        await then(peer, reader, writer)

    return serve


def http(answer: bytes) -> Serve:
    """An HTTP server that answers every request with the same bytes."""

    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.heard += await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return serve


def answering(
    answer: bytes, flood: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]] | None = None, after_s: float = 0.0
) -> Serve:
    """A server that answers every request with these bytes, and floods who listens to advisories."""

    async def serve(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inboxes: dict[bytes, bytes] = {}
        floods: list[asyncio.Task[None]] = []
        while line := await reader.readline():
            verb, *words = line.split()
            if verb == b"SUB":
                inboxes[words[0].rstrip(b"*")] = words[-1]
                if flood and words[0].startswith(b"$JS.EVENT"):
                    floods.append(asyncio.create_task(flood(words[-1], writer)))
            elif verb == b"PING":
                writer.write(b"PONG\r\n")
            elif verb in (b"PUB", b"HPUB"):
                await reader.readexactly(int(words[-1]) + 2)
                reply = words[1]
                sid = next((sid for inbox, sid in inboxes.items() if reply.startswith(inbox)), b"1")
                message = b"MSG %s %s %d\r\n%s\r\n" % (reply, sid, len(answer), answer)
                asyncio.get_running_loop().call_later(after_s, writer.write, message)

    return letting_in(serve)

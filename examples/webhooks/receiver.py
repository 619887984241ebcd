"""Customers' endpoints: they check signatures, fail now and then, and one of them is gone."""

import asyncio
import hmac
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from workers import sign

FAILS_EVERY = 4


@dataclass
class Receiver:
    """`received` holds each customer's numbers in the order they were taken."""

    key: bytes
    received: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    requests: int = 0
    forged: int = 0

    def answer(self, path: str, signature: str, body: bytes) -> str:
        self.requests += 1
        if path == "/gone":
            return "410 Gone"
        if not hmac.compare_digest(signature, sign(body, self.key)):
            self.forged += 1
            return "401 Unauthorized"
        if self.requests % FAILS_EVERY == 0:
            return "503 Service Unavailable"
        event = json.loads(body)
        self.received[event["customer"]].append(event["number"])
        return "204 No Content"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on each connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        status = self.answer(head[0].split()[1], headers.get("webhook-signature", ""), body)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def running_receiver(key: bytes) -> AsyncIterator[tuple[str, Receiver]]:
    """Its URL, and the receiver."""
    receiver = Receiver(key)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"http://{host}:{port}", receiver

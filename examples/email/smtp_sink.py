"""A mail server that keeps what it gets, with two kinds of recipients that do not get their mail at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message

UNKNOWN = "550 there is no such mailbox\r\n"
GREYLISTED = "451 greylisted, come again\r\n"


@dataclass
class Sink:
    """Refuses `nobody…` for good and the first attempt at `grey…`; the rest it keeps, with the time of arrival."""

    mails: list[tuple[float, Message]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def answer_recipient(self, address: str) -> str:
        if address.startswith("nobody"):
            return UNKNOWN
        if address.startswith("grey") and address not in self.seen:
            self.seen.add(address)
            return GREYLISTED
        return "250 ok\r\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from greeting to QUIT."""
        writer.write(b"220 sink\r\n")
        while line := (await reader.readline()).decode():
            verb = line[:4].upper()
            if verb == "RCPT":
                writer.write(self.answer_recipient(line.partition("<")[2].partition(">")[0]).encode())
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append((time.monotonic(), message_from_bytes(content[:-3])))
                writer.write(b"250 kept\r\n")
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def running_sink() -> AsyncIterator[tuple[str, Sink]]:
    """Its address as `host:port`, and the sink."""
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"{host}:{port}", sink

"""A way to a NATS server on which requests can get lost: everybody is let in, and nobody is answered."""

import asyncio
import contextlib


class SilentNats:
    """Before the server at `port`. While `is_silent`, of what clients send only logins and pings get there."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.is_silent = False
        self.lost = 0
        """Messages of clients that went nowhere."""
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _serve(self, client_reads: asyncio.StreamReader, client_writes: asyncio.StreamWriter) -> None:
        server_reads, server_writes = await asyncio.open_connection("127.0.0.1", self._server_port)
        ways = [self._hear(client_reads, server_writes), self._answer(server_reads, client_writes)]
        tasks = {asyncio.create_task(way) for way in ways}
        self._passing |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._passing -= tasks
        client_writes.close()
        server_writes.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                verb, *words = line.split()
                publishes = verb in (b"PUB", b"HPUB")
                if publishes:  # the last word is the size of what follows
                    line += await reader.readexactly(int(words[-1]) + 2)
                if publishes and self.is_silent:
                    self.lost += 1
                else:
                    writer.write(line)
                    await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

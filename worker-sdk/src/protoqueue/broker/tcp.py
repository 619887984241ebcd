"""NATS over TCP and TLS, ended in bounded time."""

import asyncio
import ssl
from typing import Any
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport


class BoundedTcp(TcpTransport):
    """nats-py's transport, of which each connection ends soon after it is closed.

    nats-py reconnects only after that, and would wait for ever if the TLS handshake failed, or if the server stops
    reading while there is data left to send.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._close_timeout_s: float | None = None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        self._close_timeout_s = connect_timeout
        await super().connect(uri, buffer_size, connect_timeout)

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        try:
            await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        except BaseException:
            # From here on asyncio reports the end of the connection to a protocol that `wait_closed` does not ask.
            self.abort()
            self._bare_io_reader = self._bare_io_writer = self._io_reader = self._io_writer = None
            raise

    async def wait_closed(self) -> None:
        try:
            async with asyncio.timeout(self._close_timeout_s):
                # asyncio keeps one future for the end of a connection: cancelled by one who waits, it cancels all who
                # wait after it, and nats-py stops reconnecting where that happens.
                await asyncio.shield(super().wait_closed())  # type: ignore[no-untyped-call]
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is dropped."""
        writer: Any = self._io_writer
        if writer is not None:
            writer.transport.abort()

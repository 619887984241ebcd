"""NATS over WebSocket, within bounds."""

import asyncio
from types import SimpleNamespace
from typing import Any
from urllib.parse import ParseResult

import aiohttp
from nats.aio.transport import WebSocketTransport

_LARGEST_FRAME_BYTES = 64 * 1024 * 1024


class Redirected(ConnectionError):
    """A NATS server does not redirect."""

    def __str__(self) -> str:
        return "the server responded with a redirect, which a NATS server never does"


class StrictWebSocket(WebSocketTransport):
    """nats-py's would follow redirects, send the URL's login to whatever answers, and take frames of any size."""

    def __init__(self, ws_headers: Any = None) -> None:
        super().__init__(ws_headers)
        self._close_timeout_s: float | None = None
        refusing = aiohttp.TraceConfig()
        refusing.on_request_redirect.append(_refuse)
        refusing.freeze()
        self._client.trace_configs.append(refusing)

    @property
    def is_encrypted(self) -> bool:
        return bool(self._using_tls)

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is dropped."""
        if self._ws is None:
            return
        connection = self._ws._conn  # noqa: SLF001
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._ws = None  # otherwise the next try would find it open and use it
        self._pending = asyncio.Queue()

    async def wait_closed(self) -> None:
        closing = self._client
        try:
            async with asyncio.timeout(self._close_timeout_s):
                await asyncio.shield(super().wait_closed())  # type: ignore[no-untyped-call]  # as over TCP
        except TimeoutError:
            self.abort()
            self._client = None  # type: ignore[assignment]  # as nats-py leaves it
            await closing.close()

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        del buffer_size
        self._ws = await self._open(uri, connect_timeout)
        self._using_tls = False

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: Any, buffer_size: int, connect_timeout: int
    ) -> None:
        if isinstance(uri, str) or (self._ws and not self._ws.closed):  # nats-py calls this again after INFO
            await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
            return
        self._ws = await self._open(uri, connect_timeout, ssl=ssl_context)
        self._using_tls = True

    async def _open(self, uri: ParseResult, timeout_s: float, **options: Any) -> Any:
        host = uri.netloc.rpartition("@")[2]
        where = uri._replace(netloc=host).geturl()
        self._close_timeout_s = timeout_s
        async with asyncio.timeout(timeout_s):
            return await self._client.ws_connect(
                where,
                timeout=aiohttp.ClientWSTimeout(ws_close=timeout_s),
                max_msg_size=_LARGEST_FRAME_BYTES,
                headers=self._get_custom_headers(),  # type: ignore[no-untyped-call]
                **options,
            )


async def _refuse(_session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any) -> None:
    raise Redirected

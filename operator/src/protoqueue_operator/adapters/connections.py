"""Connections to NATS: one for each set of servers and credentials, kept up for ever."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

import nats
from protoqueue_operator.core.refusals import BrokerUnavailable

logger = logging.getLogger(__name__)

_RECONNECT_WAIT_S = 1
_REQUESTS_AT_ONCE = 128
"""The server queues API requests of all clients in one place: whoever sends thousands at once times out."""


@dataclass(frozen=True)
class Credentials:
    """Where to connect and as whom. Equal values share a connection."""

    servers: tuple[str, ...]
    secret: str = field(default="", repr=False)


class Connection:
    """One connection that is sought until `close`; asking while it is down fails at once."""

    def __init__(self, credentials: Credentials, on_change: Callable[[bool], None]) -> None:
        self.credentials = credentials
        self._on_change = on_change
        self._client = Client()
        self._slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._connecting: asyncio.Task[None] | None = None
        self._why = "not connected yet"

    def open(self) -> None:
        """Start connecting, in the background."""
        self._connecting = asyncio.create_task(self._connect(), name="nats connection")

    @property
    def is_up(self) -> bool:
        return self._client.is_connected

    async def request(
        self, subject: str, payload: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Raises BrokerUnavailable."""
        self._require()
        async with self._slots:
            try:
                return await self._client.request(
                    subject, payload, timeout=timeout_s, headers=dict(headers or {}) or None
                )
            except NatsTimeoutError:
                raise BrokerUnavailable(f"NATS did not answer on {subject} within {timeout_s:g} s") from None
            except NoRespondersError:
                raise BrokerUnavailable(
                    f"nobody answers on {subject}: is JetStream enabled for this account?"
                ) from None
            except (ConnectionClosedError, OSError, nats.errors.Error) as error:
                raise BrokerUnavailable(f"NATS: {error}") from error

    async def subscribe(self, subject: str, callback: Callable[[Msg], None], *, limit: int = 0) -> Subscription:
        """`callback` must not block; a subscription with a `limit` ends by itself. Raises BrokerUnavailable."""
        self._require()

        async def deliver(message: Msg) -> None:
            callback(message)

        try:
            subscription = await self._client.subscribe(subject, cb=deliver)
            if limit:
                await subscription.unsubscribe(limit=limit)
        except nats.errors.Error as error:
            raise BrokerUnavailable(f"NATS: {error}") from error
        return subscription

    async def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._client.close()

    def _require(self) -> None:
        if not self.is_up:
            raise BrokerUnavailable(f"NATS at {', '.join(self.credentials.servers)} is away: {self._why}")

    async def _connect(self) -> None:
        while not self._client.is_connected:
            try:
                await self._client.connect(
                    servers=list(self.credentials.servers),
                    name="protoqueue-operator",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT_S,
                    connect_timeout=5,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    error_cb=self._failed,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._found,
                )
            except (nats.errors.Error, OSError, ValueError) as error:
                await self._failed(error)
                await asyncio.sleep(_RECONNECT_WAIT_S)
        await self._found()

    async def _failed(self, error: Exception) -> None:
        why = str(error) or type(error).__name__
        if why != self._why:
            logger.warning("nats error: servers=%s error=%s", ",".join(self.credentials.servers), why)
        self._why = why

    async def _lost(self) -> None:
        logger.warning("nats lost: servers=%s; seeking it until it is back", ",".join(self.credentials.servers))
        self._on_change(False)

    async def _found(self) -> None:
        logger.info("nats connected: servers=%s", ",".join(self.credentials.servers))
        self._why = "connection lost"
        self._on_change(True)

"""Connecting to NATS: `connect`, and what it returns."""

from collections.abc import Coroutine, Generator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from protoqueue.broker import ConnectionOptions
from protoqueue.broker.override import open_broker
from protoqueue.client import Client
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.durations import to_seconds
from protoqueue.task import DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


def connect(
    url: str | None = None,
    *,
    creds: str | None = None,
    ca: str | None = None,
    timeout: float | timedelta = DEFAULT_TIMEOUT_S,
    tracer_provider: "TracerProvider | None" = None,
) -> "Connecting":
    """Connect to NATS: a context manager that closes the client, or a coroutine that gives one to be closed.

    The arguments default to `PROTOQUEUE_NATS_URL` (else `NATS_URL`), `…_CREDS` and `…_CA`.

    From then on the client reconnects for ever. Raises Unavailable when no server answers within `timeout` and
    ConfigurationError when it refuses us. Where OpenTelemetry is set up by now, or a `tracer_provider` given, every
    enqueue is a span.
    """
    return Connecting(_connect(url, creds, ca, timeout, tracer_provider))


async def _connect(
    url: str | None, creds: str | None, ca: str | None, timeout: float | timedelta,
    tracer_provider: "TracerProvider | None",
) -> Client:  # fmt: skip
    try:
        timeout_s = to_seconds("timeout", timeout)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    broker = await open_broker(ConnectionOptions.read(url, creds, ca), timeout_s)
    return Client(broker, tracer_provider=tracer_provider)


class Connecting(Coroutine[Any, Any, Client]):
    """A coroutine that gives a `Client`, and a context manager that closes it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Client]) -> None:
        self._coroutine = coroutine
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, Any, Client]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> Client:
        self._client = await self._coroutine
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

"""The HTTP client for asyncio."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeVar, Unpack

import httpx

from protoqueue.errors import ProtoQueueError
from protoqueue.http import calls, consumers
from protoqueue.http.calls import Call
from protoqueue.http.consumers import AnyHandler, Consumer, OnError
from protoqueue.http.errors import ApiError, ConnectionFailed
from protoqueue.http.leases import Leases
from protoqueue.http.model import Enqueued, Message, QueueInfo, QueueStats
from protoqueue.http.transport import Answer, Request, Settings, decode
from protoqueue.http.wire import Duration, MessageOptions

T = TypeVar("T")


class AsyncQueues:
    """`Queues` with coroutines: its methods mean what they mean there. Belongs to one event loop."""

    def __init__(
        self, api_key: str | None = None, base_url: str | None = None, *, retries: int = 5, timeout: float = 30.0
    ) -> None:
        self._settings = Settings.of(api_key, base_url, retries, timeout)
        self._leases = Leases()
        self._consumers: list[Consumer] = []
        self._client: httpx.AsyncClient | None = None
        self._stop: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def create(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        *,
        spec: Mapping[str, Any] | None = None,
        wait: Duration | None = None,
    ) -> QueueInfo:
        return await self._send(calls.create(name, config, spec, wait))

    async def enqueue(self, queue: str, payload: Any, **options: Unpack[MessageOptions]) -> Enqueued:
        """With the options of `Queues.enqueue`."""
        return await self._send(calls.enqueue(queue, payload, options))

    async def enqueue_batch(self, queue: str, messages: Iterable[Mapping[str, Any]]) -> list[Enqueued]:
        return await self._send(calls.enqueue_batch(queue, messages))

    async def receive(
        self, queue: str, max_messages: int = 10, *, wait: float = 20, group: str | None = None
    ) -> list[Message]:
        return await self._send(calls.receive(self._leases, queue, max_messages, wait, group))

    async def ack(self, message: Message | str) -> None:
        await self._send(calls.settle(self._leases, self._leases.find(message), "ack", {}))

    async def nack(self, message: Message | str, *, delay: Duration | None = None) -> None:
        await self._send(calls.settle(self._leases, self._leases.find(message), "nack", calls.nack_body(delay)))

    async def reject(self, message: Message | str, reason: str = "") -> None:
        body = {"reason": reason} if reason else {}
        await self._send(calls.settle(self._leases, self._leases.find(message), "reject", body))

    async def throttle(self, message: Message | str, delay: Duration, reason: str = "") -> None:
        body = calls.throttle_body(delay, reason)
        await self._send(calls.settle(self._leases, self._leases.find(message), "throttle", body))

    async def extend(self, message: Message | str, seconds: float | None = None) -> None:
        await self._send(calls.extend(self._leases, self._leases.find(message), seconds))

    async def stats(self, queue: str) -> QueueStats:
        return await self._send(calls.stats(queue))

    def consumer(
        self,
        queue: str,
        *,
        concurrency: int = 10,
        group: str | None = None,
        on_error: OnError | None = None,
        grace_period: float = 30.0,
        wait: float = 20.0,
    ) -> Callable[[AnyHandler], AnyHandler]:
        """As `Queues.consumer`."""

        def register(handler: AnyHandler) -> AnyHandler:
            self._consumers.append(Consumer(queue, handler, concurrency, group, on_error, grace_period, wait))
            return handler

        return register

    async def run(self) -> None:
        """Run the consumers until `stop()`, or until cancelled: both let running handlers end within `grace_period`."""
        self._stop = asyncio.Event()
        await consumers.run(self._consumers, self._send, self._leases, self._stop)

    def stop(self) -> None:
        """Take no more messages; `run` returns when the handlers have ended. From the event loop's own thread."""
        if self._stop is not None:
            self._stop.set()

    async def _send(self, call: Call[T]) -> T:
        failures = 0
        while True:
            try:
                return call.decode(await self._once(call.request))
            except (ApiError, ConnectionFailed) as error:
                try:
                    pause = self._settings.pause_s(call.request, error, failures)
                except ProtoQueueError:
                    call.failed(error)
                    raise
                failures += 1
            await asyncio.sleep(pause)

    async def _once(self, request: Request) -> Answer:
        if self._client is None:
            self._client = httpx.AsyncClient(**self._settings.client_options())
        try:
            response = await self._client.request(**self._settings.request_options(request))
        except httpx.HTTPError as error:
            raise self._settings.connection_failed(request, error) from error
        return decode(response)

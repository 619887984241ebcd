"""The HTTP client for code without an event loop."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeVar, Unpack

import httpx

from protoqueue.errors import ProtoQueueError
from protoqueue.http import calls
from protoqueue.http.asynchronous import AsyncQueues
from protoqueue.http.calls import Call
from protoqueue.http.consumers import AnyHandler, OnError
from protoqueue.http.errors import ApiError, ConnectionFailed
from protoqueue.http.leases import Leases
from protoqueue.http.model import Enqueued, Message, QueueInfo, QueueStats
from protoqueue.http.transport import Answer, Request, Settings, decode
from protoqueue.http.wire import Duration, MessageOptions

T = TypeVar("T")


class Queues:
    """A client of ProtoQueue's gateway, for any number of threads.

    `PROTOQUEUE_API_KEY` and `PROTOQUEUE_GATEWAY_URL` are read where `api_key` and `base_url` are left out. A queue is
    named `name` (in the gateway's default namespace) or `namespace/name`; durations are seconds or timedeltas.

    After 429, 502, 503, 504 and a dropped connection a request is repeated up to `retries` times, with back-off and not
    before `Retry-After`: an id for deduplication, made here unless given, keeps a message from being stored twice. A
    request may take `timeout` seconds; a long poll gets its own wait on top. All raises what `protoqueue.http.errors`
    lists; ConfigurationError where neither argument nor environment names key and address.
    """

    def __init__(
        self, api_key: str | None = None, base_url: str | None = None, *, retries: int = 5, timeout: float = 30.0
    ) -> None:
        self._settings = Settings.of(api_key, base_url, retries, timeout)
        self._consuming = AsyncQueues(api_key, base_url, retries=retries, timeout=timeout)
        self._leases: Leases = self._consuming._leases  # noqa: SLF001  # a handler settles by id through either
        self._lock = threading.Lock()
        self._client: tuple[int, httpx.Client] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            held, self._client = self._client, None
        if held is not None and held[0] == os.getpid():
            held[1].close()

    def create(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        *,
        spec: Mapping[str, Any] | None = None,
        wait: Duration | None = None,
    ) -> QueueInfo:
        """Create a queue and wait until it is ready.

        `config` has `max_retries`, `visibility_timeout`, `dead_letter_queue` and `rate_limit`; `spec`, in its place, is
        a Queue's whole spec. A queue that exists just so is returned; one that exists otherwise raises Conflict.
        """
        return self._send(calls.create(name, config, spec, wait))

    def enqueue(
        self,
        queue: str,
        payload: Any,
        **options: Unpack[MessageOptions],
    ) -> Enqueued:
        """Store a message: what JSON can hold, a pydantic model, a protobuf message, or bytes with a `content_type`.

        Options are `priority` (1 to 10, higher is more urgent), `delay` or `at`, `expires`, `dedup_id` (a message of
        the same id within the queue's window is stored once), `ordering_key`, `fairness_key`, `unique` and
        `unique_until` ("end" or "start"), `replace` (it takes the place of the message of this key that is not yet
        due), `type`, `metadata` and `retry` (a `protoqueue.Retries`). Raises QueueFull when the queue's limits are
        reached and stay so, InvalidTask for a payload that cannot be encoded.
        """
        return self._send(calls.enqueue(queue, payload, options))

    def enqueue_batch(self, queue: str, messages: Iterable[Mapping[str, Any]]) -> list[Enqueued]:
        """Store messages, all or none: each a dict of `payload` and the options of `enqueue`.

        The gateway bounds how many (`MAX_BATCH_SIZE`, 100 by default).
        """
        return self._send(calls.enqueue_batch(queue, messages))

    def receive(
        self, queue: str, max_messages: int = 10, *, wait: float = 20, group: str | None = None
    ) -> list[Message]:
        """Lease messages, waiting up to `wait` seconds for the first; an empty list when none came.

        `group` may be left out where the queue has one.
        """
        return self._send(calls.receive(self._leases, queue, max_messages, wait, group))

    def ack(self, message: Message | str) -> None:
        """The message, or the held one of this id, is done.

        Raises LeaseLost when its lease is over (it is, or will be, another's), ConfigurationError for an id that this
        client does not hold, or holds of several queues.
        """
        self._send(calls.settle(self._leases, self._leases.find(message), "ack", {}))

    def nack(self, message: Message | str, *, delay: Duration | None = None) -> None:
        """The attempt failed: again after `delay`, else after the queue's back-off. Raises as `ack`."""
        self._send(calls.settle(self._leases, self._leases.find(message), "nack", calls.nack_body(delay)))

    def reject(self, message: Message | str, reason: str = "") -> None:
        """To the dead letters, now. Raises as `ack`."""
        body = {"reason": reason} if reason else {}
        self._send(calls.settle(self._leases, self._leases.find(message), "reject", body))

    def throttle(self, message: Message | str, delay: Duration, reason: str = "") -> None:
        """The same attempt again after `delay`, and no message of the group for anybody before then. Raises as `ack`.

        For what answers 429: `delay` is its `Retry-After`, and `reason` is shown to whoever looks at the group.
        """
        body = calls.throttle_body(delay, reason)
        self._send(calls.settle(self._leases, self._leases.find(message), "throttle", body))

    def extend(self, message: Message | str, seconds: float | None = None) -> None:
        """Hold the message for `seconds` more, or for its queue's whole visibility timeout. Raises as `ack`."""
        self._send(calls.extend(self._leases, self._leases.find(message), seconds))

    def stats(self, queue: str) -> QueueStats:
        """How many messages are waiting, in flight, scheduled and dead."""
        return self._send(calls.stats(queue))

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
        """Make a function, plain or async, the handler of a queue's messages; `run` calls it.

        A message is acked when its handler returns, and returned for another attempt when it raises; `Reject`,
        `Retry` and `Throttle` say otherwise. Leases are extended meanwhile: where one is lost, an async handler is
        cancelled, and `message.cancelled` is set. `on_error(error, message)` is told what went wrong, with None as
        message where the gateway could not be asked; without it both are logged.
        """
        return self._consuming.consumer(
            queue, concurrency=concurrency, group=group, on_error=on_error, grace_period=grace_period, wait=wait
        )

    def run(self) -> None:
        """Run the consumers until SIGINT, SIGTERM or `stop()`, and let running handlers end within `grace_period`.

        Raises what the gateway refuses for good: the key, the queue, the request.
        """
        asyncio.run(self._run())

    def stop(self) -> None:
        """Let `run` return, from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._consuming.stop)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._interrupted, number)
        async with self._consuming:
            await self._consuming.run()

    def _interrupted(self, number: int) -> None:
        """The second signal of a kind does what it does without us."""
        assert self._loop is not None
        self._loop.remove_signal_handler(number)
        self._consuming.stop()

    def _send(self, call: Call[T]) -> T:
        failures = 0
        while True:
            try:
                return call.decode(self._once(call.request))
            except (ApiError, ConnectionFailed) as error:
                try:
                    pause = self._settings.pause_s(call.request, error, failures)
                except ProtoQueueError:
                    call.failed(error)
                    raise
                failures += 1
            time.sleep(pause)

    def _once(self, request: Request) -> Answer:
        try:
            response = self._connections().request(**self._settings.request_options(request))
        except httpx.HTTPError as error:
            raise self._settings.connection_failed(request, error) from error
        return decode(response)

    def _connections(self) -> httpx.Client:
        """Of this process: connections cannot be shared with the process that it was forked off."""
        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                self._client = os.getpid(), httpx.Client(**self._settings.client_options())
            return self._client[1]

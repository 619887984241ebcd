"""Running handlers for the messages of queues: the loop behind `@queues.consumer` of both clients."""

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from protoqueue.errors import ConfigurationError, ProtoQueueError
from protoqueue.http import calls
from protoqueue.http.calls import Call
from protoqueue.http.errors import ApiError, LeaseLost, RateLimited, Unavailable
from protoqueue.http.leases import Leases
from protoqueue.http.model import Message
from protoqueue.http.transport import backoff_s
from protoqueue.http.wire import queue_path
from protoqueue.outcomes import Reject, Retry, Throttle

MAX_MESSAGES = 100
CANCELLED_GRACE_S = 5.0
"""What a handler gets to end after it was cancelled; then its lease runs out by itself."""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Send = Callable[[Call[Any]], Coroutine[Any, Any, Any]]
Handler = Callable[[Message], Any]
OnError = Callable[[Exception, Message | None], Any]
AnyHandler = TypeVar("AnyHandler", bound=Handler)


@dataclass(frozen=True)
class Consumer:
    """How a queue is consumed; durations are seconds."""

    queue: str
    handler: Handler
    concurrency: int
    group: str | None
    on_error: OnError | None
    grace_period: float
    wait: float

    def __post_init__(self) -> None:
        queue_path(self.queue)
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ConfigurationError(f"concurrency has to be a whole number from 1, not {self.concurrency!r}")


async def run(consumers: list[Consumer], send: Send, leases: Leases, stop: asyncio.Event) -> None:
    """Until `stop` is set, or the gateway refuses one of the consumers for good: then the others stop too."""
    if not consumers:
        raise ConfigurationError("there is no consumer to run: write @queues.consumer(…) above a function")
    loops = [asyncio.create_task(_Loop(consumer, send, leases, stop).run()) for consumer in consumers]
    try:
        await asyncio.wait(loops, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stop.set()
        await asyncio.gather(*loops, return_exceptions=True)
    for loop in loops:
        loop.result()


@dataclass
class _Loop:
    consumer: Consumer
    send: Send
    leases: Leases
    stop: asyncio.Event
    running: dict[asyncio.Task[None], Message] = field(default_factory=dict)
    handlers: dict[str, "asyncio.Task[Any]"] = field(default_factory=dict)
    """The tasks of async handlers by receipt: they are cancelled where a lease is lost."""

    def __post_init__(self) -> None:
        self.acks = _Acks(self.send, self.leases)
        self.freed = asyncio.Event()
        self.threads = ThreadPoolExecutor(
            self.consumer.concurrency, thread_name_prefix=f"protoqueue-{self.consumer.queue}"
        )

    async def run(self) -> None:
        try:
            await self.receive()
        finally:
            await self.drain()
            self.threads.shutdown(wait=False, cancel_futures=True)

    async def receive(self) -> None:
        failures = 0
        while not self.stop.is_set():
            free = self.consumer.concurrency - len(self.running)
            if free < 1:
                self.freed.clear()
                await _either(self.freed.wait(), self.stop.wait())
                continue
            try:
                messages = await self.poll(min(free, MAX_MESSAGES))
            except ProtoQueueError as error:
                if _is_final(error):
                    raise
                await self.report(error, None)
                asked = error.retry_after or 0.0 if isinstance(error, ApiError) else 0.0
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), max(asked, backoff_s(failures)))
                failures += 1
            else:
                failures = 0
                for message in messages:
                    self.start(message)

    async def poll(self, most: int) -> list[Message]:
        """What a stop interrupts is empty: the gateway takes back what it was about to send."""
        consumer = self.consumer
        call = calls.receive(self.leases, consumer.queue, most, consumer.wait, consumer.group, retries=0)
        return await _either(self.send(call), self.stop.wait()) or []

    def start(self, message: Message) -> None:
        task = asyncio.create_task(self.work(message))
        self.running[task] = message
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        del self.running[task]
        self.freed.set()

    async def work(self, message: Message) -> None:
        keeper = asyncio.create_task(self.keep(message))
        try:
            failure = await self.handle(message)
            if failure is not None and not (message.cancelled.is_set() and not self.leases.holds(message)):
                await self.report(failure, message)
            # The handler may have settled the message itself, or may have lost it.
            if self.leases.holds(message):
                await self.settle(message, failure)
        except ProtoQueueError as error:
            await self.report(error, message)
        finally:
            keeper.cancel()
            self.leases.forget(message)

    async def handle(self, message: Message) -> Exception | None:
        handler = self.consumer.handler
        if inspect.iscoroutinefunction(handler):
            task = asyncio.ensure_future(handler(message))
        else:
            task = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(self.threads, handler, message))
        self.handlers[message.receipt] = task
        try:
            result = await task
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            return RuntimeError("the handler was cancelled")
        except Exception as error:
            return error
        finally:
            del self.handlers[message.receipt]
        return None

    async def settle(self, message: Message, failure: Exception | None) -> None:
        if failure is None:
            await self.acks.ack(message)
            return
        if isinstance(failure, Reject):
            verb, body = "reject", {"reason": str(failure)} if str(failure) else {}
        elif isinstance(failure, Throttle):
            verb, body = "throttle", calls.throttle_body(failure.delay, failure.why)
        else:
            now = 0 if message.cancelled.is_set() else None
            delay = failure.delay if isinstance(failure, Retry) else now
            verb, body = "nack", calls.nack_body(delay)
        await self.send(calls.settle(self.leases, message, verb, body))

    async def keep(self, message: Message) -> None:
        """Extend the lease until cancelled; a lost lease cancels the handler."""
        third = message.lease_seconds / 3
        until = time.monotonic() + message.lease_seconds
        pause = third
        while True:
            await asyncio.sleep(pause)
            asked = time.monotonic()
            try:
                await self.send(calls.extend(self.leases, message, None, retries=0, timeout_s=third))
                until, pause = asked + message.lease_seconds, third
            except ProtoQueueError as error:
                if isinstance(error, LeaseLost) or time.monotonic() >= until:
                    self.leases.forget(message)
                    self.cancel(message)
                    await self.report(error, message)
                    return
                pause = min(1.0, third / 3)

    def cancel(self, message: Message) -> None:
        """A coroutine is cancelled; a function in a thread has to look at `message.cancelled`."""
        message.cancelled.set()
        task = self.handlers.get(message.receipt)
        if task is not None and inspect.iscoroutinefunction(self.consumer.handler):
            task.cancel()

    async def drain(self) -> None:
        if self.running:
            await asyncio.wait(self.running, timeout=self.consumer.grace_period)
        for message in self.running.values():
            self.cancel(message)
        if self.running:
            await asyncio.wait(self.running, timeout=CANCELLED_GRACE_S)
        for task in list(self.running):
            task.cancel()

    async def report(self, error: Exception, message: Message | None) -> None:
        try:
            if self.consumer.on_error is not None:
                result = self.consumer.on_error(error, message)
                if inspect.isawaitable(result):
                    await result
            elif message is not None:
                _log.error("queue=%s message=%s failed", self.consumer.queue, message.id, exc_info=error)
            else:
                _log.error("queue=%s could not be received from; retrying: %s", self.consumer.queue, error)
        except Exception:
            _log.exception("queue=%s on_error failed", self.consumer.queue)


@dataclass
class _Acks:
    """Acks that come while a request is on its way go together in the next one."""

    send: Send
    leases: Leases
    waiting: list[tuple[Message, "asyncio.Future[None]"]] = field(default_factory=list)
    sender: asyncio.Task[None] | None = None

    async def ack(self, message: Message) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((message, mine))
        if self.sender is None or self.sender.done():
            self.sender = asyncio.create_task(self.send_all())
        await mine

    async def send_all(self) -> None:
        while self.waiting:
            now, self.waiting = self.waiting[:MAX_MESSAGES], self.waiting[MAX_MESSAGES:]
            errors: list[ProtoQueueError | None]
            try:
                errors = await self.send(calls.ack_together(self.leases, [message for message, _ in now]))
            except ProtoQueueError as error:
                errors = [error] * len(now)
            for (_, mine), failure in zip(now, errors, strict=True):
                if mine.done():
                    continue
                if failure is None:
                    mine.set_result(None)
                else:
                    mine.set_exception(failure)


async def _either(work: Coroutine[Any, Any, T], stop: Awaitable[Any]) -> T | None:
    """The result of `work`, or None where `stop` comes first: `work` is cancelled then."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop)
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _is_final(error: ProtoQueueError) -> bool:
    """Whether asking again would get the same answer."""
    if isinstance(error, ApiError):
        return not isinstance(error, RateLimited | Unavailable) and error.status != 408
    return isinstance(error, ConfigurationError)

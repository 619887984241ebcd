"""The worker as its users see it."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from protoqueue.ambient import open_broker
from protoqueue.batches import BatchHandler
from protoqueue.cancellation import cancel
from protoqueue.client import Client
from protoqueue.connection import Broker, ConnectionOptions
from protoqueue.errors import ConfigurationError, Unavailable
from protoqueue.following import Following
from protoqueue.handlers import Handler
from protoqueue.health import HealthServer
from protoqueue.loop import WorkLoop
from protoqueue.metrics import WorkerMetrics
from protoqueue.naming import GroupName, QueueName
from protoqueue.presence import Presence, host_name
from protoqueue.registry import Lifespan, Middleware, OnDeath, Registry
from protoqueue.settle import Settler, process_name
from protoqueue.surroundings import Surroundings
from protoqueue.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

log = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 10
DEFAULT_GRACE_S = 25.0
"""Kubernetes sends SIGKILL 30 s after SIGTERM unless told otherwise."""

_CONNECT_TRY_S = 4.0
_DRAINED_LOOK_S = 0.005

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Worker:
    """Runs the tasks of one consumer group; how tasks end is told in `outcomes`.

    `queue` is `namespace/name`. What is not given is read from `PROTOQUEUE_QUEUE`, `PROTOQUEUE_GROUP` and
    `PROTOQUEUE_CONCURRENCY`, the connection from `PROTOQUEUE_NATS_URL` and its kin. Nothing is checked or connected
    before the worker runs, so that a module with a worker can be imported anywhere. Where OpenTelemetry is set up by
    then, or a `tracer_provider` given, every attempt is a span.
    """

    def __init__(
        self,
        queue: str | None = None,
        *,
        group: str | None = None,
        concurrency: int | None = None,
        url: str | None = None,
        creds: str | None = None,
        ca: str | None = None,
        grace_s: float = DEFAULT_GRACE_S,
        tracer_provider: "TracerProvider | None" = None,
    ) -> None:
        self._queue = queue
        self._group = group
        self._concurrency = concurrency
        self._connection = (url, creds, ca)
        self._grace_s = grace_s
        self._tracer_provider = tracer_provider
        self._handlers = Registry()
        self._stop = asyncio.Event()
        self._is_running = False
        self._client: Client | None = None
        self._surroundings: Surroundings | None = None

    def override(self, *, queue: str | None = None, group: str | None = None, concurrency: int | None = None) -> None:
        """Put other values in place of what the constructor was given; None leaves one as it is."""
        self._queue = queue or self._queue
        self._group = group or self._group
        self._concurrency = concurrency or self._concurrency

    @overload
    def handler(self, function: _Function, /) -> _Function: ...
    @overload
    def handler(
        self, task_type: str | None = None, /, *, timeout: float | timedelta | None = None, executor: str = "thread"
    ) -> Callable[[_Function], _Function]: ...

    def handler(
        self, what: Any = None, /, *, timeout: float | timedelta | None = None, executor: str = "thread"
    ) -> Any:
        """Register a function: `@worker.handler` for every type, `@worker.handler("report")` for one.

        Plain functions run in threads, or with `executor="process"` in processes: those must be importable by name.
        `timeout` in seconds fails an attempt that takes longer; it ends a process, and cannot stop a thread.
        Raises ConfigurationError for a function that takes neither a payload nor a task, or a type that has a handler.
        """
        return self._handlers.decorator(what, lambda function: Handler.read(function, timeout, executor))

    @overload
    def batch(self, function: _Function, /) -> _Function: ...
    @overload
    def batch(
        self,
        task_type: str | None = None,
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
    ) -> Callable[[_Function], _Function]: ...

    def batch(
        self,
        what: Any = None,
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """Register a function that takes lists: `(payloads: list[Email])` or `(payloads, tasks: list[Task])`.

        It gets up to `max_size` tasks (never more than the worker's concurrency), or what there is `max_wait` seconds
        after the first. It fails all by raising, or single ones by returning a list with an exception or None for each.
        """
        return self._handlers.decorator(what, lambda function: BatchHandler.read(function, max_size, max_wait, timeout))

    def middleware(self, function: Middleware) -> Middleware:
        """Register `async def around(task, run)`, called for every task; it awaits `run()` and sees what that raises.

        The first registered is the outermost. What it raises is what the attempt comes to.
        """
        self._handlers.add_middleware(function)
        return function

    def dead_letter(self, function: OnDeath) -> OnDeath:
        """Register `note(task, reason, error)`, called after a task of this worker became a dead letter."""
        self._handlers.add_on_death(function)
        return function

    def lifespan(self, function: Lifespan) -> Lifespan:
        """Register an async context manager that is entered before the first task and left after the last.

        It yields a mapping, whose values handlers take by name as keyword-only parameters, or nothing.
        """
        self._handlers.set_lifespan(function)
        return function

    @property
    def client(self) -> Client:
        """A client on the worker's own connection, for handlers; raises ConfigurationError while it does not serve."""
        if self._client is None:
            raise ConfigurationError("the worker is not running: its client is there for handlers")
        return self._client

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then finish within the grace period and return.

        Where a plain function still runs after that, its thread cannot be stopped: the process exits with status 0.
        """
        asyncio.run(self._run_with_signals())
        if self._surroundings is not None and self._surroundings.has_busy_threads:
            log.warning("leaving functions behind that still run in threads; their tasks have been handed back")
            logging.shutdown()
            os._exit(0)

    async def _run_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        await self.serve()

    def _signalled(self, number: int) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            log.warning("interrupted again: leaving without waiting")
            os._exit(130)
        log.info("stopping: finishing what runs, handing back the rest", extra={"signal": signal.strsignal(number)})
        self._stop.set()

    def stop(self) -> None:
        """Have `serve` finish what runs and return."""
        self._stop.set()

    async def serve(self, broker: Broker | None = None) -> None:
        """Work until `stop()` is called or this is cancelled. Raises ConfigurationError for what no waiting will cure.

        NATS, the Queue and the ConsumerGroup may be missing: the worker says so and waits for them.
        """
        with self._running_alone():
            async with self._started(broker) as loop:
                if loop is not None:
                    await loop.run(self._stop, self._grace_s)
        log.info("worker stopped")

    async def run_once(self, broker: Broker | None = None) -> int:
        """Run what is ready, also what becomes so meanwhile, until the queue has nothing more; returns how many ran."""
        with self._running_alone():
            async with self._started(broker) as loop:
                if loop is None:
                    return 0
                stop = asyncio.Event()
                running = asyncio.create_task(loop.run(stop, self._grace_s))
                while not running.done() and not loop.is_drained:  # noqa: ASYNC110  # many facts make this up
                    await asyncio.sleep(_DRAINED_LOOK_S)
                stop.set()
                await running
                return loop.finished

    @contextlib.contextmanager
    def _running_alone(self) -> Iterator[None]:
        if self._is_running:
            raise ConfigurationError("this worker runs already: raise its concurrency, or make another")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            self._stop = asyncio.Event()  # for the next time, which may be in another event loop

    @contextlib.asynccontextmanager
    async def _started(self, broker: Broker | None) -> AsyncIterator[WorkLoop | None]:
        """The loop, connected and following its settings; None when told to stop before there was a connection."""
        group, concurrency = self._identity()
        connected = broker or await self._connect()
        if connected is None:
            yield None
            return
        metrics = WorkerMetrics(str(group.queue), group.name)
        self._surroundings = surroundings = Surroundings(concurrency)
        tracing = Tracing.using(self._tracer_provider)
        loop = WorkLoop(connected, self._handlers, Settler(connected, process_name()), metrics, surroundings, tracing)
        log.info("worker started", extra={"queue": str(group.queue), "group": group.name, "concurrency": concurrency})
        async with contextlib.AsyncExitStack() as stack:
            if broker is None:
                stack.push_async_callback(connected.close)
            self._client = Client(connected, owned=False, tracer_provider=self._tracer_provider)
            stack.push_async_callback(self._client.close)
            stack.callback(surroundings.close)
            surroundings.resources = await stack.enter_async_context(self._handlers.lifespan())
            settings = Following(connected, group, loop)
            await HealthServer.from_environment(stack, metrics.registry, connected, loop, settings)
            following = asyncio.create_task(settings.run())
            for subject, heard in (
                (
                    group.queue.cancellations,
                    lambda task_id: b"" if loop.cancel(task_id.decode(errors="replace")) else None,
                ),
                (group.roll_call, lambda _: Presence(host_name(), loop.running).encode()),
            ):
                listening = await connected.listen(subject, heard)
                stack.push_async_callback(listening.unsubscribe)
            following.add_done_callback(self._follow_ended)
            stack.push_async_callback(cancel, following)
            yield loop

    def _follow_ended(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            log.error("stopping: following the settings failed", exc_info=error)
            self._stop.set()

    def _identity(self) -> tuple[GroupName, int]:
        queue = self._queue or os.environ.get("PROTOQUEUE_QUEUE")
        group = self._group or os.environ.get("PROTOQUEUE_GROUP")
        if not queue or not group:
            raise ConfigurationError(
                "which queue and group? Pass Worker('namespace/name', group=...), "
                "or set PROTOQUEUE_QUEUE and PROTOQUEUE_GROUP"
            )
        if not self._handlers:
            raise ConfigurationError("the worker has no handler: decorate a function with @worker.handler")
        try:
            concurrency = self._concurrency
            if concurrency is None:
                concurrency = int(os.environ.get("PROTOQUEUE_CONCURRENCY") or DEFAULT_CONCURRENCY)
            name = GroupName.parse(QueueName.parse(str(queue)), str(group))
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError(f"concurrency must be a number of at least 1, not {concurrency!r}")
        return name, concurrency

    async def _connect(self) -> Broker | None:
        """Try until NATS is there; no broker when told to stop before."""
        options = ConnectionOptions.read(*self._connection)
        while not self._stop.is_set():
            try:
                return await open_broker(options, _CONNECT_TRY_S)
            except Unavailable as error:
                log.warning("waiting for NATS: %s", error)
        return None

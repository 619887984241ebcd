"""The worker as its users see it."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, overload

from protoqueue.admin.only_group import only_group
from protoqueue.aio import cancel
from protoqueue.broker import Broker, ConnectionOptions
from protoqueue.broker.override import open_broker
from protoqueue.client import Client
from protoqueue.consumer.environment import parsed, whole_number
from protoqueue.consumer.exit import exit_process
from protoqueue.consumer.loop import WorkLoop
from protoqueue.consumer.settings import SettingsWatch
from protoqueue.errors import ConfigurationError, GroupNotFound, QueueNotFound, Unavailable
from protoqueue.handlers.batch_handler import BatchHandler
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.handler import Executor, Handler, HandlerOf
from protoqueue.handlers.process_pool import refuse_in_a_function_process
from protoqueue.handlers.registry import DeadLetterHook, Lifespan, Middleware, Registry
from protoqueue.handlers.retry_rules import Errors
from protoqueue.observability.health import HealthServer
from protoqueue.observability.log import configure_logging
from protoqueue.observability.metrics import WorkerMetrics
from protoqueue.observability.tracing import Tracing
from protoqueue.protocol.durations import to_seconds
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.worker_status import WorkerStatus, host_name
from protoqueue.settlement.settle import Settler, process_name
from protoqueue.sync import Client as SyncClient
from protoqueue.sync import client_of
from protoqueue.task import Retries
from protoqueue.task_type import TaskType

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

log = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 10
DEFAULT_GRACE_PERIOD_S = 30.0
"""How long after SIGTERM Kubernetes sends SIGKILL unless told otherwise."""

_LAST_S = 5.0
"""Kept of the grace period for handing back what has not finished, but no more than a quarter of it."""

_CONNECT_TRY_S = 4.0
_LOOK_FOR_GROUP_S = 1.0
_DRAINED_LOOK_S = 0.005

_Payload = TypeVar("_Payload")
_Function = TypeVar("_Function", bound=Callable[Concatenate[Any, ...], Any])
"""What takes something. That it takes no more than a payload and a task is checked where it is registered."""


class Worker:
    """Runs the tasks of one consumer group; how tasks end is told in `outcomes`.

    `queue` is `namespace/name`; `group` may be left out where the queue has just one. What is not given is read from
    `PROTOQUEUE_QUEUE`, `PROTOQUEUE_GROUP` and `PROTOQUEUE_CONCURRENCY`, the connection from `PROTOQUEUE_NATS_URL` and
    the variables beside it. Once the worker is told to stop, what runs may go on for `grace_s`, else for
    `PROTOQUEUE_GRACE_PERIOD` less what handing back the rest takes (a quarter, at most 5 s). Nothing is checked or
    connected before the worker runs, so that a module with a
    worker can be imported anywhere. Where OpenTelemetry is set up by then, or a `tracer_provider` given, every attempt
    is a span.
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
        grace_s: float | None = None,
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
        self._sync_client: SyncClient | None = None
        self._executors: Executors | None = None
        self._settings: SettingsWatch | None = None

    def override(self, *, queue: str | None = None, group: str | None = None, concurrency: int | None = None) -> None:
        """Put other values in place of what the constructor was given; None leaves one as it is."""
        self._queue = queue or self._queue
        self._group = group or self._group
        self._concurrency = concurrency or self._concurrency

    # A TaskType can be called, so it stands before the functions.
    @overload
    def handler(
        self,
        task_type: TaskType[_Payload],
        /,
        *,
        timeout: float | timedelta | None = None,
        executor: Executor = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> HandlerOf[_Payload]: ...
    @overload
    def handler(self, function: _Function, /) -> _Function: ...
    @overload
    def handler(
        self,
        task_type: str | None = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        executor: Executor = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Callable[[_Function], _Function]: ...

    def handler(
        self,
        what: Any = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        executor: Executor = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Any:
        """Register a function: `@worker.handler` for every type, `@worker.handler("report")` or a `TaskType` for one.

        Plain functions run in threads, or with `executor="process"` in processes: those must be importable by name.
        `timeout` in seconds fails an attempt that takes longer; it ends a process, and cannot stop a thread.
        `retries` goes before what group and queue say about attempts, and a task before it. With `retry_on` only these
        errors, exception classes, are tried again; one of `give_up_on` never is. What is not becomes a dead letter.
        Raises ConfigurationError for a function that takes neither a payload nor a task, or a type that has a handler.
        """
        return self._handlers.decorator(
            what, lambda function: Handler.read(function, timeout, executor, retries, retry_on, give_up_on)
        )

    @overload
    def batch(
        self,
        task_type: TaskType[_Payload],
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> HandlerOf[list[_Payload]]: ...
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
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Callable[[_Function], _Function]: ...

    def batch(
        self,
        what: Any = None,
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Any:
        """Register a function that takes lists: `(payloads: list[Email])` or `(payloads, tasks: list[Task])`.

        It gets up to `max_size` tasks (never more than the worker's concurrency), or what there is `max_wait` seconds
        after the first. It fails all by raising, or single ones by returning a list with an exception or None for each.
        The rest means what it means for `handler`.
        """
        read = partial(
            BatchHandler.read, max_size=max_size, max_wait=max_wait, timeout=timeout, retries=retries,
            retry_on=retry_on, give_up_on=give_up_on,
        )  # fmt: skip
        return self._handlers.decorator(what, read)

    def middleware(self, function: Middleware) -> Middleware:
        """Register `async def around(task, run)`, called for every task; it awaits `run()` and sees what that raises.

        The first registered is the outermost. What it raises is what the attempt comes to.
        """
        self._handlers.add_middleware(function)
        return function

    def dead_letter(self, function: DeadLetterHook) -> DeadLetterHook:
        """Register `note(task, reason, error)`, called after a task of this worker became a dead letter."""
        self._handlers.add_dead_letter_hook(function)
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
            raise ConfigurationError("the worker is not running: its client is only available to handlers")
        return self._client

    @property
    def sync_client(self) -> SyncClient:
        """The same for plain handlers, which run in threads: each call returns when it is done.

        Raises ConfigurationError while the worker does not serve; an async handler that calls it gets one too.
        """
        if self._sync_client is None:
            raise ConfigurationError("the worker is not running: its client is only available to handlers")
        return self._sync_client

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then finish within the grace period and return.

        Where a plain function still runs after that, its thread cannot be stopped: the process exits with status 0.
        Where the program has set up no logging, this does, as `protoqueue worker` would.
        """
        refuse_in_a_function_process()
        if not logging.getLogger().handlers:
            configure_logging(form=os.environ.get("PROTOQUEUE_LOG_FORMAT") or "text")
        asyncio.run(self._run_with_signals())
        if self._executors is not None and self._executors.has_busy_threads:
            log.warning("exiting while functions still run in threads; their tasks were returned to the queue")
            exit_process(0)

    async def _run_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        await self.serve()

    def _signalled(self, number: int) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            log.warning("interrupted again: exiting without waiting")
            exit_process(130)
        log.info(
            "stopping: finishing running tasks and returning the others to the queue",
            extra={"signal": signal.strsignal(number)},
        )
        self._stop.set()

    def stop(self) -> None:
        """Have `serve` finish what runs and return."""
        self._stop.set()

    async def serve(self, broker: Broker | None = None) -> None:
        """Work until `stop()` is called or this is cancelled. Raises ConfigurationError for what no waiting will cure.

        NATS, the Queue and the ConsumerGroup may be missing: the worker says so and waits for them.
        """
        with self._running_alone():
            async with self._started(broker, waits=True) as loop:
                if loop is not None:
                    await loop.run(self._stop, self._grace())
        log.info("worker stopped")

    async def run_once(
        self,
        broker: Broker | None = None,
        *,
        timeout: float | timedelta | None = None,  # of the SDK's own kind, as everywhere
        raise_errors: bool = False,
    ) -> int:
        """Run what is ready, also what becomes so meanwhile, until the queue has nothing more; returns how many ran.

        Of a paused queue or group nothing is ready. With `raise_errors` the first attempt that fails ends it, and
        what the handler raised is raised once the task is settled. Raises TimeoutError after `timeout` seconds,
        QueueNotFound and GroupNotFound where there is none of that name, and ConfigurationError where NATS refuses
        acknowledgements. Whenever it ends before it is done, also by cancellation, what still runs is handed back.
        """
        timeout_s = None if timeout is None else to_seconds("timeout", timeout, ConfigurationError)
        with self._running_alone():
            async with asyncio.timeout(timeout_s), self._started(broker, waits=False) as loop:
                return 0 if loop is None else await self._drain(loop, raise_errors)

    async def _drain(self, loop: WorkLoop, raise_errors: bool) -> int:
        assert self._settings is not None
        loop.keeps_first_error = raise_errors
        stop = asyncio.Event()
        running = asyncio.create_task(loop.run(stop, self._grace()))
        try:
            while not running.done() and not loop.is_drained and loop.first_error is None:
                self._settings.refuse_if_missing()
                await asyncio.sleep(_DRAINED_LOOK_S)
        except BaseException:
            loop.skip_grace()
            raise
        finally:
            stop.set()
            await asyncio.wait([running])
        running.result()
        if loop.first_error is not None:
            raise loop.first_error
        return loop.finished

    @contextlib.contextmanager
    def _running_alone(self) -> Iterator[None]:
        refuse_in_a_function_process()
        if self._is_running:
            raise ConfigurationError("this worker is already running: raise its concurrency, or create another")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            self._client = self._sync_client = None
            self._stop = asyncio.Event()  # for the next time, which may be in another event loop

    @contextlib.asynccontextmanager
    async def _started(self, broker: Broker | None, *, waits: bool) -> AsyncIterator[WorkLoop | None]:
        """The loop, connected and following its settings; None when told to stop before there was a connection.

        One that `waits` does so for the queue and its only group; else they are refused where they are missing.
        """
        queue, named, concurrency = self._identity()
        self._grace()  # what makes no sense is said at once, not at the end
        async with contextlib.AsyncExitStack() as stack:
            connected = broker or await self._connect()
            if connected is not None and broker is None:
                stack.push_async_callback(connected.close)
            group = named or (None if connected is None else await self._find_group(connected, queue, waits=waits))
            if connected is None or group is None:
                yield None
                return
            yield await self._begun(connected, group, concurrency, stack)

    async def _begun(
        self, connected: Broker, group: GroupName, concurrency: int, stack: contextlib.AsyncExitStack
    ) -> WorkLoop:
        """The loop, with all that has to end when the stack unwinds."""
        metrics = WorkerMetrics(str(group.queue), group.name)
        self._handlers.begin(concurrency)
        self._executors = executors = Executors(concurrency)
        tracing = Tracing.using(self._tracer_provider)
        loop = WorkLoop(
            connected, group, self._handlers, Settler(connected, process_name()), metrics, executors, tracing
        )
        log.info("worker started", extra={"queue": str(group.queue), "group": group.name, "concurrency": concurrency})
        self._client = Client(connected, owned=False, tracer_provider=self._tracer_provider)
        self._sync_client = client_of(self._client)
        stack.push_async_callback(self._client.close)
        stack.callback(executors.close)
        executors.resources = await stack.enter_async_context(self._handlers.lifespan())
        self._settings = settings = SettingsWatch(connected, group, loop)
        await HealthServer.from_environment(stack, metrics.registry, connected, loop, settings)
        following = asyncio.create_task(settings.run())
        following.add_done_callback(self._follow_ended)
        stack.push_async_callback(cancel, following)

        def cancel_task(task_id: bytes) -> bytes | None:
            return b"" if loop.cancel(task_id.decode(errors="replace")) else None

        def report_status(_: bytes) -> bytes:
            trouble = connected.acks_refused or loop.unsettled or settings.missing or ""
            return WorkerStatus(host_name(), loop.running, concurrency, loop.is_rate_limited, trouble).encode()

        def report_held(task_id: bytes) -> bytes | None:
            held = loop.held(task_id.decode(errors="replace"))
            return held.encode() if held else None

        for_cancellations = await connected.listen(group.queue.cancellations, cancel_task)
        stack.push_async_callback(for_cancellations.unsubscribe)
        for_holder_requests = await connected.listen(group.queue.holder_requests, report_held)
        stack.push_async_callback(for_holder_requests.unsubscribe)
        for_status_requests = await connected.listen(group.status_requests, report_status)
        stack.push_async_callback(for_status_requests.unsubscribe)
        return loop

    def _follow_ended(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            log.error("stopping: watching the settings failed", exc_info=error)
            self._stop.set()

    def _identity(self) -> tuple[QueueName, GroupName | None, int]:
        """The queue, the group where it is named, and the concurrency; raises ConfigurationError."""
        queue = self._queue or os.environ.get("PROTOQUEUE_QUEUE")
        group = self._group or os.environ.get("PROTOQUEUE_GROUP")
        if not queue:
            raise ConfigurationError("no queue given: pass Worker('namespace/name'), or set PROTOQUEUE_QUEUE")
        if not self._handlers:
            raise ConfigurationError("the worker has no handler: decorate a function with @worker.handler")
        concurrency = self._concurrency
        if concurrency is None:
            text = os.environ.get("PROTOQUEUE_CONCURRENCY") or str(DEFAULT_CONCURRENCY)
            concurrency = parsed("PROTOQUEUE_CONCURRENCY", text, whole_number)
        queue_name = parsed("queue" if self._queue else "PROTOQUEUE_QUEUE", str(queue), QueueName.parse)
        read_group = partial(GroupName.parse, queue_name)
        name = parsed("group" if self._group else "PROTOQUEUE_GROUP", str(group), read_group) if group else None
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError(f"concurrency must be an integer of at least 1, not {concurrency!r}")
        return queue_name, name, concurrency

    async def _find_group(self, broker: Broker, queue: QueueName, *, waits: bool) -> GroupName | None:
        """The queue's only group, which one that `waits` does for; None when told to stop before."""
        while not self._stop.is_set():
            try:
                return await only_group(broker, queue)
            except (QueueNotFound, GroupNotFound, Unavailable) as error:
                if not waits and not isinstance(error, Unavailable):
                    raise
                log.warning("waiting: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _LOOK_FOR_GROUP_S)
        return None

    def _grace(self) -> float:
        """For how long what runs may go on after a stop, in seconds."""
        if self._grace_s is not None:
            return self._grace_s
        text = os.environ.get("PROTOQUEUE_GRACE_PERIOD") or str(DEFAULT_GRACE_PERIOD_S)
        try:
            period_s = to_seconds("PROTOQUEUE_GRACE_PERIOD", float(text))
        except ValueError as error:
            raise ConfigurationError(
                f"PROTOQUEUE_GRACE_PERIOD={text} is not a number of seconds, such as 30: {error}"
            ) from error
        return period_s - min(_LAST_S, period_s / 4)

    async def _connect(self) -> Broker | None:
        """Try until NATS is there; no broker when told to stop before."""
        options = ConnectionOptions.read(*self._connection)
        while not self._stop.is_set():
            try:
                return await open_broker(options, _CONNECT_TRY_S)
            except Unavailable as error:
                log.warning("waiting for NATS: %s", error)
        return None

"""The worker as its users see it."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from protoqueue.aio import cancel
from protoqueue.broker import Broker, ConnectionOptions
from protoqueue.client import Client
from protoqueue.consumer.answers import answer_requests
from protoqueue.consumer.exit import exit_process
from protoqueue.consumer.loop import WorkLoop
from protoqueue.consumer.options import WorkerOptions
from protoqueue.consumer.settings import SettingsWatch
from protoqueue.consumer.startup import connected_broker, found_group
from protoqueue.errors import ConfigurationError
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.process_pool import refuse_in_a_function_process
from protoqueue.handlers.registration import HandlerRegistration
from protoqueue.observability.health import HealthServer, Probed
from protoqueue.observability.log import configure_logging
from protoqueue.observability.metrics import WorkerMetrics
from protoqueue.observability.tracing import Tracing
from protoqueue.protocol.durations import to_seconds
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.settlement.settle import Settler, process_name
from protoqueue.sync import Client as SyncClient
from protoqueue.sync import client_of

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

log = logging.getLogger(__name__)

_DRAINED_LOOK_S = 0.005


class Worker(HandlerRegistration):
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
        super().__init__()
        self._options = WorkerOptions(queue, group, concurrency, grace_s)
        self._connection = (url, creds, ca)
        self._tracer_provider = tracer_provider
        self._stop = asyncio.Event()
        self._is_running = False
        self._client: Client | None = None
        self._sync_client: SyncClient | None = None
        self._executors: Executors | None = None
        self._settings: SettingsWatch | None = None

    def override(self, *, queue: str | None = None, group: str | None = None, concurrency: int | None = None) -> None:
        """Put other values in place of what the constructor was given; None leaves one as it is."""
        self._options.override(queue, group, concurrency)

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
        if self.has_busy_threads:
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

    @property
    def connection(self) -> tuple[str | None, str | None, str | None]:
        """What it was given of URL, credentials and CA."""
        return self._connection

    @property
    def has_busy_threads(self) -> bool:
        """Whether functions run on in threads, which cannot be stopped."""
        return self._executors is not None and self._executors.has_busy_threads

    async def serve(self, broker: Broker | None = None, *, health: HealthServer | None = None) -> None:
        """Work until `stop()` is called or this is cancelled. Raises ConfigurationError for what no waiting will cure.

        NATS, the Queue and the ConsumerGroup may be missing: the worker says so and waits for them. `health` is what
        several workers have in common; without one the worker has its own.
        """
        with self._running_alone():
            async with self._started(broker, waits=True, health=health) as loop:
                if loop is not None:
                    await loop.run(self._stop, self._options.read_grace_s())
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
        running = asyncio.create_task(loop.run(stop, self._options.read_grace_s()))
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
    async def _started(
        self, broker: Broker | None, *, waits: bool, health: HealthServer | None = None
    ) -> AsyncIterator[WorkLoop | None]:
        """The loop, connected and following its settings; None when told to stop before there was a connection.

        One that `waits` does so for the queue and its only group; else they are refused where they are missing.
        """
        queue, group, concurrency = self.identity()
        async with contextlib.AsyncExitStack() as stack:
            connected = broker or await connected_broker(ConnectionOptions.read(*self._connection), self._stop)
            if connected is not None and broker is None:
                stack.push_async_callback(connected.close)
            if connected is not None and group is None:
                group = await found_group(connected, queue, self._stop, waits=waits)
            if connected is None or group is None:
                yield None
                return
            yield await self._begun(connected, group, concurrency, stack, health)

    async def _begun(
        self, connected: Broker, group: GroupName, concurrency: int, stack: contextlib.AsyncExitStack,
        health: HealthServer | None,
    ) -> WorkLoop:  # fmt: skip
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
        if (server := health or HealthServer.from_environment(stack)) is not None:
            server.add(Probed(str(group), metrics.registry, connected, loop, settings), stack)
        following = asyncio.create_task(settings.run())
        following.add_done_callback(self._follow_ended)
        stack.push_async_callback(cancel, following)
        await answer_requests(stack, connected, group, loop, settings, concurrency)
        return loop

    def _follow_ended(self, following: asyncio.Task[None]) -> None:
        if not following.cancelled() and (error := following.exception()) is not None:
            log.error("stopping: watching the settings failed", exc_info=error)
            self._stop.set()

    def identity(self) -> tuple[QueueName, GroupName | None, int]:
        """The queue, the group if it is named, and the concurrency; raises ConfigurationError."""
        queue, group = self._options.read_names()
        if not self._handlers:
            raise ConfigurationError("the worker has no handler: decorate a function with @worker.handler")
        self._options.read_grace_s()  # refuses an invalid one now instead of when the worker stops
        return queue, group, self._options.read_concurrency()

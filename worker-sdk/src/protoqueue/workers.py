"""Several workers in one process: one connection, one health server, one answer to signals, and slots of their own."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence

from protoqueue.aio import cancel
from protoqueue.broker import Broker, ConnectionOptions
from protoqueue.consumer.exit import exit_process
from protoqueue.consumer.startup import connected_broker
from protoqueue.errors import ConfigurationError
from protoqueue.handlers.process_pool import refuse_in_a_function_process
from protoqueue.observability.health import HealthServer
from protoqueue.observability.log import configure_logging
from protoqueue.worker import Worker

log = logging.getLogger(__name__)


def run_workers(*workers: Worker) -> None:
    """Run all until SIGTERM or SIGINT, then finish within their grace periods and return.

    Workers that are given the same connection share one. When one ends before it is told to, the others are stopped,
    and what it raised is raised: the process is to be started anew rather than to leave a queue without a worker.
    Raises ConfigurationError for what no waiting will cure, also where two would work for the same group.
    """
    refuse_in_a_function_process()
    if not logging.getLogger().handlers:
        configure_logging(form=os.environ.get("PROTOQUEUE_LOG_FORMAT") or "text")
    asyncio.run(_run_with_signals(workers))
    if any(worker.has_busy_threads for worker in workers):
        log.warning("exiting while functions still run in threads; their tasks were returned to the queue")
        exit_process(0)


async def _run_with_signals(workers: Sequence[Worker]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def signalled(number: int) -> None:
        if stop.is_set() and number == signal.SIGINT:
            log.warning("interrupted again: exiting without waiting")
            exit_process(130)
        log.info(
            "stopping: finishing running tasks and returning the others to their queues",
            extra={"signal": signal.strsignal(number)},
        )
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number)
    await serve_workers(workers, stop)


async def serve_workers(workers: Sequence[Worker], stop: asyncio.Event, broker: Broker | None = None) -> None:
    """The same until `stop` is set, on a `broker` where one is given."""
    _refuse_doubles(workers)
    async with contextlib.AsyncExitStack() as stack:
        health = HealthServer.from_environment(stack, len(workers))
        brokers = {} if broker else await _connected(workers, stop, stack)
        if stop.is_set():
            return
        serving = [
            asyncio.create_task(worker.serve(broker or brokers[worker.connection], health=health)) for worker in workers
        ]
        stopped = asyncio.create_task(stop.wait())
        stack.push_async_callback(cancel, stopped)
        try:
            await asyncio.wait([stopped, *serving], return_when=asyncio.FIRST_COMPLETED)
            _tell_of_ends(workers, serving, stop)
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.wait(serving)
        for ended in serving:
            ended.result()


def _tell_of_ends(workers: Sequence[Worker], serving: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    for worker, ended in zip(workers, serving, strict=True):
        if ended.done() and not stop.is_set():
            error = None if ended.cancelled() else ended.exception()
            log.error(
                "a worker has ended, stopping the others: %s", error or "it was told to stop",
                extra={"queue": str(worker.identity()[0])},
            )  # fmt: skip


async def _connected(
    workers: Sequence[Worker], stop: asyncio.Event, stack: contextlib.AsyncExitStack
) -> Mapping[tuple[str | None, str | None, str | None], Broker]:
    """A connection for each that workers were given; fewer where told to stop before."""
    brokers: dict[tuple[str | None, str | None, str | None], Broker] = {}
    for connection in dict.fromkeys(worker.connection for worker in workers):
        broker = await connected_broker(ConnectionOptions.read(*connection), stop)
        if broker is not None:
            brokers[connection] = broker
            stack.push_async_callback(broker.close)
    return brokers


def _refuse_doubles(workers: Sequence[Worker]) -> None:
    """Raises ConfigurationError where two work for one group: one of more concurrency does the same."""
    seen = set()
    for worker in workers:
        queue, group, _ = worker.identity()
        if (queue, group) in seen:
            what = group or f"the only group of {queue}"
            raise ConfigurationError(f"two workers are for {what}: raise the concurrency of one, and remove the other")
        seen.add((queue, group))

"""What handlers run in: threads, processes, and the resources of the worker's lifespan."""

import asyncio
import contextvars
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any


class Surroundings:
    """Threads and processes start when they are needed.

    A function that is over its timeout or cancelled runs on, since nothing stops it but the end of the process. It
    keeps its thread or process, which tasks then wait for in vain: there are as many threads in reserve as tasks at
    once, and `left_behind` says when more than the reserve is gone.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.resources: Mapping[str, Any] = {}
        self._threads = ThreadPoolExecutor(2 * concurrency, thread_name_prefix="protoqueue")
        self._process_count = min(concurrency, os.cpu_count() or 1)
        self._processes: ProcessPoolExecutor | None = None
        self._lost_threads: set[Future[Any]] = set()
        self._lost_processes: set[Future[Any]] = set()

    async def in_thread(self, function: Callable[..., Any], *arguments: Any, **resources: Any) -> Any:
        call = functools.partial(contextvars.copy_context().run, _called, function, *arguments, **resources)
        return await _ended(self._threads.submit(call), self._lost_threads)

    @property
    def has_busy_threads(self) -> bool:
        """Whether a function that nobody waits for any more still runs in a thread."""
        return bool(self._lost_threads)

    @property
    def left_behind(self) -> int:
        """How many functions run on that nobody waits for, once that leaves too few threads or processes; else 0."""
        if len(self._lost_threads) >= self.concurrency:
            return len(self._lost_threads)
        return len(self._lost_processes) if len(self._lost_processes) >= self._process_count else 0

    async def in_process(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Function and arguments are pickled. A process that dies fails the attempts in all of them; new ones start."""
        if self._processes is None:
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(
                self._process_count, mp_context=context, initializer=_end_with_the_worker
            )
        try:
            return await _ended(self._processes.submit(_called, function, *arguments), self._lost_processes)
        except BrokenExecutor:
            self._processes = None
            raise

    def close(self) -> None:
        """Do not wait for what still runs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.shutdown(wait=False, cancel_futures=True)


def _called(function: Callable[..., Any], *arguments: Any, **resources: Any) -> Any:
    """Call it, there. What the event loop would take for its own end, or no future takes, is an error like others."""
    try:
        return function(*arguments, **resources)
    except (StopIteration, KeyboardInterrupt, GeneratorExit) as error:
        raise RuntimeError(f"the function raised {type(error).__name__}") from error


async def _ended(call: "Future[Any]", lost: "set[Future[Any]]") -> Any:
    """What a call came to; one that is no longer waited for is among the `lost` until it ends."""
    try:
        return await asyncio.wrap_future(call)
    except asyncio.CancelledError:
        if call.running():
            lost.add(call)
            call.add_done_callback(lost.discard)
        raise


def _end_with_the_worker() -> None:
    """Runs in each process: a worker that is killed would leave it behind, waiting for calls that cannot come."""
    worker = multiprocessing.parent_process()
    if worker is None:
        return

    def watch() -> None:
        worker.join()
        os._exit(1)

    threading.Thread(target=watch, name="protoqueue-end-with-the-worker", daemon=True).start()

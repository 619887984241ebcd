"""What handlers run in: threads, processes, and the resources of the worker's lifespan."""

import asyncio
import contextvars
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any


class Surroundings:
    """Threads and processes start when they are needed."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.resources: Mapping[str, Any] = {}
        self._in_threads = 0
        self._count = threading.Lock()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="protoqueue")
        self._processes: ProcessPoolExecutor | None = None

    async def in_thread(self, function: Callable[..., Any], *arguments: Any, **resources: Any) -> Any:
        call = functools.partial(contextvars.copy_context().run, function, *arguments, **resources)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._counted, call)

    def _counted(self, call: Callable[[], Any]) -> Any:
        with self._count:
            self._in_threads += 1
        try:
            return call()
        finally:
            with self._count:
                self._in_threads -= 1

    @property
    def has_busy_threads(self) -> bool:
        """Whether a function still runs in a thread, which nothing can stop but the end of the process."""
        return self._in_threads > 0

    async def in_process(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Function and arguments are pickled. A process that dies fails the attempts in all of them; new ones start."""
        if self._processes is None:
            count = min(self.concurrency, os.cpu_count() or 1)
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_the_worker)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._processes, function, *arguments)
        except BrokenExecutor:
            self._processes = None
            raise

    def close(self) -> None:
        """Do not wait for what still runs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.shutdown(wait=False, cancel_futures=True)


def _end_with_the_worker() -> None:
    """Runs in each process: a worker that is killed would leave it behind, waiting for calls that cannot come."""
    worker = multiprocessing.parent_process()
    if worker is None:
        return

    def watch() -> None:
        worker.join()
        os._exit(1)

    threading.Thread(target=watch, name="protoqueue-end-with-the-worker", daemon=True).start()

"""Where handlers run: threads and processes, with the resources of the worker's lifespan."""

import asyncio
import contextvars
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from protoqueue.handlers.process_pool import Processes


class Executors:
    """Threads and processes start when they are needed.

    A function that is over its timeout or cancelled is killed in a process, and runs on in a thread, which tasks then
    wait for in vain: there are as many threads in reserve as tasks at once, and `left_behind` says when more than the
    reserve is gone.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.resources: Mapping[str, Any] = {}
        self._threads = ThreadPoolExecutor(2 * concurrency, thread_name_prefix="protoqueue")
        self._lost_threads: set[Future[Any]] = set()
        self._processes = Processes(concurrency)

    async def in_thread(self, function: Callable[..., Any], *arguments: Any, **resources: Any) -> Any:
        call = functools.partial(contextvars.copy_context().run, called, function, *arguments, **resources)
        future = self._threads.submit(call)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.running():
                self._lost_threads.add(future)
                future.add_done_callback(self._lost_threads.discard)
            raise

    async def in_process(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Function and arguments are pickled. Raises ProcessDied besides what the function raises."""
        return await self._processes.call(called, function, *arguments)

    @property
    def has_busy_threads(self) -> bool:
        """Whether an abandoned function still runs in a thread."""
        return bool(self._lost_threads)

    @property
    def left_behind(self) -> int:
        """How many abandoned functions still run, once that leaves too few threads; else 0."""
        return len(self._lost_threads) if len(self._lost_threads) >= self.concurrency else 0

    def close(self) -> None:
        """Close without waiting for running functions."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._processes.close()


def called(function: Callable[..., Any], *arguments: Any, **resources: Any) -> Any:
    """Call it in the executor.

    Exceptions that would end the event loop, or that futures reject, become ordinary errors.
    """
    try:
        return function(*arguments, **resources)
    except (StopIteration, KeyboardInterrupt, GeneratorExit) as error:
        raise RuntimeError(f"the function raised {type(error).__name__}") from error

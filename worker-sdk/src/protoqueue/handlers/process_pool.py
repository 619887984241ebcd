"""Processes for functions that compute: one call at a time in each, so that a process can be killed for its call."""

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

_ENDING_S = 1.0

_PROCESSES = multiprocessing.get_context("forkserver")
"""Forks of a server that has imported the SDK and no more: a worker's own would take over locks of other threads."""


class ProcessDied(Exception):
    """The process of a function ended before the function did."""


class Processes:
    """Started when none is idle, up to `most`, and kept.

    A call waits for one that has imported its function, and its end does not end a start: else a timeout shorter than
    the imports would be over each time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="protoqueue-process")
        self._all: set[_Process] = set()
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; its process is killed if that is no longer waited for.

        Function, arguments, and what becomes of them are pickled. Raises what the function raises, and ProcessDied.
        """
        request = pickle.dumps((function, arguments))
        process = await self._take(request)
        try:
            answer = await self._ask(process, request)
        except BaseException:
            self._all.discard(process)
            process.kill()
            raise
        self._idle.put_nowait(process)
        returned, error = pickle.loads(answer)  # noqa: S301  # it comes from a function of the worker's own
        if error is not None:
            raise error
        return returned

    async def _take(self, request: bytes) -> "_Process":
        while True:
            if self._idle.empty() and len(self._all) < self._most:
                self._start(request)
            process = await self._idle.get()
            if process.is_alive or not process.is_ready:  # of one that died at its start the call shall tell
                return process
            self._all.discard(process)

    def _start(self, request: bytes) -> None:
        process = _Process()
        self._all.add(process)

        def started(loaded: "asyncio.Future[bytes]") -> None:
            process.is_ready = not loaded.cancelled() and loaded.exception() is None
            self._idle.put_nowait(process)

        self._ask(process, pickle.dumps((_load, (request,)))).add_done_callback(started)

    def _ask(self, process: "_Process", request: bytes) -> "asyncio.Future[bytes]":
        return asyncio.get_running_loop().run_in_executor(self._threads, process.ask, request)

    def close(self) -> None:
        """Kill them all: one that is left would keep the program from ending."""
        for process in self._all:
            process.kill()
        self._threads.shutdown(wait=False)


class _Process:
    def __init__(self) -> None:
        _PROCESSES.set_forkserver_preload([__name__])
        self._connection, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()
        self.is_ready = False

    def ask(self, request: bytes) -> bytes:
        """Blocks until the answer is there; raises ProcessDied."""
        try:
            self._connection.send_bytes(request)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            self._process.join(_ENDING_S)
            raise ProcessDied(f"the function's process {_ending(self._process.exitcode)}") from None

    @property
    def is_alive(self) -> bool:
        """Of an idle one, which says nothing until it is asked; what its exit code is becomes known later."""
        return not self._connection.poll()

    def kill(self) -> None:
        """With all that it has started, unless that has left its process group."""
        if self._process.exitcode is None:
            assert self._process.pid is not None
            with contextlib.suppress(ProcessLookupError):  # it has made no group yet
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()


def _ending(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with status {exit_code}"
    by = signal.Signals(-exit_code).name
    return f"was killed by {by}" + (", as happens for want of memory" if exit_code == -signal.SIGKILL else "")


def _serve(connection: Connection) -> None:
    """What runs in a process, until the worker closes the connection or dies."""
    os.setpgid(0, 0)  # Ctrl-C is the worker's, which lets functions finish; and what they start can be killed with them
    _end_with_the_worker()
    with contextlib.suppress(EOFError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _answer(request: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(request)  # noqa: S301  # it comes from the worker
        return pickle.dumps((function(*arguments), None))
    except BaseException as error:  # also exit(), which is not the worker's
        error.add_note(f"In the function's process:\n{''.join(traceback.format_exception(error))}")
        return pickle.dumps((None, _portable(error)))


def _load(request: bytes) -> None:
    """Import what a request names; where that fails, the call fails the same way and tells of it."""
    pickle.loads(request)  # noqa: S301  # it comes from the worker


def _portable(error: BaseException) -> BaseException:
    """An error that the worker can read: one whose class takes other arguments than it keeps is told by its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # its own
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error


def _end_with_the_worker() -> None:
    """A worker that is killed would leave a function behind, computing for nobody."""
    worker = multiprocessing.parent_process()
    assert worker is not None

    def watch() -> None:
        worker.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="protoqueue-end-with-the-worker", daemon=True).start()

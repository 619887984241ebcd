"""Processes for CPU-bound functions: one call at a time in each, so that a process can be killed with its call."""

import asyncio
import contextlib
import importlib.abc
import importlib.util
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver, popen_forkserver, reduction, spawn, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess, set_spawning_popen
from multiprocessing.process import BaseProcess
from typing import Any

from protoqueue.errors import ConfigurationError
from protoqueue.handlers.results import Unsendable

_ENDING_S = 1.0

_CONTEXT = multiprocessing.get_context("forkserver")

_SERVER = forkserver.ForkServer()
"""Forks of it have imported the SDK and no more: a worker's own would take over locks of other threads. It is not the
program's own fork server, which may have been told to import something else."""
_SERVER.set_forkserver_preload([__name__])

_MAIN = "__mp_main__"
"""What multiprocessing calls a program's main module in another process, and makes known in the program too."""


class ProcessDied(Exception):
    """The process ended before the function did."""


class _MainReached(SystemExit):
    """The main module of the program has come to where its worker runs: everything before that is there.

    Of SystemExit the event loop knows that it is not for one task alone.
    """


class _Child:
    """What holds in this process, where it is one for functions."""

    is_one = False
    main: dict[str, Any] | None = None
    """Where the program's main module is, until it is imported."""
    is_importing_main = False


def refuse_in_a_function_process() -> None:
    """To be called where a worker starts: in a process for functions none must.

    A script that runs its worker without `if __name__ == "__main__"` would begin another in each process that imports
    it for one of its functions. Ends that import, and raises ConfigurationError for a function.
    """
    if _Child.is_importing_main:
        raise _MainReached
    if _Child.is_one:
        raise ConfigurationError("a handler in a process cannot run a worker: run it in a program of its own")


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
        return _read_returned(returned)

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

        load = pickle.dumps((_load, (request,)))
        # Also the start itself takes its time, and the first one seconds: the event loop has leases to extend.
        starting = asyncio.get_running_loop().run_in_executor(self._threads, process.start_and_ask, load)
        starting.add_done_callback(started)

    def _ask(self, process: "_Process", request: bytes) -> "asyncio.Future[bytes]":
        return asyncio.get_running_loop().run_in_executor(self._threads, process.ask, request)

    def close(self) -> None:
        """Kill them all: one that is left would keep the program from ending."""
        for process in self._all:
            process.kill()
        self._threads.shutdown(wait=False)


class _Process:
    def __init__(self) -> None:
        self._connection, self._theirs = _CONTEXT.Pipe()
        self._process = _Started(target=_serve, args=(self._theirs, _main_module()), name="protoqueue-function")
        self._is_starting = threading.Lock()
        self._is_killed = False
        self.is_ready = False

    def start_and_ask(self, request: bytes) -> bytes:
        """Blocks as `ask` does."""
        with self._is_starting:
            if self._is_killed:
                raise ProcessDied("the worker ended before the function's process had started")
            self._process.start()
            self._theirs.close()
        return self.ask(request)

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
        self._is_killed = True
        if self._is_starting.acquire(blocking=False):
            self._is_starting.release()
        else:  # whoever starts it
            threading.Thread(target=self._kill_once_started, daemon=True).start()
            return
        self._kill()

    def _kill_once_started(self) -> None:
        with self._is_starting:
            self._kill()

    def _kill(self) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):  # it has made no group yet
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()


def _ending(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with status {exit_code}"
    by = signal.Signals(-exit_code).name
    return f"was killed by {by}" + (", as happens where memory runs out" if exit_code == -signal.SIGKILL else "")


class _Popen(popen_forkserver.Popen):
    """multiprocessing's own would have the process import the program's main module before anything else."""

    def _launch(self, process_obj: BaseProcess) -> None:
        preparation = spawn.get_preparation_data(process_obj.name)
        for where in _MAIN_IS_AT:
            preparation.pop(where, None)
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(preparation, data)
            reduction.dump(process_obj, data)
        finally:
            set_spawning_popen(None)
        self.sentinel, to_process = _SERVER.connect_to_new_process(self._fds)  # type: ignore[attr-defined]  # typeshed leaves it out
        # Of these two the process learns when its parent ends, and the parent when the process does.
        self.finalizer = util.Finalize(self, _close, (os.dup(to_process), self.sentinel))
        with open(to_process, "wb", closefd=True) as pipe:
            pipe.write(data.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Started(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> popen_forkserver.Popen:  # noqa: N802  # multiprocessing's name
        return _Popen(process_obj)


_MAIN_IS_AT = ("init_main_from_name", "init_main_from_path")


def _main_module() -> dict[str, Any]:
    preparation = spawn.get_preparation_data("protoqueue")
    return {where: preparation[where] for where in _MAIN_IS_AT if where in preparation}


def _serve(connection: Connection, main: dict[str, Any]) -> None:
    """What runs in a process, until the worker closes the connection or dies."""
    _Child.is_one, _Child.main = True, main
    os.setpgid(0, 0)  # Ctrl-C is the worker's, which lets functions finish; and what they start can be killed with them
    _end_with_the_worker()
    with contextlib.suppress(EOFError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _answer(request: bytes) -> bytes:
    """Apart from the error, which tells the worker how the function ended, stands what it returned, as bytes."""
    try:
        function, arguments = _read(request)
        return pickle.dumps((_dumped(function(*arguments)), None))
    except BaseException as error:  # also exit(), which is not the worker's
        error.add_note(f"In the function's process:\n{''.join(traceback.format_exception(error))}")
        return pickle.dumps((None, _portable(error)))


def _dumped(returned: Any) -> bytes:
    try:
        return pickle.dumps(returned)
    except Exception as error:
        return pickle.dumps(_unsendable(type(returned).__name__, error))


def _read_returned(data: bytes) -> Any:
    try:
        return pickle.loads(data)  # noqa: S301  # it comes from a function of the worker's own
    except Exception as error:
        return _unsendable("value", error)


def _unsendable(kind: str, error: Exception) -> Unsendable:
    return Unsendable(f"the result is not stored: a {kind} cannot be pickled in the function's process: {error}")


def _load(request: bytes) -> None:
    """Import what a request names; where that fails, the call fails the same way and tells of it."""
    _read(request)


def _read(request: bytes) -> Any:
    """What the worker sends."""
    return _Unpickler(io.BytesIO(request)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name in ("__main__", _MAIN) and _Child.main is not None:
            where, _Child.main = _Child.main, None
            _import_main(where)
        return super().find_class(module_name, global_name)


def _import_main(where: dict[str, Any]) -> None:
    """As multiprocessing does it, but as far as a worker that the module itself runs, and only once it is needed."""
    name, path = (where.get(key) for key in _MAIN_IS_AT)
    module = types.ModuleType(_MAIN)
    sys.modules["__main__"] = sys.modules[_MAIN] = module
    if name is not None:
        module.__spec__ = spec = importlib.util.find_spec(name)
        loader = spec.loader if spec is not None else None
        code = loader.get_code(name) if isinstance(loader, importlib.abc.InspectLoader) else None
        module.__file__, module.__package__ = (spec.origin, spec.parent) if spec is not None else (None, None)
    else:
        module.__file__ = path
        with io.open_code(str(path)) as file:
            code = compile(file.read(), str(path), "exec")
    if code is None:
        return
    _Child.is_importing_main = True
    try:
        exec(code, module.__dict__)  # noqa: S102  # the program's own
    except _MainReached:
        pass
    finally:
        _Child.is_importing_main = False


def _portable(error: BaseException) -> BaseException:
    """An error that the worker can read: one whose class takes other arguments than it keeps is told by its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # its own
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error


def _end_with_the_worker() -> None:
    """A killed worker would leave a running function behind."""
    worker = multiprocessing.parent_process()
    assert worker is not None

    def watch() -> None:
        worker.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="protoqueue-end-with-the-worker", daemon=True).start()

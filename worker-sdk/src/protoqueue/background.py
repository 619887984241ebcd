"""Event loops for synchronous code: one in a thread of its own, or that of a running worker."""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from protoqueue.errors import ConfigurationError

_Result = TypeVar("_Result")

_LOOK_S = 1.0
"""How often a thread that waits looks for Ctrl-C: one that comes as it falls asleep, or to another thread, does not
wake it."""


class Runner(Protocol):
    """Runs coroutines for a thread that waits for them."""

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """What the coroutine returns or raises; if waiting for it is interrupted, it is cancelled."""


class LoopRunner:
    """Runs coroutines in an event loop of another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Raises ConfigurationError in the loop's own thread, which would wait for itself."""
        if _running_loop() is self._loop:
            coroutine.close()
            raise ConfigurationError(
                "called from a running event loop, which it would block: use the async client here"
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            while True:
                try:
                    return future.result(_LOOK_S)
                except TimeoutError:
                    if future.done():
                        return future.result()
        except BaseException:
            future.cancel()
            raise


class BackgroundLoop:
    """An event loop in a daemon thread, started when first needed, and again in a forked process."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._runner: LoopRunner | None = None

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        with self._lock:
            runner = self._runner = self._runner or LoopRunner(_started_loop())
        return runner.run(coroutine)


def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="protoqueue", daemon=True).start()
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


BACKGROUND = BackgroundLoop()
"""This process's event loop."""

_on_fork: "weakref.WeakSet[_Forked]" = weakref.WeakSet()
_left_behind: list[object] = []
"""Objects of the parent process: kept alive, as finalizing them here could touch what the parent still uses."""


class _Forked(Protocol):
    def after_fork(self) -> object:
        """Start afresh in the child; what is returned is kept and never touched again."""


def on_fork(one: _Forked) -> None:
    """Have `after_fork` called in each forked process, as long as the object lives."""
    _on_fork.add(one)


def _in_child() -> None:
    _left_behind.append(BACKGROUND.__dict__.copy())
    BACKGROUND._forget()  # noqa: SLF001
    _left_behind.extend([one.after_fork() for one in list(_on_fork)])


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)  # not on Windows, where nothing forks
if _register is not None:
    _register(after_in_child=_in_child)

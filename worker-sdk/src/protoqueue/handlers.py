"""Handlers: what a user's function takes, read once from its signature, and how it is called."""

import asyncio
import contextvars
import inspect
import multiprocessing
import os
import typing
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from protoqueue.codec import Decoder, decoder_for
from protoqueue.errors import ConfigurationError, NoHandler
from protoqueue.task import Task


class Executors:
    """Where plain functions run: threads, or processes for what needs a processor of its own."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="protoqueue")
        self._processes: ProcessPoolExecutor | None = None

    async def in_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(function, *arguments)
        )

    async def in_process(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Function and arguments are pickled. A process that dies fails the attempts in all of them; new ones start."""
        if self._processes is None:
            count = min(self._concurrency, os.cpu_count() or 1)
            self._processes = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
        try:
            await asyncio.get_running_loop().run_in_executor(self._processes, function, *arguments)
        except BrokenExecutor:
            self._processes = None
            raise

    def close(self) -> None:
        """Do not wait for what still runs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Handler:
    """A user's function. `payload` decodes its first argument; without it the function takes the task alone."""

    function: Callable[..., Any]
    payload: Decoder | None
    takes_task: bool
    is_async: bool
    timeout_s: float | None = None
    in_process: bool = False

    @classmethod
    def read(cls, function: Callable[..., Any], timeout_s: float | None = None, executor: str = "thread") -> "Handler":
        """Read a signature, `(payload)`, `(payload, task)` or `(task: Task)`; raises ConfigurationError for others."""
        wanted = [
            annotation
            for parameter, annotation in _parameters(function)
            if parameter.default is parameter.empty or annotation is Task
        ]
        if not 1 <= len(wanted) <= 2:
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigurationError(f"handler {name} must take (payload), (payload, task) or (task: Task)")
        if executor not in ("thread", "process"):
            raise ConfigurationError(f"executor is 'thread' or 'process', not {executor!r}")
        task_alone = wanted == [Task]
        return cls(
            function=function,
            payload=None if task_alone else decoder_for(wanted[0]),
            takes_task=task_alone or len(wanted) == 2,
            is_async=inspect.iscoroutinefunction(inspect.unwrap(function))
            or inspect.iscoroutinefunction(getattr(function, "__call__", None)),  # noqa: B004
            timeout_s=timeout_s,
            in_process=executor == "process",
        )

    def arguments(self, task: Task) -> tuple[Any, ...]:
        """Decode the payload; raises UndecodableTask."""
        if self.payload is None:
            return (task,)
        payload = self.payload(task.data, task.content_type)
        return (payload, task) if self.takes_task else (payload,)

    async def call(self, arguments: tuple[Any, ...], executors: Executors) -> None:
        """Run it, a plain function in a thread or process; raises what it raises, and TimeoutError."""
        async with asyncio.timeout(self.timeout_s) if self.timeout_s else _no_timeout:
            if self.is_async:
                await self.function(*arguments)
                return
            if self.in_process:
                await executors.in_process(self.function, arguments)
                return
            result = await executors.in_thread(self.function, arguments)
            if inspect.isawaitable(result):
                await result


class _NoTimeout:
    """Costs less than `asyncio.timeout(None)`, which every task would pay."""

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, *_: object) -> None:
        return


_no_timeout = _NoTimeout()


def _parameters(function: Callable[..., Any]) -> list[tuple[inspect.Parameter, Any]]:
    """The parameters that can be passed by position, each with what its annotation means."""
    target = inspect.unwrap(function)
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(
            f"handler {name} is annotated with a name that cannot be found at run time: {error}"
        ) from error
    return [
        (parameter, hints.get(parameter.name, parameter.annotation))
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


class Registry:
    """A worker's handlers by task type; the one for `None` takes every type that has none of its own."""

    def __init__(self) -> None:
        self._handlers: dict[str | None, Handler] = {}

    def add(self, task_type: str | None, handler: Handler) -> None:
        """Raises ConfigurationError where the type has a handler already."""
        if task_type in self._handlers:
            which = "a default handler" if task_type is None else f"a handler for {task_type!r}"
            raise ConfigurationError(f"the worker has {which} already")
        self._handlers[task_type] = handler

    def find(self, task_type: str) -> Handler:
        """Raises NoHandler."""
        found = self._handlers.get(task_type) or self._handlers.get(None)
        if found is None:
            raise NoHandler(f"this worker has no handler for type {task_type!r}: add @worker.handler({task_type!r})")
        return found

    def __bool__(self) -> bool:
        return bool(self._handlers)

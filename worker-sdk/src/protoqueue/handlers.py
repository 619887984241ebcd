"""Handlers: what a user's function takes, read once from its signature, and how it is called."""

import asyncio
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protoqueue.codec import Decoder, decoder_for
from protoqueue.errors import ConfigurationError
from protoqueue.surroundings import Surroundings
from protoqueue.task import Task


@dataclass(frozen=True)
class Function:
    """A user's function as it can be called: the annotations of what it takes by position, and resources by name."""

    call: Callable[..., Any]
    name: str
    takes: tuple[Any, ...]
    resources: tuple[str, ...]
    is_async: bool
    in_process: bool

    @classmethod
    def read(cls, function: Callable[..., Any], executor: str) -> "Function":
        """Raises ConfigurationError for annotations that cannot be found, and an executor that does not exist."""
        name = getattr(function, "__qualname__", repr(function))
        hints = _hints(function, name)
        takes: list[Any] = []
        resources: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            annotation = hints.get(parameter.name, parameter.annotation)
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                resources.append(parameter.name)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and (
                parameter.default is parameter.empty or annotation is Task
            ):
                takes.append(annotation)
        if executor not in ("thread", "process"):
            raise ConfigurationError(f"executor is 'thread' or 'process', not {executor!r}")
        is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # is it one, not: has it one
        )
        if executor == "process" and (resources or is_async):
            raise ConfigurationError(f"handler {name} cannot run in a process: it is async or takes resources")
        return cls(function, name, tuple(takes), tuple(resources), is_async, executor == "process")

    async def __call__(self, surroundings: Surroundings, *arguments: Any) -> Any:
        """Run it here if it is async, else in a thread or process; raises what it raises."""
        resources = {name: surroundings.resources[name] for name in self.resources} if self.resources else {}
        if self.is_async:
            return await self.call(*arguments, **resources)
        if self.in_process:
            return await surroundings.in_process(self.call, *arguments)
        result = await surroundings.in_thread(self.call, *arguments, **resources)
        return await result if inspect.isawaitable(result) else result


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target = inspect.unwrap(function)
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"handler {name} is annotated with a name that cannot be found at run time: {error}"
        ) from error


@dataclass(frozen=True)
class Handler:
    """Runs one task at a time. `payload` decodes its first argument; without it the function takes the task alone."""

    function: Function
    payload: Decoder | None
    takes_task: bool
    timeout_s: float | None = None

    @classmethod
    def read(cls, function: Callable[..., Any], timeout_s: float | None = None, executor: str = "thread") -> "Handler":
        """Read a signature, `(payload)`, `(payload, task)` or `(task: Task)`; raises ConfigurationError for others."""
        read = Function.read(function, executor)
        if not 1 <= len(read.takes) <= 2:
            raise ConfigurationError(f"handler {read.name} must take (payload), (payload, task) or (task: Task)")
        if read.takes == (Task,):
            return cls(read, None, takes_task=True, timeout_s=timeout_s)
        return cls(read, decoder_for(read.takes[0]), takes_task=len(read.takes) == 2, timeout_s=timeout_s)

    @functools.cached_property
    def _is_simple(self) -> bool:
        return self.function.is_async and not self.function.resources

    @property
    def resources(self) -> tuple[str, ...]:
        return self.function.resources

    def arguments(self, task: Task) -> tuple[Any, ...]:
        """Decode the payload; raises UndecodableTask."""
        if self.payload is None:
            return (task,)
        payload = self.payload(task.data, task.content_type)
        return (payload, task) if self.takes_task else (payload,)

    async def run(self, task: Task, surroundings: Surroundings) -> None:
        """Raises UndecodableTask, TimeoutError, and what the function raises."""
        arguments = self.arguments(task)
        if self.timeout_s is None:
            if self._is_simple:
                await self.function.call(*arguments)
            else:
                await self.function(surroundings, *arguments)
            return
        async with asyncio.timeout(self.timeout_s):
            await self.function(surroundings, *arguments)

"""Handlers: a user's function, its parameters read once from its signature, and how it is called."""

import asyncio
import functools
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from protoqueue.errors import ConfigurationError
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.retry_rules import NO_RULES, Errors, RetryRules
from protoqueue.protocol.durations import to_seconds
from protoqueue.protocol.payloads import Decoder, decoder_for
from protoqueue.task import Retries, Task

Executor: TypeAlias = Literal["thread", "process"]

_Payload = TypeVar("_Payload")
_Result = TypeVar("_Result")
_More = ParamSpec("_More")


class HandlerOf(Protocol[_Payload]):
    """Registers a function that takes this payload first, or only the task."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[_Payload, _More], _Result], /
    ) -> Callable[Concatenate[_Payload, _More], _Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Task, _More], _Result], /
    ) -> Callable[Concatenate[Task, _More], _Result]: ...


@dataclass(frozen=True)
class Function:
    """A user's function: the annotations of its positional parameters, and its resources by name."""

    call: Callable[..., Any]
    name: str
    takes: tuple[Any, ...]
    resources: tuple[str, ...]
    is_async: bool
    in_process: bool

    @classmethod
    def read(cls, function: Callable[..., Any], executor: str) -> "Function":
        """Raises ConfigurationError for unresolvable annotations, and a function that cannot run in this executor."""
        name = getattr(function, "__qualname__", repr(function))
        if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in (function, _method(function))):
            raise ConfigurationError(
                f"handler {name} is a generator function, which cannot be a handler: remove the yield"
            )
        target = _target(function)
        hints = _hints(target, name)
        takes: list[Any] = []
        resources: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            annotation = hints.get(parameter.name, parameter.annotation)
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                resources.append(parameter.name)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and (
                parameter.default is parameter.empty or _is_task(annotation)
            ):
                takes.append(annotation)
        if executor not in ("thread", "process"):
            raise ConfigurationError(f"executor must be 'thread' or 'process', not {executor!r}")
        if executor == "process" and (resources or inspect.iscoroutinefunction(target) or "<" in target.__qualname__):
            raise ConfigurationError(
                f"handler {name} cannot run in a process: it must be a plain function without resources, "
                "at the top of an importable module"
            )
        return cls(function, name, tuple(takes), tuple(resources), is_async(function), executor == "process")

    async def __call__(self, executors: Executors, *arguments: Any) -> Any:
        """Run it in the event loop if it is async, else in a thread or process; raises what it raises."""
        resources = {name: executors.resources[name] for name in self.resources} if self.resources else {}
        if self.is_async:
            return await self.call(*arguments, **resources)
        if self.in_process:
            return await executors.in_process(self.call, *arguments)
        result = await executors.in_thread(self.call, *arguments, **resources)
        return await result if inspect.isawaitable(result) else result


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it only creates a coroutine: a plain wrapper may do anything, so it counts as plain."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function if inspect.isroutine(function) else _method(function))


def _target(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that finally runs, beneath decorators and callable objects."""
    target = inspect.unwrap(function)
    while isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    return target if inspect.isroutine(target) else _method(target)


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs when an object is called."""
    return type(function).__call__


def _is_task(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return Task in typing.get_args(annotation)
    return annotation is Task


def time_limit(name: str, timeout: float | timedelta | None) -> float | None:
    """A handler's timeout in seconds; raises ConfigurationError unless it is positive."""
    limit = None if timeout is None else to_seconds(f"the timeout of handler {name}", timeout, ConfigurationError)
    if limit == 0:
        raise ConfigurationError(f"the timeout of handler {name} is 0: no attempt could succeed")
    return limit


def _hints(target: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"handler {name} has an annotation that cannot be resolved at run time: {error}"
        ) from error


@dataclass(frozen=True)
class Handler:
    """Runs one task at a time. `payload` decodes its first argument; without it the function takes the task alone."""

    function: Function
    payload: Decoder | None
    takes_task: bool
    timeout_s: float | None = None
    rules: RetryRules = NO_RULES

    @classmethod
    def read(
        cls,
        function: Callable[..., Any],
        timeout: float | timedelta | None = None,
        executor: str = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> "Handler":
        """Read a signature, `(payload)`, `(payload, task)` or `(task: Task)`; raises ConfigurationError for others."""
        read = Function.read(function, executor)
        takes_task_first = bool(read.takes) and _is_task(read.takes[0])
        if not 1 <= len(read.takes) <= (1 if takes_task_first else 2):
            raise ConfigurationError(f"handler {read.name} must take (payload), (payload, task) or (task: Task)")
        timeout_s = time_limit(read.name, timeout)
        rules = RetryRules.read(read.name, retries, retry_on, give_up_on)
        if takes_task_first:
            return cls(read, None, takes_task=True, timeout_s=timeout_s, rules=rules)
        return cls(read, decoder_for(read.takes[0]), len(read.takes) == 2, timeout_s, rules)

    def begin(self, concurrency: int) -> None:
        """It keeps no state between runs."""

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

    async def run(self, task: Task, executors: Executors) -> Any:
        """What the function returns. Raises UndecodableTask, TimeoutError, and what the function raises."""
        arguments = self.arguments(task)
        if self.timeout_s is None:
            if self._is_simple:
                return await self.function.call(*arguments)
            return await self.function(executors, *arguments)
        async with asyncio.timeout(self.timeout_s):
            return await self.function(executors, *arguments)

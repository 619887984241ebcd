"""The decorators of a worker: how its user registers handlers and what surrounds them."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Concatenate, TypeVar, overload

from protoqueue.handlers.batch_handler import BatchHandler
from protoqueue.handlers.handler import Executor, Handler, HandlerOf
from protoqueue.handlers.registry import DeadLetterHook, Lifespan, Middleware, Registry
from protoqueue.handlers.retry_rules import Errors
from protoqueue.task import Retries
from protoqueue.task_type import TaskType

_Payload = TypeVar("_Payload")
_Function = TypeVar("_Function", bound=Callable[Concatenate[Any, ...], Any])
"""A function with at least one parameter. That it takes only a payload and a task is checked when it is registered."""


class HandlerRegistration:
    """Collects in a registry what a worker's decorators are given."""

    def __init__(self) -> None:
        self._handlers = Registry()

    # A TaskType can be called, so it stands before the functions.
    @overload
    def handler(
        self,
        task_type: TaskType[_Payload],
        /,
        *,
        timeout: float | timedelta | None = None,
        executor: Executor = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> HandlerOf[_Payload]: ...
    @overload
    def handler(self, function: _Function, /) -> _Function: ...
    @overload
    def handler(
        self,
        task_type: str | None = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        executor: Executor = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Callable[[_Function], _Function]: ...

    def handler(
        self,
        what: Any = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        executor: Executor = "thread",
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Any:
        """Register a function: `@worker.handler` for every type, `@worker.handler("report")` or a `TaskType` for one.

        Plain functions run in threads, or with `executor="process"` in processes: those must be importable by name.
        `timeout` in seconds fails an attempt that takes longer; it ends a process, and cannot stop a thread.
        `retries` goes before what group and queue say about attempts, and a task before it. With `retry_on` only these
        errors, exception classes, are tried again; one of `give_up_on` never is. What is not becomes a dead letter.
        Raises ConfigurationError for a function that takes neither a payload nor a task, or a type that has a handler.
        """
        return self._handlers.decorator(
            what, lambda function: Handler.read(function, timeout, executor, retries, retry_on, give_up_on)
        )

    @overload
    def batch(
        self,
        task_type: TaskType[_Payload],
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> HandlerOf[list[_Payload]]: ...
    @overload
    def batch(self, function: _Function, /) -> _Function: ...
    @overload
    def batch(
        self,
        task_type: str | None = None,
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Callable[[_Function], _Function]: ...

    def batch(
        self,
        what: Any = None,
        /,
        *,
        max_size: int = 100,
        max_wait: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> Any:
        """Register a function that takes lists: `(payloads: list[Email])` or `(payloads, tasks: list[Task])`.

        It gets up to `max_size` tasks (never more than the worker's concurrency), or what there is `max_wait` seconds
        after the first. It fails all by raising, or single ones by returning a list with an exception or None for each.
        The rest means what it means for `handler`.
        """
        read = partial(
            BatchHandler.read, max_size=max_size, max_wait=max_wait, timeout=timeout, retries=retries,
            retry_on=retry_on, give_up_on=give_up_on,
        )  # fmt: skip
        return self._handlers.decorator(what, read)

    def middleware(self, function: Middleware) -> Middleware:
        """Register `async def around(task, run)`, called for every task; it awaits `run()` and sees what that raises.

        The first registered is the outermost. What it raises is what the attempt comes to.
        """
        self._handlers.add_middleware(function)
        return function

    def dead_letter(self, function: DeadLetterHook) -> DeadLetterHook:
        """Register `note(task, reason, error)`, called after a task of this worker became a dead letter."""
        self._handlers.add_dead_letter_hook(function)
        return function

    def lifespan(self, function: Lifespan) -> Lifespan:
        """Register an async context manager that is entered before the first task and left after the last.

        It yields a mapping, whose values handlers take by name as keyword-only parameters, or nothing.
        """
        self._handlers.set_lifespan(function)
        return function

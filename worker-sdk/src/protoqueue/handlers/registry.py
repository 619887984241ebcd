"""Everything registered with a worker: handlers by type, middleware, hooks, and its lifespan."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeAlias

from protoqueue.errors import ConfigurationError, NoHandler
from protoqueue.handlers.executors import Executors, called
from protoqueue.handlers.handler import is_async
from protoqueue.handlers.retry_rules import NO_RULES, RetryRules
from protoqueue.task import Task
from protoqueue.task_type import TaskType

log = logging.getLogger(__name__)

Middleware: TypeAlias = Callable[[Task, Callable[[], Awaitable[Any]]], Awaitable[None]]
Resources: TypeAlias = Mapping[str, Any] | None
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Resources]] | Callable[[], AsyncIterator[Resources]]
DeadLetterHook: TypeAlias = Callable[[Task, str, str], Awaitable[None] | None]


class Runnable(Protocol):
    """A handler of either kind."""

    @property
    def resources(self) -> tuple[str, ...]: ...

    @property
    def rules(self) -> RetryRules: ...

    async def run(self, task: Task, executors: Executors) -> Any: ...

    def begin(self, concurrency: int) -> None:
        """To be called each time a worker starts to run, with the number of tasks at once."""


class Registry:
    """The handler for `None` takes every type that has none of its own."""

    def __init__(self) -> None:
        self._handlers: dict[str | None, Runnable] = {}
        self._middleware: list[Middleware] = []
        self._lifespan: Callable[[], AbstractAsyncContextManager[Resources]] | None = None
        self._on_death: list[DeadLetterHook] = []

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def decorator(self, what: Any, read: Callable[[Callable[..., Any]], Runnable]) -> Any:
        """A decorator that may be used without parentheses: `what` is the function, else a task type or None."""
        if isinstance(what, TaskType):
            what = what.name
        elif callable(what):
            self.add(None, read(what))
            return what
        if what is not None and not isinstance(what, str):
            raise ConfigurationError(f"a task type must be a string, not {what!r}")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.add(what, read(function))
            return function

        return register

    def add(self, task_type: str | None, handler: Runnable) -> None:
        """Raises ConfigurationError if the type already has a handler."""
        if task_type in self._handlers:
            which = "a default handler" if task_type is None else f"a handler for {task_type!r}"
            raise ConfigurationError(f"the worker already has {which}")
        self._handlers[task_type] = handler

    def begin(self, concurrency: int) -> None:
        """To be called each time the worker starts to run."""
        for handler in self._handlers.values():
            handler.begin(concurrency)

    def add_middleware(self, middleware: Middleware) -> None:
        """The first added is the outermost."""
        self._middleware.append(middleware)

    def add_dead_letter_hook(self, on_death: DeadLetterHook) -> None:
        self._on_death.append(on_death)

    def set_lifespan(self, lifespan: Lifespan) -> None:
        """Raises ConfigurationError if there is one already."""
        if self._lifespan is not None:
            raise ConfigurationError("the worker already has a lifespan")
        if inspect.isasyncgenfunction(lifespan):
            self._lifespan = contextlib.asynccontextmanager(lifespan)
        else:
            self._lifespan = lifespan  # type: ignore[assignment]  # the other kind, which mypy does not conclude

    def find(self, task_type: str) -> Runnable:
        """Raises NoHandler."""
        found = self._handlers.get(task_type) or self._handlers.get(None)
        if found is None:
            raise NoHandler(f"this worker has no handler for type {task_type!r}: add @worker.handler({task_type!r})")
        return found

    def rules(self, task_type: str) -> RetryRules:
        """The rules of the type's handler; no rules without a handler."""
        found = self._handlers.get(task_type) or self._handlers.get(None)
        return NO_RULES if found is None else found.rules

    def run(self, task: Task, executors: Executors) -> Awaitable[Any]:
        """An awaitable of the handler's result within the middleware.

        Raises NoHandler here, the rest when awaited. What middleware returns is ignored.
        """
        handler = self.find(task.type)
        if not self._middleware:
            return handler.run(task, executors)
        return self._run_within(handler, task, executors)

    async def _run_within(self, handler: Runnable, task: Task, executors: Executors) -> Any:
        returned: Any = None

        async def run() -> Any:
            nonlocal returned
            returned = await handler.run(task, executors)
            return returned

        step: Callable[[], Awaitable[Any]] = run
        for middleware in reversed(self._middleware):
            step = partial(middleware, task, step)
        await step()
        return returned

    async def died(self, task: Task, reason: str, error: str) -> None:
        """Call the dead letter hooks; their errors are logged and have no effect."""
        for on_death in self._on_death:
            try:
                told = partial(called, on_death, task, reason, error)
                if (more := told() if is_async(on_death) else await asyncio.to_thread(told)) is not None:
                    await more
            except (KeyboardInterrupt, asyncio.CancelledError):
                raise
            except BaseException:  # a hook's exit() must not end the worker
                log.exception("a dead_letter handler failed", extra={"task": task.id})

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Mapping[str, Any]]:
        """The resources for handlers, by name; raises ConfigurationError if one that a handler requires is missing."""
        async with self._lifespan() if self._lifespan else contextlib.nullcontext() as given:
            resources = given or {}
            missing = {name for handler in self._handlers.values() for name in handler.resources} - set(resources)
            if missing:
                raise ConfigurationError(
                    f"handlers require {', '.join(sorted(missing))}, which the worker's lifespan does not provide: "
                    "yield a mapping of names from @worker.lifespan"
                )
            yield resources

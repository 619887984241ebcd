"""All that a worker's user has registered: handlers by type, middleware around them, what lives as long as it does."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeAlias

from protoqueue.errors import ConfigurationError, NoHandler
from protoqueue.handlers import is_async
from protoqueue.surroundings import Surroundings
from protoqueue.task import Task

log = logging.getLogger(__name__)

Middleware: TypeAlias = Callable[[Task, Callable[[], Awaitable[None]]], Awaitable[None]]
Resources: TypeAlias = Mapping[str, Any] | None
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Resources]] | Callable[[], AsyncIterator[Resources]]
OnDeath: TypeAlias = Callable[[Task, str, str], Awaitable[None] | None]


class Runnable(Protocol):
    """A handler of either kind."""

    @property
    def resources(self) -> tuple[str, ...]: ...

    async def run(self, task: Task, surroundings: Surroundings) -> None: ...


class Registry:
    """The handler for `None` takes every type that has none of its own."""

    def __init__(self) -> None:
        self._handlers: dict[str | None, Runnable] = {}
        self._middleware: list[Middleware] = []
        self._lifespan: Callable[[], AbstractAsyncContextManager[Resources]] | None = None
        self._on_death: list[OnDeath] = []

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def decorator(self, what: Any, read: Callable[[Callable[..., Any]], Runnable]) -> Any:
        """For a decorator that may stand without parentheses: `what` is the function then, else a task type or None."""
        if callable(what):
            self.add(None, read(what))
            return what
        if what is not None and not isinstance(what, str):
            raise ConfigurationError(f"a task type is a string, not {what!r}")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.add(what, read(function))
            return function

        return register

    def add(self, task_type: str | None, handler: Runnable) -> None:
        """Raises ConfigurationError where the type has a handler already."""
        if task_type in self._handlers:
            which = "a default handler" if task_type is None else f"a handler for {task_type!r}"
            raise ConfigurationError(f"the worker has {which} already")
        self._handlers[task_type] = handler

    def add_middleware(self, middleware: Middleware) -> None:
        """The first added is the outermost."""
        self._middleware.append(middleware)

    def add_on_death(self, on_death: OnDeath) -> None:
        self._on_death.append(on_death)

    def set_lifespan(self, lifespan: Lifespan) -> None:
        """Raises ConfigurationError where there is one already."""
        if self._lifespan is not None:
            raise ConfigurationError("the worker has a lifespan already")
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

    def run(self, task: Task, surroundings: Surroundings) -> Awaitable[None]:
        """To be awaited: the handler within the middleware; raises NoHandler here, the rest when awaited."""
        handler = self.find(task.type)
        if not self._middleware:
            return handler.run(task, surroundings)
        step: Callable[[], Awaitable[None]] = partial(handler.run, task, surroundings)
        for middleware in reversed(self._middleware):
            step = partial(middleware, task, step)
        return step()

    async def died(self, task: Task, reason: str, error: str) -> None:
        """Tell those who asked to know; their errors are logged and change nothing."""
        for on_death in self._on_death:
            try:
                told = partial(on_death, task, reason, error)
                if (more := told() if is_async(on_death) else await asyncio.to_thread(told)) is not None:
                    await more
            except Exception:
                log.exception("a dead_letter handler failed", extra={"task": task.id})

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Mapping[str, Any]]:
        """What handlers take by name; raises ConfigurationError when one takes what is not there."""
        async with self._lifespan() if self._lifespan else contextlib.nullcontext() as given:
            resources = given or {}
            missing = {name for handler in self._handlers.values() for name in handler.resources} - set(resources)
            if missing:
                raise ConfigurationError(
                    f"handlers take {', '.join(sorted(missing))}, which the worker's lifespan does not give: "
                    "yield a mapping of names from @worker.lifespan"
                )
            yield resources

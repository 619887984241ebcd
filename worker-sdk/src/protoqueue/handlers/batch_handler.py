"""Handlers that take many tasks at a time."""

import asyncio
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from protoqueue.cancellation import is_running
from protoqueue.codec import Decoder, decoder_for
from protoqueue.errors import ConfigurationError
from protoqueue.handlers import Function, seconds, time_limit
from protoqueue.surroundings import Surroundings
from protoqueue.task import Task


@dataclass(eq=False, slots=True)
class _Item:
    payload: Any
    task: Task
    outcome: asyncio.Future[None]


class BatchHandler:
    """Collects what runs at the same time, and hands it over when there is enough or the first has waited enough.

    Each task keeps its slot, its lease and an outcome of its own, so a batch is never larger than the worker's
    concurrency.
    """

    def __init__(
        self, function: Function, payload: Decoder, max_size: int, max_wait_s: float, timeout_s: float | None
    ) -> None:
        self._function = function
        self._payload = payload
        self._max_size = max_size
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self._items: list[_Item] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    def read(
        cls,
        function: Callable[..., Any],
        max_size: int,
        max_wait: float | timedelta,
        timeout: float | timedelta | None = None,
    ) -> "BatchHandler":
        """Read a signature, `(payloads: list[...])` or `(payloads, tasks)`; raises ConfigurationError for others."""
        read = Function.read(function, "thread")
        if not 1 <= len(read.takes) <= 2:
            raise ConfigurationError(f"batch handler {read.name} must take (payloads) or (payloads, tasks)")
        if not isinstance(max_size, int) or max_size < 1:
            raise ConfigurationError(f"batch handler {read.name}: max_size is a number from 1 on, not {max_size!r}")
        max_wait_s = seconds(f"max_wait of batch handler {read.name}", max_wait)
        arguments = typing.get_args(read.takes[0])
        payload = decoder_for(arguments[0] if arguments else Any)
        return cls(read, payload, max_size, max_wait_s, time_limit(read.name, timeout))

    @property
    def resources(self) -> tuple[str, ...]:
        return self._function.resources

    async def run(self, task: Task, surroundings: Surroundings) -> None:
        """Wait until the batch this task is in has run; raises what became of the task in it."""
        loop = asyncio.get_running_loop()
        item = _Item(self._payload(task.data, task.content_type), task, loop.create_future())
        self._items.append(item)
        if len(self._items) >= min(self._max_size, surroundings.concurrency):
            self._start(surroundings)
        elif self._timer is None:
            self._timer = loop.call_later(self._max_wait_s, self._start, surroundings)
        await item.outcome

    def _start(self, surroundings: Surroundings) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        items, self._items = [item for item in self._items if not item.outcome.done()], []
        if items:
            task = asyncio.get_running_loop().create_task(self._run(items, surroundings))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, items: Sequence[_Item], surroundings: Surroundings) -> None:
        runner = asyncio.current_task()
        columns = ([item.payload for item in items], [item.task for item in items])
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._function(surroundings, *columns[: len(self._function.takes)])
            errors = _errors(result, len(items), self._function.name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not is_running(runner):
                raise
            errors = [error] * len(items)
        for item, failure in zip(items, errors, strict=True):
            if item.outcome.done():
                continue
            if failure is None:
                item.outcome.set_result(None)
            else:
                item.outcome.set_exception(_fresh(failure))


def _errors(result: Any, size: int, name: str) -> list[BaseException | None]:
    """What each item came to: all are well where the function returns nothing."""
    if result is None:
        return [None] * size
    if not isinstance(result, Sequence) or len(result) != size:
        raise TypeError(f"batch handler {name} must return None, or an exception or None for each of its {size} tasks")
    return [_error_of(one) for one in result]


def _error_of(returned: Any) -> BaseException | None:
    """As `raise` takes it, instance or class; anything else is what `asyncio.gather` gives for one that is well."""
    if isinstance(returned, type) and issubclass(returned, BaseException):
        return returned()
    return returned if isinstance(returned, BaseException) else None


def _fresh(error: BaseException) -> BaseException:
    # A future takes none of these for an exception like others: its task would wait for ever, or the worker end.
    if isinstance(error, asyncio.CancelledError | StopIteration | KeyboardInterrupt | GeneratorExit):
        return RuntimeError(f"the batch came to {type(error).__name__}")
    return error

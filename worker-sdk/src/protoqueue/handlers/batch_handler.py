"""Handlers for batches of tasks."""

import asyncio
import collections.abc
import inspect
import logging
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from protoqueue.aio import is_running
from protoqueue.errors import ConfigurationError
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.handler import Function, time_limit
from protoqueue.handlers.retry_rules import Errors, RetryRules
from protoqueue.protocol.durations import to_seconds
from protoqueue.protocol.payloads import Decoder, decoder_for
from protoqueue.task import Retries, Task

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Item:
    payload: Any
    task: Task
    outcome: asyncio.Future[Any]


class BatchHandler:
    """Collects concurrent tasks, and runs them when there are enough or the first has waited long enough.

    Each task keeps its slot, its lease and an outcome of its own, so a batch is never larger than the worker's
    concurrency.
    """

    def __init__(
        self, function: Function, payload: Decoder, max_size: int, max_wait_s: float, timeout_s: float | None,
        rules: RetryRules,
    ) -> None:  # fmt: skip
        self._function = function
        self._payload = payload
        self._max_size = max_size
        self._max_wait_s = max_wait_s
        self._timeout_s = timeout_s
        self.rules = rules
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
        retries: Retries | None = None,
        retry_on: Errors | None = None,
        give_up_on: Errors = (),
    ) -> "BatchHandler":
        """Read a signature, `(payloads: list[...])` or `(payloads, tasks)`; raises ConfigurationError for others."""
        read = Function.read(function, "thread")
        if not 1 <= len(read.takes) <= 2:
            raise ConfigurationError(f"batch handler {read.name} must take (payloads) or (payloads, tasks)")
        if not isinstance(max_size, int) or max_size < 1:
            raise ConfigurationError(
                f"batch handler {read.name}: max_size must be an integer of at least 1, not {max_size!r}"
            )
        max_wait_s = to_seconds(f"max_wait of batch handler {read.name}", max_wait, ConfigurationError)
        payload = decoder_for(_item_of(read.takes[0], read.name))
        rules = RetryRules.read(read.name, retries, retry_on, give_up_on)
        return cls(read, payload, max_size, max_wait_s, time_limit(read.name, timeout), rules)

    def begin(self, concurrency: int) -> None:
        """Forget leftovers of an earlier run of the worker, perhaps in another event loop."""
        self._items, self._timer, self._running = [], None, set()
        if self._max_size > concurrency:
            log.warning(
                "batch handler %s has max_size %d but gets at most %d tasks, the worker's concurrency: raise that "
                "or lower max_size",
                self._function.name, self._max_size, concurrency,
            )  # fmt: skip

    @property
    def resources(self) -> tuple[str, ...]:
        return self._function.resources

    async def run(self, task: Task, executors: Executors) -> Any:
        """Wait until this task's batch has run; returns or raises the task's result."""
        loop = asyncio.get_running_loop()
        item = _Item(self._payload(task.data, task.content_type), task, loop.create_future())
        self._items.append(item)
        if len(self._items) >= min(self._max_size, executors.concurrency):
            self._start(executors)
        elif self._timer is None:
            self._timer = loop.call_later(self._max_wait_s, self._start, executors)
        return await item.outcome

    def _start(self, executors: Executors) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        items, self._items = [item for item in self._items if not item.outcome.done()], []
        if items:
            task = asyncio.get_running_loop().create_task(self._run(items, executors))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, items: Sequence[_Item], executors: Executors) -> None:
        runner = asyncio.current_task()
        columns = ([item.payload for item in items], [item.task for item in items])
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._function(executors, *columns[: len(self._function.takes)])
            returned = _returned(result, len(items), self._function.name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not is_running(runner):
                raise
            returned = [error] * len(items)
        for item, one in zip(items, returned, strict=True):
            if item.outcome.done():
                continue
            if isinstance(one, BaseException):
                item.outcome.set_exception(_fresh(one))
            else:
                item.outcome.set_result(one)


_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


def _item_of(annotation: Any, name: str) -> Any:
    """The type of a list's items; raises ConfigurationError for an annotation that is not a list."""
    if annotation is inspect.Parameter.empty or annotation is Any or annotation in _LISTS:
        return Any
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in _LISTS and len(arguments) == 1:
        return arguments[0]
    shown = getattr(annotation, "__name__", annotation)
    raise ConfigurationError(
        f"batch handler {name} is called with a list of payloads: annotate with list[{shown}], not {shown}"
    )


def _returned(result: Any, size: int, name: str) -> list[Any]:
    """The result or exception of each item; all succeed if the function returns nothing."""
    if result is None:
        return [None] * size
    if not isinstance(result, Sequence) or len(result) != size:
        raise TypeError(
            f"batch handler {name} must return None, or a list with a result or an exception for each of its {size} "
            "tasks"
        )
    return [_result_of(one) for one in result]


def _result_of(returned: Any) -> Any:
    """An exception may be an instance or a class, as for `raise`."""
    if isinstance(returned, type) and issubclass(returned, BaseException):
        return returned()
    return returned


def _fresh(error: BaseException) -> BaseException:
    # A future does not accept these as an exception: the task would wait for ever, or the worker end.
    if isinstance(error, asyncio.CancelledError | StopIteration | KeyboardInterrupt | GeneratorExit):
        return RuntimeError(f"the batch handler raised {type(error).__name__}")
    return error

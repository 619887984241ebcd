"""Queues in memory for tests without an event loop."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, Unpack

from protoqueue import sync
from protoqueue.background import BACKGROUND
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing.backend import InMemory, in_memory
from protoqueue.testing.shapes import GroupOptions, Options, QueueOptions
from protoqueue.worker import Worker

_Result = TypeVar("_Result")


class SyncInMemory:
    """What `InMemory` is, for code without an event loop."""

    def __init__(self, memory: InMemory) -> None:
        self._memory = memory
        self.client = sync.connect()

    def advance(self, duration: float | timedelta) -> None:
        """Move time ahead, by seconds or a timedelta: as `InMemory.advance`, which is a coroutine."""
        BACKGROUND.run(self._memory.advance(duration))

    def add_queue(
        self, queue: str | config_pb2.QueueConfig, *, max_tasks: int | None = None, **options: Unpack[QueueOptions]
    ) -> None:
        """As `InMemory.add_queue`."""
        _there(lambda: self._memory.add_queue(queue, max_tasks=max_tasks, **options))

    def add_group(
        self, queue: str | config_pb2.GroupConfig, group: str | None = None, **options: Unpack[GroupOptions]
    ) -> None:
        """As `InMemory.add_group`."""
        _there(lambda: self._memory.add_group(queue, group, **options))

    def apply(self, manifests: str | Path) -> None:
        """As `InMemory.apply`."""
        _there(lambda: self._memory.apply(manifests))

    def run_once(self, worker: Worker, *, timeout: float | timedelta | None = None, raise_errors: bool = False) -> int:
        """Run what is ready with a worker, as `Worker.run_once` does; returns how many tasks ran."""
        return BACKGROUND.run(worker.run_once(timeout=timeout, raise_errors=raise_errors))


@contextlib.contextmanager
def sync_in_memory(
    queue: str | None = None,
    *,
    group: str | None = "test",
    manifests: str | Path | None = None,
    **options: Unpack[Options],
) -> Iterator[SyncInMemory]:
    """As `in_memory`, for `protoqueue.sync` and for workers run by `run_once` of what this gives."""
    stack = contextlib.AsyncExitStack()
    memory = BACKGROUND.run(stack.enter_async_context(in_memory(queue, group=group, manifests=manifests, **options)))
    try:
        made = SyncInMemory(memory)
        with made.client:
            yield made
    finally:
        BACKGROUND.run(stack.aclose())


def _there(call: Callable[[], _Result]) -> _Result:
    """What the call gives in the event loop of the background, where the queues live."""

    async def called() -> _Result:
        return call()

    return BACKGROUND.run(called())

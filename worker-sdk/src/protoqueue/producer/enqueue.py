"""What a queue's `enqueue` and `enqueue_batch` do: prepare tasks, store them, and trace it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from protoqueue.broker import Broker
from protoqueue.errors import InvalidTask, ProtoQueueError, QueueFull
from protoqueue.observability.tracing import NOT_TRACED, Tracing
from protoqueue.producer.lane_loads import LaneLoads
from protoqueue.producer.prepare import Prepared, combined, prepare, wrong_argument
from protoqueue.producer.publish import publish, publish_all
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.task_ids import new_task_id, new_task_ids
from protoqueue.task import NewTask, Receipt, Task

_NO_OPTIONS = NewTask(None)
"""The options of a batch item that states none. One object for all: to make one costs as much as encoding JSON."""


class Producer:
    """Stores tasks in one queue."""

    def __init__(
        self, broker: Broker, tracing: Tracing | None, explain: Callable[[QueueFull], Awaitable[QueueFull]],
        lane_loads: LaneLoads, replaced: Callable[[QueueSettings, Task], None],
    ) -> None:  # fmt: skip
        """`explain` adds to a QueueFull what keeps the queue full; it raises nothing. `replaced` is told of tasks."""
        self._broker = broker
        self._tracing = tracing
        self._explain = explain
        self._lane_loads = lane_loads
        self._replaced = replaced

    async def enqueue(self, queue: QueueSettings, new_task: NewTask, timeout_s: float | None) -> Receipt:
        """Store a task; its payload may be a NewTask too, whose options those of `new_task` replace."""
        if isinstance(new_task.payload, NewTask):
            new_task = combined(new_task.payload, new_task)
        now = self._broker.now()
        task_id = new_task_id(now)
        with self._tracing.sending(queue.name, task_id=task_id) if self._tracing else NOT_TRACED as trace:
            if new_task.fairness_key:
                await self._lane_loads.refresh(queue)
            prepared = self._prepare(queue, new_task, task_id, now, trace)
            try:
                return await publish(self._broker, queue, prepared, timeout_s, partial(self._replaced, queue))
            except QueueFull as error:
                raise await self._explain(error) from error.__cause__

    async def enqueue_batch(self, queue: QueueSettings, items: Iterable[Any], timeout_s: float | None) -> list[Receipt]:
        """Store many, payloads or NewTasks, and return their receipts in order; nothing where one is invalid."""
        if isinstance(items, str | bytes | Mapping):
            raise InvalidTask(
                f"a batch must be a list of payloads, not a {type(items).__name__}: for a single task use enqueue"
            )
        items = list(items)
        with self._tracing.sending(queue.name, count=len(items)) if self._tracing else NOT_TRACED as trace:
            if queue.lanes:
                await self._lane_loads.refresh(queue)
            prepared = self._prepare_all(queue, items, trace)
            receipts, failure = await publish_all(
                self._broker, queue, prepared, timeout_s, partial(self._replaced, queue)
            )
            if failure is None:
                return [receipts[one.task_id] for one in prepared]
            if isinstance(failure, ProtoQueueError):
                failure.receipts = [receipts.get(one.task_id) for one in prepared]
                failure.first_not_stored = failure.receipts.index(None)
            if isinstance(failure, QueueFull):
                await self._explain(failure)
            raise failure

    def _prepare_all(self, queue: QueueSettings, items: list[Any], trace: Mapping[str, str]) -> list[Prepared]:
        now = self._broker.now()
        prepared: list[Prepared] = []
        try:
            for item, task_id in zip(items, new_task_ids(len(items), now), strict=True):
                prepared.append(self._prepare(queue, item, task_id, now, trace))
        except InvalidTask as error:
            which = f"item {len(prepared)} of the batch, counted from 0: " if len(items) > 1 else ""
            raise type(error)(f"{which}{error}") from error
        return prepared

    def _prepare(
        self, queue: QueueSettings, item: Any, task_id: str, now: datetime, trace: Mapping[str, str]
    ) -> Prepared:
        payload, options = (item.payload, item) if isinstance(item, NewTask) else (item, _NO_OPTIONS)
        try:
            return prepare(
                payload, options, task_id, now, queue, self._broker.max_payload, trace, self._lane_loads.choose
            )
        except InvalidTask:
            raise
        except (AttributeError, TypeError, ValueError) as error:  # an argument of a type that it cannot be
            raise InvalidTask(wrong_argument(options) or f"the task cannot be enqueued like this: {error}") from error

"""Clients: connect, enqueue, look."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from protoqueue import arguments
from protoqueue.ambient import open_broker
from protoqueue.cancellation import cancel
from protoqueue.cancelling import cancel_task
from protoqueue.connection import Broker, ConnectionOptions
from protoqueue.dead_letters import DeadLetter, redrive_letters, stored_letters
from protoqueue.durations import to_seconds
from protoqueue.errors import ConfigurationError, GroupNotFound, InvalidTask, QueueNotFound
from protoqueue.ids import new_task_id, new_task_ids
from protoqueue.naming import DEFAULT_PRIORITY, GroupName, QueueName
from protoqueue.outgoing import Prepared, prepare, wrong_argument
from protoqueue.peek import oldest_tasks
from protoqueue.receive import Holder, ReceivedTask, receive_tasks
from protoqueue.settings import QueueSettings, parse_group, parse_queue
from protoqueue.settle import Settler, process_name
from protoqueue.stats import QueueStats, read_stats
from protoqueue.storing import BATCHES_AT_ONCE, store_all
from protoqueue.task import Outgoing, Receipt, Task
from protoqueue.tracing import NOT_TRACED, Tracing
from protoqueue.watch import Watch, read_settings

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

DEFAULT_TIMEOUT_S = 5.0

_PLAINLY = Outgoing(None)
"""How an item of a batch that says nothing about it is enqueued: one for all, as making one costs as much as JSON."""


async def connect(
    url: str | None = None,
    *,
    creds: str | None = None,
    ca: str | None = None,
    timeout: float | timedelta = DEFAULT_TIMEOUT_S,
    tracer_provider: "TracerProvider | None" = None,
) -> "Client":
    """Connect to NATS; the arguments default to `PROTOQUEUE_NATS_URL` (else `NATS_URL`), `…_CREDS` and `…_CA`.

    From then on the client reconnects for ever. Raises Unavailable when no server answers within `timeout` and
    ConfigurationError when it refuses us. Where OpenTelemetry is set up by now, or a `tracer_provider` given, every
    enqueue is a span.
    """
    try:
        timeout_s = to_seconds("timeout", timeout)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    broker = await open_broker(ConnectionOptions.read(url, creds, ca), timeout_s)
    return Client(broker, tracer_provider=tracer_provider)


class Client:
    """A connection. Close it, or use it as `async with await connect() as client`."""

    def __init__(self, broker: Broker, owned: bool = True, tracer_provider: "TracerProvider | None" = None) -> None:
        self._broker = broker
        self._owned = owned
        self._tracing = Tracing.using(tracer_provider)
        self._queues: dict[QueueName, Queue] = {}
        self._watches: set[asyncio.Task[None]] = set()

    async def queue(self, name: str) -> "Queue":
        """The queue `namespace/name`; raises QueueNotFound and, for what is no such name, ConfigurationError."""
        try:
            queue_name = QueueName.parse(name)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if queue_name not in self._queues:
            settings = await read_settings(self._broker, queue_name.config_key, parse_queue)
            if settings is None:
                raise QueueNotFound(
                    f"there is no queue {name} on this NATS server: apply a Queue and wait until it is ready, "
                    f"kubectl wait --for=condition=Ready queue/{queue_name.name} -n {queue_name.namespace}"
                )
            self._queues[queue_name] = queue = Queue(self._broker, settings, self._tracing)
            task = asyncio.create_task(Watch(self._broker, queue_name.config_key, parse_queue, queue.update).run())
            self._watches.add(task)
        return self._queues[queue_name]

    async def close(self) -> None:
        await cancel(*self._watches)
        self._watches.clear()
        self._queues.clear()
        if self._owned:
            await self._broker.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Queue:
    """One queue; `Client.queue` makes it. It follows changes of the Queue resource by itself."""

    def __init__(self, broker: Broker, settings: QueueSettings, tracing: Tracing | None = None) -> None:
        self._broker = broker
        self._settings = settings
        self._tracing = tracing

    async def update(self, settings: QueueSettings | None) -> None:
        """Take over new settings; while the Queue does not exist the last ones stay, and NATS refuses for itself."""
        if settings is not None:
            self._settings = settings

    @property
    def name(self) -> str:
        return str(self._settings.name)

    async def enqueue(
        self,
        payload: Any,
        *,
        type: str = "",  # noqa: A002
        priority: int = DEFAULT_PRIORITY,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
        expires: float | timedelta | datetime | None = None,
        dedup_id: str | None = None,
        ordering_key: str = "",
        metadata: Mapping[str, Any] | None = None,
        timeout: float | timedelta | None = DEFAULT_TIMEOUT_S,
    ) -> Receipt:
        """Store a task and return once NATS has it.

        `payload` is bytes, a protobuf message, a pydantic model or what JSON can hold; `priority` 1 (lowest) to 10;
        `delay` in seconds, or `at` an aware datetime, for later. A second task of one `dedup_id` within the queue's
        window is not stored (`receipt.duplicate`); immediate and delayed tasks are two such domains.
        `timeout` None waits for ever; numbers are seconds here and everywhere. Raises InvalidTask, PayloadTooLarge,
        QueueFull and Unavailable.
        """
        timeout_s = arguments.patience(timeout)
        outgoing = Outgoing(payload, type, priority, delay, at, expires, dedup_id, ordering_key, metadata)
        task_id = new_task_id()
        with self._tracing.sending(self._settings.name, task_id=task_id) if self._tracing else NOT_TRACED as trace:
            prepared = self._prepare(outgoing, task_id, datetime.now(UTC), trace)
            return prepared.receipt(await self._broker.publish(prepared, timeout_s))

    async def enqueue_batch(
        self, items: Iterable[Any], *, timeout: float | timedelta | None = DEFAULT_TIMEOUT_S
    ) -> list[Receipt]:
        """Store many tasks, payloads or `Outgoing`s, and return their receipts in order.

        All are checked before any is sent. Per 1000 tasks and stream (immediate ones go to one stream, delayed ones to
        another) all are stored or none. Where a batch holds a `dedup_id` that the queue has already, its tasks are
        stored one by one instead, so that the rest is kept; only then a failure can leave a part of them. `timeout` is
        for each such batch. Raises what `enqueue` raises.
        """
        timeout_s = arguments.patience(timeout)
        if isinstance(items, str | bytes | Mapping):
            raise InvalidTask(f"a batch is a list of payloads, this is one of type {type(items).__name__}: use enqueue")
        items, now = list(items), datetime.now(UTC)
        ids = new_task_ids(len(items))
        with self._tracing.sending(self._settings.name, count=len(items)) if self._tracing else NOT_TRACED as trace:
            prepared: list[Prepared] = []
            try:
                prepared.extend(
                    self._prepare(item, task_id, now, trace) for item, task_id in zip(items, ids, strict=True)
                )
            except InvalidTask as error:
                which = f"item {len(prepared)} of the batch, counted from 0: " if len(items) > 1 else ""
                raise type(error)(f"{which}{error}") from error
            # Ordered tasks would lose their order if one batch had to be stored singly, after the next one.
            at_once = 1 if self._settings.partitions else BATCHES_AT_ONCE
            receipts = await store_all(self._broker, prepared, at_once, timeout_s)
        return [receipts[one.task_id] for one in prepared]

    async def stats(self, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> QueueStats:
        """What the queue holds now, as JetStream counts it. Raises Unavailable and QueueNotFound."""
        return await read_stats(self._broker, self._settings, arguments.seconds("timeout", timeout))

    async def dead_letters(
        self, *, group: str | None = None, timeout: float | timedelta = DEFAULT_TIMEOUT_S
    ) -> AsyncIterator[DeadLetter]:
        """The dead letters, oldest first, without consuming them; those of one `group` if given."""
        if group is not None:
            self._group(group)
        timeout_s = arguments.seconds("timeout", timeout)
        async for letter in stored_letters(self._broker, self._settings, group, timeout_s):
            yield letter

    async def redrive(
        self,
        *,
        limit: int | None = None,
        rate: float | None = None,
        group: str | None = None,
        type: str | None = None,  # noqa: A002
        reason: str | None = None,
    ) -> int:
        """Put dead letters back into the queue, oldest first, and return how many.

        At most `limit`, at most `rate` per second, only those of a `group`, a task `type`, a `reason` if given. They
        keep their id and start with fresh attempts. Raises QueueFull and Unavailable, and in a Broadcast queue
        GroupNotFound for what a group that is gone has given up; what was put back until then stays.
        """
        if limit is not None:
            arguments.count("limit", limit, 0)
        if rate is not None:
            arguments.rate("rate", rate)
        letters = self.dead_letters(group=group)
        return await redrive_letters(letters, limit, rate, lambda letter: letter.matches(type, reason))

    async def purge(self, *, scheduled: bool = False, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> int:
        """Remove every task that waits or runs, and with `scheduled` also those not yet due; returns how many."""
        name, later, timeout_s = self._settings.name, self._settings.later_stream, arguments.seconds("timeout", timeout)
        removed = await self._broker.purge(later, name.all_due, timeout_s)
        removed += await self._broker.purge(self._settings.stream, None, timeout_s)
        if scheduled:
            removed += await self._broker.purge(later, name.all_scheduled, timeout_s)
        return removed

    async def receive(
        self,
        max_tasks: int = 10,
        wait: float | timedelta = 0.0,
        *,
        group: str | None = None,
    ) -> list[ReceivedTask]:
        """Take up to `max_tasks` by hand, waiting up to `wait` for the first; each is to be settled.

        `group` defaults to `PROTOQUEUE_GROUP`. Raises GroupNotFound and Unavailable.
        """
        arguments.count("max_tasks", max_tasks, 1)
        wait_s = arguments.seconds("wait", wait)
        name = group or os.environ.get("PROTOQUEUE_GROUP")
        if not name:
            raise ConfigurationError("which group? Pass group=... or set PROTOQUEUE_GROUP")
        settings = await read_settings(self._broker, self._group(name).config_key, parse_group)
        if settings is None:
            raise GroupNotFound(f"queue {self.name} has no consumer group {name}: apply a ConsumerGroup for it")
        holder = Holder(self._broker, Settler(self._broker, process_name()), self._settings, settings)
        return await receive_tasks(holder, max_tasks, wait_s)

    async def cancel(self, task_id: str, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> bool:
        """Take a task back that is not due yet, waits for its retry or a worker, or stop it while it runs.

        A running async handler gets a CancelledError at its next await, and the task is done with; a plain function
        runs on, unless in a process, but its worker turns to other tasks. What `receive` has lent does not come back.
        False when there is no such task any more. A task that waits is looked for in the queue, from the time in its id
        on: raises Unavailable when that takes longer than `timeout`.
        """
        return await cancel_task(self._broker, self._settings, task_id, arguments.seconds("timeout", timeout))

    async def peek(self, limit: int = 10, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> list[Task]:
        """The oldest tasks in the queue, waiting or running, without consuming them."""
        arguments.count("limit", limit, 0)
        return await oldest_tasks(self._broker, self._settings, limit, arguments.seconds("timeout", timeout))

    def _group(self, name: str) -> GroupName:
        try:
            return GroupName.parse(self._settings.name, name)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def _prepare(self, item: Any, task_id: str, now: datetime, trace: Mapping[str, str]) -> Prepared:
        payload, how = (item.payload, item) if isinstance(item, Outgoing) else (item, _PLAINLY)
        try:
            return prepare(payload, how, task_id, now, self._settings, self._broker.max_payload, trace)
        except InvalidTask:
            raise
        except (AttributeError, TypeError, ValueError) as error:  # an argument of a type that it cannot be
            raise InvalidTask(wrong_argument(how) or f"the task cannot be enqueued like this: {error}") from error

"""Clients: connect, enqueue, look."""

import asyncio
import contextlib
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from protoqueue.admin.all_queues import AllQueues, QueueOverview
from protoqueue.admin.cancel import cancel_task
from protoqueue.admin.dead_letters import DeadLetter, redrive_letters, redrive_slowly, stored_letters
from protoqueue.admin.follow_queues import QueueFollower
from protoqueue.admin.forward_letters import forward_letters
from protoqueue.admin.only_group import only_group
from protoqueue.admin.peek import ScheduledTask, oldest_tasks, scheduled_tasks
from protoqueue.admin.purge import purge_tasks
from protoqueue.admin.run_now import run_now
from protoqueue.admin.samples import QueueSamples, read_samples
from protoqueue.admin.slowest_group import SlowestGroup
from protoqueue.admin.stats import Progress, QueueStats, read_progress, read_stats
from protoqueue.aio import cancel
from protoqueue.broker import Broker, ConnectionOptions
from protoqueue.broker.config_watch import READ_TIMEOUT_S, Watch, read_settings
from protoqueue.broker.override import open_broker
from protoqueue.consumer.lease import Lease
from protoqueue.consumer.lease_token import LeaseToken
from protoqueue.consumer.receive import LeaseContext, ReceivedTask, receive_tasks
from protoqueue.consumer.receive_limits import ReceiveLimits
from protoqueue.errors import (
    ConfigurationError,
    GroupNotFound,
    InvalidTask,
    ProtoQueueError,
    QueueFull,
    QueueNotFound,
)
from protoqueue.history.model import AttemptOutcome, TaskRecord, TaskStatus
from protoqueue.history.queue_history import QueueHistory, outcomes_of
from protoqueue.observability.tracing import NOT_TRACED, Tracing
from protoqueue.producer import arguments
from protoqueue.producer.prepare import Prepared, combined, prepare, wrong_argument
from protoqueue.producer.publish import publish, publish_all
from protoqueue.protocol.config import QueueSettings, parse_group, parse_queue
from protoqueue.protocol.durations import to_seconds
from protoqueue.protocol.names import CONFIG_BUCKET, GroupName, QueueName
from protoqueue.protocol.task_ids import new_task_id, new_task_ids
from protoqueue.protocol.worker_status import WorkerStatus
from protoqueue.settlement.settle import Settler, process_name
from protoqueue.task import DEFAULT_PRIORITY, DEFAULT_RESULT_TIMEOUT_S, NewTask, Receipt, Retries, Task, UniqueUntil

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

DEFAULT_TIMEOUT_S = 5.0

_Kind = TypeVar("_Kind")

_READS_AT_ONCE = 32

_REREAD_GROUP_S = 5.0
"""How old the settings of a group may be by which a lease is settled."""

_NO_OPTIONS = NewTask(None)
"""How an item of a batch that says nothing about it is enqueued: one for all, as making one costs as much as JSON."""


def connect(
    url: str | None = None,
    *,
    creds: str | None = None,
    ca: str | None = None,
    timeout: float | timedelta = DEFAULT_TIMEOUT_S,
    tracer_provider: "TracerProvider | None" = None,
) -> "Connecting":
    """Connect to NATS: a context manager that closes the client, or a coroutine that gives one to be closed.

    The arguments default to `PROTOQUEUE_NATS_URL` (else `NATS_URL`), `…_CREDS` and `…_CA`.

    From then on the client reconnects for ever. Raises Unavailable when no server answers within `timeout` and
    ConfigurationError when it refuses us. Where OpenTelemetry is set up by now, or a `tracer_provider` given, every
    enqueue is a span.
    """
    return Connecting(_connect(url, creds, ca, timeout, tracer_provider))


async def _connect(
    url: str | None, creds: str | None, ca: str | None, timeout: float | timedelta,
    tracer_provider: "TracerProvider | None",
) -> "Client":  # fmt: skip
    try:
        timeout_s = to_seconds("timeout", timeout)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    broker = await open_broker(ConnectionOptions.read(url, creds, ca), timeout_s)
    return Client(broker, tracer_provider=tracer_provider)


class Connecting(Coroutine[Any, Any, "Client"]):
    """A coroutine that gives a `Client`, and a context manager that closes it."""

    def __init__(self, coroutine: Coroutine[Any, Any, "Client"]) -> None:
        self._coroutine = coroutine
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, Any, "Client"]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> "Client":
        self._client = await self._coroutine
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()


class Client:
    """A connection. Close it, or use it as `async with connect() as client`."""

    def __init__(self, broker: Broker, owned: bool = True, tracer_provider: "TracerProvider | None" = None) -> None:
        self._broker = broker
        self._owned = owned
        self._tracing = Tracing.using(tracer_provider)
        self._queues: dict[QueueName, Queue] = {}
        self._opening: dict[QueueName, asyncio.Lock] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._histories: list[QueueHistory] = []
        self._all_queues = AllQueues(broker)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS now; while there is none, the client tries to get one."""
        return self._broker.connected

    async def queue(self, name: str) -> "Queue":
        """The queue `namespace/name`; raises QueueNotFound and, for what is no such name, ConfigurationError."""
        try:
            queue_name = QueueName.parse(name)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if (known := self._queues.get(queue_name)) is not None:
            return known
        opening = self._opening.setdefault(queue_name, asyncio.Lock())
        try:
            async with opening:
                return self._queues.get(queue_name) or await self._open(name, queue_name)
        finally:
            if not opening.locked():  # a name that there is no queue of leaves nothing behind
                self._opening.pop(queue_name, None)

    async def _open(self, name: str, queue_name: QueueName) -> "Queue":
        settings = await read_settings(self._broker, queue_name.config_key, parse_queue)
        if settings is None:
            raise QueueNotFound(
                f"queue {name} does not exist on this NATS server: apply a Queue and wait until it is Ready, "
                f"kubectl wait --for=condition=Ready queue/{queue_name.name} -n {queue_name.namespace}"
            )
        history = QueueHistory(self._broker, queue_name)
        self._histories.append(history)
        self._queues[queue_name] = queue = Queue(self._broker, settings, self._tracing, history)
        task = asyncio.create_task(Watch(self._broker, queue_name.config_key, parse_queue, queue.update).run())
        self._watches.add(task)
        return queue

    async def queue_names(self) -> list[str]:
        """The queues of this NATS account as `namespace/name`, sorted. Raises Unavailable."""
        keys = [key for key in await self._broker.keys(CONFIG_BUCKET, "", READ_TIMEOUT_S) if key.count(".") == 1]
        reading = asyncio.Semaphore(_READS_AT_ONCE)

        async def exists(key: str) -> bool:
            async with reading:
                return (await self._broker.read_key(CONFIG_BUCKET, key, READ_TIMEOUT_S)).value is not None

        there = await asyncio.gather(*map(exists, keys))
        return sorted(key.replace(".", "/") for key, is_there in zip(keys, there, strict=True) if is_there)

    async def overview(self, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> dict[str, QueueOverview]:
        """What every queue of this NATS account holds, by `namespace/name`. Needs the rights of an administrator.

        Raises Unavailable.
        """
        found = await self._all_queues.read(arguments.seconds("timeout", timeout))
        return {str(name): overview for name, overview in sorted(found.items())}

    async def follow_overview(
        self, interval: float | timedelta = 0.5, *, expected: Callable[[], Iterable[str]] = tuple
    ) -> AsyncGenerator[dict[str, QueueOverview]]:
        """The overview again and again, for who watches: at least every `interval`, and soon after a task is enqueued.

        Cheap for thousands of queues: those where nothing happens are listened to and not asked. A queue that is new
        or gone, or where dead letters were removed, is seen within some seconds; one that `expected` names, as it is
        known from elsewhere, within one. Raises Unavailable.
        """
        follower = QueueFollower(
            self._broker, self._all_queues, arguments.seconds("interval", interval),
            lambda: map(QueueName.parse, expected()),
        )  # fmt: skip
        async with contextlib.aclosing(follower.follow()) as looks:
            async for found in looks:
                yield {str(name): overview for name, overview in found.items()}

    async def close(self) -> None:
        await cancel(*self._watches)
        self._watches.clear()
        await asyncio.gather(*(history.close() for history in self._histories))
        self._histories.clear()
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

    def __init__(
        self, broker: Broker, settings: QueueSettings, tracing: Tracing | None = None,
        history: QueueHistory | None = None,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._settings = settings
        self._tracing = tracing
        self._slowest_group = SlowestGroup(broker, settings)
        self._settler = Settler(broker, process_name(), retries_forever=False)
        self._holders: dict[GroupName, tuple[float, LeaseContext]] = {}
        self._limits: dict[GroupName, ReceiveLimits] = {}
        self._history = history or QueueHistory(broker, settings.name)

    async def update(self, settings: QueueSettings | None) -> None:
        """Take over new settings; while the Queue does not exist the last ones stay, and NATS refuses for itself."""
        if settings is not None:
            self._settings = settings
            self._holders.clear()

    @property
    def name(self) -> str:
        return str(self._settings.name)

    @property
    def dead_letter_queue(self) -> str | None:
        """`namespace/name` of the queue whose tasks its dead letters become; None where they do not."""
        other = self._settings.dead_letter_queue
        return None if other is None else str(other)

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
        retry: Retries | None = None,
        unique: str | None = None,
        unique_until: UniqueUntil = "end",
        timeout: float | timedelta | None = DEFAULT_TIMEOUT_S,
    ) -> Receipt:
        """Store a task and return once NATS has it.

        `payload` is bytes, a protobuf message, a pydantic model or what JSON can hold. It may be a `NewTask` too, as
        a `TaskType` makes one, `enqueue(WELCOME(Email(...)))`: what is given here besides replaces its options.
        `priority` 1 (lowest) to 10; `delay` in seconds, or `at` an aware datetime, for later. A second task of one
        `dedup_id` within the queue's window is not stored: `receipt.duplicate`, and `receipt.id` is that of the first.
        To cancel or purge a task frees its `dedup_id`. In queues that are ordered or have `limits`, immediate and
        delayed tasks are two such domains. Of tasks of one key `unique` at most one waits, is scheduled
        or runs (with `unique_until="start"`: waits or is scheduled); a second is a duplicate too. `retry` goes before
        what handler, group and queue say about attempts.
        `timeout` None waits for ever; numbers are seconds here and everywhere. Raises InvalidTask, PayloadTooLarge,
        QueueFull and Unavailable.
        """
        timeout_s = arguments.optional_seconds(timeout)
        new_task = NewTask(
            payload, type, priority, delay, at, expires, dedup_id, ordering_key, metadata, retry, unique, unique_until,
        )  # fmt: skip
        if isinstance(payload, NewTask):
            new_task = combined(payload, new_task)
        now = self._broker.now()
        task_id = new_task_id(now)
        with self._tracing.sending(self._settings.name, task_id=task_id) if self._tracing else NOT_TRACED as trace:
            prepared = self._prepare(new_task, task_id, now, trace)
            try:
                return (await publish(self._broker, self._settings, prepared, timeout_s)).bound(self)
            except QueueFull as error:
                raise await self._slowest_group.named_in(error) from error.__cause__

    async def enqueue_batch(
        self, items: Iterable[Any], *, timeout: float | timedelta | None = DEFAULT_TIMEOUT_S
    ) -> list[Receipt]:
        """Store many tasks, payloads or `NewTask`s, and return their receipts in order.

        All are checked before any is sent. Then they are stored in batches of 1000, all of a batch or none; in queues
        that are ordered or have `limits`, delayed tasks after the others. Where a batch holds a `dedup_id` that the
        queue has already, its tasks are stored one by one instead, so that the rest is kept. `timeout` is for each.

        Raises what `enqueue` raises, at the first batch that fails; none after it is stored. The error's `receipts`
        has an entry for each item, None where it is not known to be stored, and `first_not_stored` is the index of the
        first of those.
        """
        timeout_s = arguments.optional_seconds(timeout)
        if isinstance(items, str | bytes | Mapping):
            raise InvalidTask(
                f"a batch must be a list of payloads, not a {type(items).__name__}: for a single task use enqueue"
            )
        items, now = list(items), self._broker.now()
        ids = new_task_ids(len(items), now)
        with self._tracing.sending(self._settings.name, count=len(items)) if self._tracing else NOT_TRACED as trace:
            prepared: list[Prepared] = []
            try:
                prepared.extend(
                    self._prepare(item, task_id, now, trace) for item, task_id in zip(items, ids, strict=True)
                )
            except InvalidTask as error:
                which = f"item {len(prepared)} of the batch, counted from 0: " if len(items) > 1 else ""
                raise type(error)(f"{which}{error}") from error
            receipts, failure = await publish_all(self._broker, self._settings, prepared, timeout_s)
            if failure is None:
                return [receipts[one.task_id].bound(self) for one in prepared]
            if isinstance(failure, ProtoQueueError):
                failure.receipts = [receipts.get(one.task_id) for one in prepared]
                failure.first_not_stored = failure.receipts.index(None)
            if isinstance(failure, QueueFull):
                await self._slowest_group.named_in(failure)
            raise failure

    async def stats(self, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> QueueStats:
        """What the queue holds now, as JetStream counts it. Raises Unavailable and QueueNotFound."""
        return await read_stats(self._broker, self._settings, arguments.seconds("timeout", timeout))

    async def progress(self, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> Progress:
        """How many tasks were ever stored and removed: the difference of two looks is a rate."""
        return await read_progress(self._broker, self._settings, arguments.seconds("timeout", timeout))

    async def samples(
        self,
        since: float | timedelta | datetime = 3600,
        *,
        timeout: float | timedelta = DEFAULT_TIMEOUT_S,
    ) -> QueueSamples:
        """How the counts, rates and workers were, for charts: in steps of 10 seconds for the last hour.

        What begins earlier, up to a day ago, has steps of 5 minutes. `since` is a moment, or how long ago it was. The
        operator keeps the samples; the newest is up to 20 seconds old, and where nothing happens up to 90. In memory
        there are none. Raises Unavailable.
        """
        now = self._broker.now()
        begins = arguments.moment_ago("since", since, now)
        return await read_samples(self._broker, self._settings.name, begins, now, arguments.seconds("timeout", timeout))

    async def dead_letters(
        self, *, group: str | None = None, after: int = 0, timeout: float | timedelta = DEFAULT_TIMEOUT_S
    ) -> AsyncIterator[DeadLetter]:
        """The dead letters, oldest first, without consuming them; those of one `group` if given.

        With `after` those whose `sequence` is higher.
        """
        if group is not None:
            self._group(group)
        timeout_s = arguments.seconds("timeout", timeout)
        async for letter in stored_letters(self._broker, self._settings, group, timeout_s, after):
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

        At most `limit`, at most `rate` per second, only those of a `group`, a task `type`, a `reason` if given, in any
        case: one of `Reason`. They keep their id and start with fresh attempts.
        Raises QueueFull and Unavailable, and in a Broadcast queue GroupNotFound for what a group that is gone has given
        up; what was put back until then stays.
        """
        if limit is not None:
            arguments.count("limit", limit, 0)
        if rate is not None:
            arguments.rate("rate", rate)
        reason = arguments.reason(reason)
        letters = self.dead_letters(group=group)
        if rate is not None:
            return await redrive_slowly(letters, limit, rate, lambda letter: letter.matches(type, reason))
        return await redrive_letters(
            self._broker, self._settings, group, letters, limit, lambda letter: letter.matches(type, reason)
        )

    async def forward_dead_letters(
        self,
        *,
        limit: int | None = None,
        group: str | None = None,
        type: str | None = None,  # noqa: A002
        reason: str | None = None,
    ) -> int:
        """Make dead letters tasks of `dead_letter_queue`, oldest first, and return how many.

        Those from before `deadLetter.queueRef` was set, and those that the other queue did not take. The filters are
        those of `redrive`. Raises ConfigurationError where this queue names no other, QueueNotFound, QueueFull and
        Unavailable; what was forwarded until then stays so.
        """
        if limit is not None:
            arguments.count("limit", limit, 0)
        reason = arguments.reason(reason)
        letters = self.dead_letters(group=group)
        return await forward_letters(
            self._broker, self._settings, letters, limit, lambda letter: letter.matches(type, reason)
        )

    async def purge(self, *, scheduled: bool = False, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> int:
        """Remove every task that waits or runs, and with `scheduled` also those not yet due; returns how many.

        Every `dedup_id` used until then is free again, except those of tasks that stay.
        """
        return await purge_tasks(self._broker, self._settings, scheduled, arguments.seconds("timeout", timeout))

    async def receive(
        self,
        max_tasks: int = 10,
        wait: float | timedelta = 0.0,
        *,
        group: str | None = None,
    ) -> list[ReceivedTask]:
        """Take up to `max_tasks` by hand, waiting up to `wait` for the first; each is to be settled.

        What arrives together with the first is returned with it. A `receive` that is cancelled hands back what it took.
        Each task counts as started: where a rate limit of the queue or group has no room for it within `wait`, it is
        not returned. Nor is anything of a group that a handler's `Throttle` closes.

        `group` defaults to `PROTOQUEUE_GROUP`, and then to the queue's group where it has just one. Raises
        GroupNotFound and Unavailable.
        """
        arguments.count("max_tasks", max_tasks, 1)
        wait_s = arguments.seconds("wait", wait)
        named = group or os.environ.get("PROTOQUEUE_GROUP")
        name = self._group(named) if named else await only_group(self._broker, self._settings.name)
        return await receive_tasks(await self._holder(name), max_tasks, wait_s)

    async def only_group(self) -> str:
        """The name of the queue's only consumer group.

        Raises GroupNotFound where there is none, ConfigurationError where there are several or delivery is Broadcast,
        and Unavailable.
        """
        return (await only_group(self._broker, self._settings.name)).name

    async def lease(self, token: str) -> Lease:
        """What settles a task by the `token` of the ReceivedTask, in any process. Asks NATS nothing about the task.

        Raises InvalidTask for what is not a token of this queue, GroupNotFound, and Unavailable.
        """
        lease = LeaseToken.decode(token)
        if lease.group.queue != self._settings.name:
            raise InvalidTask(f"not a token of a task of queue {self.name}")
        read_at, holder = self._holders.get(lease.group, (-math.inf, None))
        if holder is None or time.monotonic() - read_at > _REREAD_GROUP_S:
            holder = await self._holder(lease.group)
            self._holders[lease.group] = time.monotonic(), holder
        return Lease(lease, holder)

    async def _holder(self, name: GroupName) -> LeaseContext:
        settings = await read_settings(self._broker, name.config_key, parse_group)
        if settings is None:
            raise GroupNotFound(f"queue {self.name} has no consumer group {name.name}: apply a ConsumerGroup for it")
        limits = self._limits.get(name) or ReceiveLimits(self._broker)
        self._limits[name] = limits
        limits.update(self._settings, settings)
        return LeaseContext(self._broker, self._settler, self._settings, settings, limits, self._history)

    async def cancel(self, task_id: str, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> bool:
        """Take a task back that is not due yet, waits for its retry or a worker, or stop it while it runs.

        A running async handler gets a CancelledError at its next await, and the task is done with; a plain function
        runs on, unless in a process, but its worker turns to other tasks. What `receive` has lent does not come back.
        False when there is no such task any more. A task that waits is looked for in the queue, from the time in its id
        on: raises Unavailable when that takes longer than `timeout`.
        """
        timeout_s = arguments.seconds("timeout", timeout)
        cancelled, task = await cancel_task(self._broker, self._settings, task_id, timeout_s)
        if task is not None:
            self._history.cancelled(self._settings, task)
        return cancelled

    async def status(self, task_id: str, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> TaskStatus:
        """Where a task is, or what became of it.

        Of a queue without `spec.history` what has ended is Unknown, unless it is a dead letter. A task that waits is
        looked for in the queue, from the time in its id on: raises Unavailable when that takes longer than `timeout`.
        """
        return await self._history.status(self._settings, task_id, arguments.seconds("timeout", timeout))

    @overload
    async def result(
        self, task_id: str, kind: type[_Kind], *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> _Kind: ...
    @overload
    async def result(
        self, task_id: str, kind: Any = Any, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> Any: ...

    async def result(
        self, task_id: str, kind: Any = Any, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> Any:
        """What the task's handler returned, once it has: as `kind`, anything a handler's annotation may be.

        Raises TaskFailed where it failed for good, was cancelled or expired, TimeoutError after `timeout`,
        HistoryDisabled where the queue keeps no results, ResultNotStored for one that was too large or could not be
        encoded, and UndecodableTask for one of another kind. In a Broadcast queue it is that of the first group.
        """
        return await self._history.result(self._settings, task_id, kind, arguments.optional_seconds(timeout))

    async def history(
        self,
        *,
        failed: bool | None = None,
        outcomes: Iterable[AttemptOutcome] | None = None,
        type: str | None = None,  # noqa: A002
        error_type: str | None = None,
        group: str | None = None,
        since: float | timedelta | datetime | None = None,
        before: int | None = None,
        limit: int = 100,
        timeout: float | timedelta = DEFAULT_TIMEOUT_S,
    ) -> list[TaskRecord]:
        """The newest records of finished attempts, newest first, at most `limit`.

        With `failed` those of attempts that failed, or with False those of others; only with one of the `outcomes`, of
        a task `type`, an `error_type`, a `group` if given; `since` a moment or for so long; of lower sequences than
        `before`, which is how to go on from the last record of a page. Raises HistoryDisabled, and Unavailable when an
        answer takes longer than `timeout`.
        """
        if group is not None:
            self._group(group)
        if before is not None:
            arguments.count("before", before, 0)
        return await self._history.search(
            self._settings, outcomes=outcomes_of(failed, outcomes), task_type=type, error_type=error_type, group=group,
            since=arguments.since(since, self._broker.now()), before=before, limit=arguments.count("limit", limit, 0),
            timeout_s=arguments.seconds("timeout", timeout),
        )  # fmt: skip

    async def run_now(self, task_id: str, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> bool:
        """Have a task run that is not due yet, because it is delayed or waits for its next attempt.

        False when there is no such task that is not due. Raises Unavailable.
        """
        return await run_now(self._broker, self._settings, task_id, arguments.seconds("timeout", timeout))

    async def workers(self, group: str, *, wait: float | timedelta = 0.5) -> list[WorkerStatus]:
        """The workers of a group that answer within `wait`, with the number of tasks each runs, sorted by host."""
        answers = await self._broker.call_all(self._group(group).status_requests, b"", arguments.seconds("wait", wait))
        found = []
        for answer in answers:
            with contextlib.suppress(ValueError):  # somebody else may listen there
                found.append(WorkerStatus.decode(answer))
        return sorted(found, key=lambda worker: worker.host)

    async def peek(self, limit: int = 10, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> list[Task]:
        """The oldest tasks in the queue, waiting or running, without consuming them.

        What was delayed is as old as it is due.
        """
        arguments.count("limit", limit, 0)
        return await oldest_tasks(self._broker, self._settings, limit, arguments.seconds("timeout", timeout))

    async def peek_scheduled(
        self, limit: int = 10, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S
    ) -> list[ScheduledTask]:
        """Tasks that are not due yet, delayed ones and those that wait for their next attempt, earliest due first.

        Where there are more than `limit`, those that were stored first.
        """
        arguments.count("limit", limit, 0)
        return await scheduled_tasks(self._broker, self._settings, limit, arguments.seconds("timeout", timeout))

    def _group(self, name: str) -> GroupName:
        try:
            return GroupName.parse(self._settings.name, name)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def _prepare(self, item: Any, task_id: str, now: datetime, trace: Mapping[str, str]) -> Prepared:
        payload, how = (item.payload, item) if isinstance(item, NewTask) else (item, _NO_OPTIONS)
        try:
            return prepare(payload, how, task_id, now, self._settings, self._broker.max_payload, trace)
        except InvalidTask:
            raise
        except (AttributeError, TypeError, ValueError) as error:  # an argument of a type that it cannot be
            raise InvalidTask(wrong_argument(how) or f"the task cannot be enqueued like this: {error}") from error

"""One queue as its users see it: enqueue, receive, look, and put right."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from protoqueue.admin.cancel import cancel_task
from protoqueue.admin.dead_letters import DeadLetter, redrive_letters, redrive_slowly, stored_letters
from protoqueue.admin.forward_letters import forward_letters
from protoqueue.admin.only_group import only_group
from protoqueue.admin.peek import ScheduledTask, oldest_tasks, scheduled_tasks
from protoqueue.admin.purge import purge_tasks
from protoqueue.admin.run_now import run_now
from protoqueue.admin.samples import QueueSamples, read_samples
from protoqueue.admin.slowest_group import SlowestGroup
from protoqueue.admin.stats import Progress, QueueStats, read_progress, read_stats
from protoqueue.admin.workers import answering_workers
from protoqueue.broker import Broker
from protoqueue.consumer.lease import Lease
from protoqueue.consumer.lease_contexts import LeaseContexts
from protoqueue.consumer.lease_token import LeaseToken
from protoqueue.consumer.receive import ReceivedTask, receive_tasks
from protoqueue.errors import ConfigurationError, InvalidTask
from protoqueue.history.model import AttemptOutcome, TaskRecord, TaskStatus
from protoqueue.history.queue_history import QueueHistory, outcomes_of
from protoqueue.observability.tracing import Tracing
from protoqueue.producer import arguments
from protoqueue.producer.enqueue import Producer
from protoqueue.producer.lane_loads import LaneLoads
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.worker_status import WorkerStatus
from protoqueue.task import (
    DEFAULT_PRIORITY,
    DEFAULT_RESULT_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    NewTask,
    Receipt,
    Retries,
    Task,
    UniqueUntil,
)

_Kind = TypeVar("_Kind")


class Queue:
    """One queue; `Client.queue` makes it. It follows changes of the Queue resource by itself."""

    def __init__(
        self, broker: Broker, settings: QueueSettings, tracing: Tracing | None = None,
        history: QueueHistory | None = None, lane_loads: LaneLoads | None = None,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._settings = settings
        self._history = history or QueueHistory(broker, settings.name)
        self._producer = Producer(
            broker, tracing, SlowestGroup(broker, settings).named_in, lane_loads or LaneLoads(broker),
            self._history.replaced,
        )  # fmt: skip
        self._leases = LeaseContexts(broker, self._history)

    async def update(self, settings: QueueSettings | None) -> None:
        """Take over new settings; while the Queue does not exist the last ones stay, and NATS refuses for itself."""
        if settings is not None:
            self._settings = settings
            self._leases.forget()

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
        fairness_key: str = "",
        replace: str | None = None,
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
        what handler, group and queue say about attempts. In a fair queue (`spec.fairness`) the keys `fairness_key` that
        have tasks waiting share the workers evenly, however many each has; tasks without one are together one key.
        A task takes the place of the one of its key `replace` that is not yet due, which never runs:
        `receipt.replaced` is the id of that.
        `timeout` None waits for ever; numbers are seconds here and everywhere. Raises InvalidTask, PayloadTooLarge,
        QueueFull and Unavailable.
        """
        timeout_s = arguments.optional_seconds(timeout)
        new_task = NewTask(
            payload, type, priority, delay, at, expires, dedup_id, ordering_key, metadata, retry, unique, unique_until,
            fairness_key, replace,
        )  # fmt: skip
        return (await self._producer.enqueue(self._settings, new_task, timeout_s)).bound(self)

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
        receipts = await self._producer.enqueue_batch(self._settings, items, timeout_s)
        return [receipt.bound(self) for receipt in receipts]

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
        return await receive_tasks(await self._leases.current(self._settings, name), max_tasks, wait_s)

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
        return Lease(lease, await self._leases.recent(self._settings, lease.group))

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
        return await answering_workers(self._broker, self._group(group), arguments.seconds("wait", wait))

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

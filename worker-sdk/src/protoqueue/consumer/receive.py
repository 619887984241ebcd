"""Receiving tasks without a worker; the caller settles them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from protoqueue.broker import IN_PROGRESS, Broker, Delivery
from protoqueue.consumer.execute import expired, policy_of, read_delivery
from protoqueue.consumer.lease_token import LeaseToken
from protoqueue.consumer.move import Mover
from protoqueue.consumer.receive_limits import ReceiveLimits
from protoqueue.consumer.receive_requests import Fetch
from protoqueue.consumer.throttle import throttle_for, throttled_s
from protoqueue.errors import AlreadySettled, InvalidTask, Unavailable
from protoqueue.history.queue_history import QueueHistory
from protoqueue.outcomes import Redrive, Reject, Retry, Snooze, Throttle
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.payloads import decoder_for
from protoqueue.settlement.attempt_count import TRIAL, AttemptCounts, Past
from protoqueue.settlement.firings import Firings
from protoqueue.settlement.ledger import Ledger
from protoqueue.settlement.outcome import DONE, Executed, Outcome, outcome_of
from protoqueue.settlement.replaced import replaced_meanwhile
from protoqueue.settlement.settle import Settler, process_name
from protoqueue.settlement.unique_keys import claiming, may_start, must_claim
from protoqueue.task import Task

_ANSWER_S = 1.0
_TOGETHER_S = 0.05
"""What arrives within this time after the first task is returned with it."""

SETTLE_TIMEOUT_S = 10.0

_LOOK_AGAIN_S = 0.5
"""How often a receive that waits looks whether the group is throttled."""


_background: set[asyncio.Task[None]] = set()
"""Work that goes on after its caller is cancelled: the event loop itself keeps no reference."""

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class LeaseContext:
    """What a received task needs to be settled."""

    broker: Broker
    settler: Settler
    queue: QueueSettings
    group: GroupSettings
    limits: ReceiveLimits
    history: QueueHistory

    async def settle(self, delivery: Delivery, executed: Executed, leased_until: datetime | None = None) -> None:
        """Settle it and record what became of it; `leased_until` if the task was handed to a caller.

        Raises Unavailable.
        """
        await self.settler.settle(delivery, executed, self.queue, self.group)
        held: timedelta | None = None
        if leased_until is not None:
            held = self.broker.now() - leased_until + timedelta(seconds=self.group.visibility_s)
        ran_s = None if held is None else max(0.0, held.total_seconds())
        self.history.finished(self.queue, self.group.name.name, process_name(), executed, delivery, ran_s)

    async def throttle(self, busy: Throttle) -> None:
        """Have the group start nothing for a while. Raises Unavailable."""
        await throttle_for(self.broker, self.group.name, busy.delay, busy.why, SETTLE_TIMEOUT_S)

    @property
    def attempt_counts(self) -> AttemptCounts:
        return AttemptCounts(self.broker, self.group.name, ordered=bool(self.queue.partitions))

    async def hand_back(self, delivery: Delivery) -> None:
        """Return an unwanted task to the queue."""
        await self.settler.hand_back(delivery, self.queue, self.group)


@dataclass(frozen=True, slots=True)
class ReceivedTask(Task):
    """A task lent for the group's `visibilityTimeout`: settle or extend it before, else it returns to the queue.

    `leased_until` is when it does, where nobody extends the lease.
    """

    leased_until: datetime = field(kw_only=True)
    _delivery: Delivery = field(kw_only=True, repr=False)
    _holder: LeaseContext = field(kw_only=True, repr=False)
    _settled: list[str] = field(kw_only=True, repr=False, default_factory=list)

    @overload
    def payload(self, kind: type[_Kind], /) -> _Kind: ...
    @overload
    def payload(self, kind: Any = Any, /) -> Any: ...

    def payload(self, kind: Any = Any, /) -> Any:
        """The payload as `kind`, anything a handler's annotation may be; raises UndecodableTask."""
        return decoder_for(kind)(self.data, self.content_type)

    @property
    def group(self) -> str:
        """The consumer group it was received for."""
        return self._holder.group.name.name

    @property
    def token(self) -> str:
        """What `Queue.lease` settles this task by, in another process too: without the payload, and not secret.

        Who gives it to others signs it: a made-up one settles a task that its holder never had.
        """
        group = self._holder.group
        return LeaseToken.of(self._delivery, group, self.id, self.attempt, self.leased_until).encode()

    async def ack(self) -> None:
        """It is done.

        Returns once NATS has it. Raises AlreadySettled, and Unavailable where NATS does not answer: the task is not
        settled then, and this can be called again. What NATS delivered in the moment in which it was killed it may not
        know any more: it never answers then, and delivers the task again. The next three do the same.
        """
        await self._settle("acked", DONE)

    async def retry(self, delay: float | timedelta | None = None, why: str = "") -> None:
        """The attempt failed: again after `delay`, else after the group's backoff, or to the dead letters.

        Raises InvalidTask for a delay that is none.
        """
        try:
            failure = Retry(why, delay=delay)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        await self._settle("retried", self._outcome_of(failure))

    async def reject(self, reason: str = "") -> None:
        """To the dead letters, now."""
        await self._settle("rejected", self._outcome_of(Reject(reason)))

    async def snooze(self, delay: float | timedelta) -> None:
        """The same attempt again after `delay`. Raises InvalidTask for a delay that cannot be."""
        try:
            later = Snooze(delay)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        await self._settle("snoozed", self._outcome_of(later))

    async def throttle(self, delay: float | timedelta, why: str = "") -> None:
        """The same attempt again after `delay`, and until then no worker and no `receive` of the group gets a task.

        For an API that answers 429; `why` is shown to whoever looks at the group. Raises InvalidTask for a delay that
        cannot be.
        """
        try:
            busy = Throttle(delay, why)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        self._refuse_if_settled()
        await self._holder.throttle(busy)
        await self._settle("throttled", self._outcome_of(busy))

    async def redrive(self, delay: float | timedelta = 0) -> None:
        """Send a dead letter back to the queue and group that gave it up, after `delay`, with fresh attempts.

        Raises InvalidTask for a task that is no dead letter and a delay that cannot be, and QueueNotFound or
        GroupNotFound where the one it came from is gone: it is not settled then.
        """
        try:
            back = Redrive(delay)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        await self._settle("redriven", self._outcome_of(back))

    def _outcome_of(self, error: Exception) -> Outcome:
        return outcome_of(error, self.attempt, policy_of(self, self._holder.group), 0)

    async def hand_back(self) -> None:
        """Let another have it, as if it had not been received; where NATS is away, once its lease has run out."""
        self._refuse_if_settled()
        self._settled.append("handed back")
        await self._holder.settler.hand_back(self._delivery, self._holder.queue, self._holder.group)

    async def extend(self) -> None:
        """Hold it for another `visibilityTimeout` from now. Raises AlreadySettled and Unavailable."""
        self._refuse_if_settled()
        await self._holder.broker.answer_confirmed(self._delivery.reply, IN_PROGRESS, SETTLE_TIMEOUT_S)

    async def _settle(self, how: str, outcome: Outcome) -> None:
        self._refuse_if_settled()
        self._settled.append(how)  # at once: of two calls at the same time one is refused
        holder = self._holder
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await holder.settle(self._delivery, Executed(outcome, self), self.leased_until)
        except BaseException as error:
            self._settled.clear()
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"task {self.id} is not settled: NATS did not respond within {SETTLE_TIMEOUT_S:g} s; "
                    "if NATS was restarted, it may deliver the task again"
                ) from None
            raise

    def _refuse_if_settled(self) -> None:
        if self._settled:
            raise AlreadySettled(f"task {self.id} is already {self._settled[0]}")


async def receive_tasks(holder: LeaseContext, max_tasks: int, wait_s: float) -> list[ReceivedTask]:
    """Up to `max_tasks`, of high levels first: what there is at once, else what comes first within `wait_s`.

    What is no task, or has killed those who held it, goes to the dead letters and is not returned. What was with a
    holder that died is returned alone, since it may have been the cause. Each takes a token of the rate limits of queue
    and group; nothing is returned while a handler's Throttle closes the group. Where this is cancelled, what it took is
    handed back.
    """
    deadline = time.monotonic() + wait_s
    while await _may_start(holder, deadline):
        began = time.monotonic()
        fetch, tasks = Fetch(holder.broker, holder.queue, holder.group, holder.hand_back), list[ReceivedTask]()
        try:
            async with _moving(holder, max_tasks):
                receive_into = _receive_limited_into if holder.limits.limited else _receive_into
                await receive_into(tasks, fetch, holder, max_tasks, deadline)
            has_waited = time.monotonic() - began > _LOOK_AGAIN_S
            is_late = bool(tasks) and has_waited and await _throttled_s(holder) > 0
            await fetch.close([] if is_late else [task._delivery for task in tasks])  # noqa: SLF001
        except BaseException:
            await _see_through(fetch.close(kept=()))
            raise
        if not is_late:
            return tasks
    return []


async def _may_start(holder: LeaseContext, deadline: float) -> bool:
    """Wait until no handler's Throttle closes the group; False where that takes too long."""
    while (left_s := await _throttled_s(holder)) > 0:
        wait_s = min(left_s, deadline - time.monotonic(), _LOOK_AGAIN_S)
        if wait_s <= 0:
            return False
        await asyncio.sleep(wait_s)
    return True


async def _throttled_s(holder: LeaseContext) -> float:
    return await throttled_s(holder.broker, holder.group.name, SETTLE_TIMEOUT_S)


@contextlib.asynccontextmanager
async def _moving(holder: LeaseContext, most: int) -> AsyncIterator[None]:
    """Within the block, move tasks of other streams to the queue's main stream, also newly arriving ones."""
    if not holder.group.moved or holder.queue.paused or holder.group.paused:
        yield
        return
    mover = Mover(holder.broker, holder.queue, holder.group)
    try:
        await mover.move_now(most)
        mover.start()
        yield
    finally:
        await mover.close()


async def _receive_into(
    tasks: list[ReceivedTask], fetch: Fetch, holder: LeaseContext, max_tasks: int, deadline: float
) -> None:
    while not tasks:
        deliveries = await _fetched(fetch, max_tasks, deadline)
        if await _accept_into(tasks, deliveries, fetch, holder) or time.monotonic() >= deadline:
            return


async def _receive_limited_into(
    tasks: list[ReceivedTask], fetch: Fetch, holder: LeaseContext, max_tasks: int, deadline: float
) -> None:
    """The same under a rate limit: further rounds as long as each gets all its tokens."""
    while len(tasks) < max_tasks:
        until = time.monotonic() if tasks else deadline
        async with holder.limits.asking(max_tasks - len(tasks), until - time.monotonic()) as room:
            deliveries = await _fetched(fetch, room, until) if room else []
            # These tasks are leased: they must not be redelivered meanwhile.
            within_s = min(until - time.monotonic(), holder.group.visibility_s / 2)
            granted = await holder.limits.granted(len(deliveries), within_s) if deliveries else 0
        await fetch.give_back(deliveries[granted:])
        if await _accept_into(tasks, deliveries[:granted], fetch, holder):
            return
        if granted < room if tasks else time.monotonic() >= deadline:
            return


async def _fetched(fetch: Fetch, most: int, deadline: float) -> list[Delivery]:
    """The present tasks, or else the first to arrive by the deadline and those that arrive with it."""
    deliveries = await fetch.at_once(most)
    if not deliveries and (left_s := deadline - time.monotonic()) > 0:
        deliveries = await fetch.first(most, left_s)
        if 0 < len(deliveries) < most:
            await asyncio.sleep(min(_TOGETHER_S, max(0.0, deadline - time.monotonic())))
            deliveries = fetch.highest_first((*deliveries, *await fetch.at_once(most - len(deliveries))))
    return deliveries


async def _accept_into(
    tasks: list[ReceivedTask], deliveries: Sequence[Delivery], fetch: Fetch, holder: LeaseContext
) -> bool:
    """Whether the last of the tasks must be returned alone."""
    for delivery in deliveries:
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                past = await holder.attempt_counts.past_of(delivery)
                if past.is_suspect and tasks:
                    continue  # handed back: it is redelivered, and then alone
                task = await _accepted(delivery, past, holder, fetch.arrived_at(delivery))
        except TimeoutError:
            raise Unavailable(
                f"no answer from pq-done about a task's earlier deliveries in {SETTLE_TIMEOUT_S:g} s: see the log"
            ) from None
        if task is None:
            fetch.forget(delivery)
            continue
        tasks.append(task)
        if past.is_suspect:
            return True
    return False


async def _see_through(work: Coroutine[Any, Any, None]) -> None:
    """Await it to its end; it goes on if this is cancelled meanwhile."""
    task = asyncio.create_task(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
    await asyncio.shield(task)


async def _accepted(delivery: Delivery, past: Past, holder: LeaseContext, arrived_at: datetime) -> ReceivedTask | None:
    early = await Firings(holder.broker, holder.group.name).before_start(delivery)
    if early is not None:
        await holder.settle(delivery, early)
        return None
    if must_claim(delivery, holder.queue):
        await holder.settle(delivery, claiming(delivery))
        return None
    if gone := await replaced_meanwhile(holder.broker, delivery, holder.queue):
        await holder.settle(delivery, gone)
        return None
    delivery = holder.attempt_counts.counted(delivery, past)
    read = read_delivery(delivery, holder.group, past, holder.broker.now)
    task = read.task if isinstance(read, Executed) else read
    if holder.group.exactly_once and task and await Ledger(holder.broker, holder.group.name).has(task.id):
        read = Executed(DONE, task, is_recorded=True)
    if not isinstance(read, Executed) and not await may_start(holder.broker, delivery, holder.group):
        read = expired(delivery)
    if isinstance(read, Executed):
        await holder.settle(delivery, read)
        return None
    if past.is_suspect:
        await holder.attempt_counts.note(delivery, TRIAL, beside=0)
    values = {known.name: getattr(read, known.name) for known in fields(Task)}
    until = arrived_at + timedelta(seconds=holder.group.visibility_s)
    return ReceivedTask(**values, leased_until=until, _delivery=delivery, _holder=holder)

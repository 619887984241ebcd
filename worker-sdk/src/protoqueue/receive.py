"""Tasks by hand: fetched without a worker, and settled by whoever holds them."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import partial
from typing import Any

from protoqueue.codec import decoder_for
from protoqueue.connection import IN_PROGRESS, Broker, Delivery, Inbox, PullEnd
from protoqueue.errors import AlreadySettled, InvalidTask
from protoqueue.execute import Executed, read_delivery
from protoqueue.ledger import Ledger
from protoqueue.outcomes import DONE, Outcome, Reject, Retry, outcome_of
from protoqueue.settings import GroupSettings, QueueSettings
from protoqueue.settle import Settler
from protoqueue.tally import Tallies
from protoqueue.task import Task

_ANSWER_S = 1.0


@dataclass(frozen=True, slots=True)
class Holder:
    """What a received task needs to be settled."""

    broker: Broker
    settler: Settler
    queue: QueueSettings
    group: GroupSettings


@dataclass(frozen=True, slots=True)
class ReceivedTask(Task):
    """A task lent for the group's `visibilityTimeout`: settle or extend it before, else it returns to the queue."""

    _delivery: Delivery = field(kw_only=True, repr=False)
    _holder: Holder = field(kw_only=True, repr=False)
    _settled: list[str] = field(kw_only=True, repr=False, default_factory=list)

    def payload(self, kind: Any = Any) -> Any:
        """The payload as `kind`, anything a handler's annotation may be; raises UndecodableTask."""
        return decoder_for(kind)(self.data, self.content_type)

    async def ack(self) -> None:
        """It is done. Raises AlreadySettled, as the next two do."""
        await self._settle("acked", DONE)

    async def retry(self, delay: float | timedelta | None = None, why: str = "") -> None:
        """The attempt failed: again after `delay`, else after the group's backoff, or to the dead letters.

        Raises InvalidTask for a delay that is none.
        """
        try:
            failure = Retry(why, delay=delay)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        await self._settle("retried", outcome_of(failure, self.attempt, self._holder.group.retry, 0))

    async def reject(self, reason: str = "") -> None:
        """To the dead letters, now."""
        await self._settle("rejected", outcome_of(Reject(reason), self.attempt, self._holder.group.retry, 0))

    async def extend(self) -> None:
        """Hold it for another `visibilityTimeout` from now. Raises AlreadySettled."""
        self._refuse_if_settled()
        await self._holder.broker.answer(self._delivery.reply, IN_PROGRESS)

    async def _settle(self, how: str, outcome: Outcome) -> None:
        self._refuse_if_settled()
        self._settled.append(how)
        holder = self._holder
        await holder.settler.settle(self._delivery, Executed(outcome, self), holder.queue, holder.group)

    def _refuse_if_settled(self) -> None:
        if self._settled:
            raise AlreadySettled(f"task {self.id} is {self._settled[0]} already")


async def receive_tasks(holder: Holder, max_tasks: int, wait_s: float) -> list[ReceivedTask]:
    """Up to `max_tasks`, of high levels first: what there is at once, else what comes first within `wait_s`.

    What is no task, or has killed those who held it, goes to the dead letters and is not returned.
    """
    tasks: list[ReceivedTask] = []
    deadline = time.monotonic() + wait_s
    async with AsyncExitStack() as stack:
        fetch = _Fetch(holder, stack)
        while True:
            deliveries = await fetch.at_once(max_tasks)
            if not deliveries and (left := deadline - time.monotonic()) > 0:
                deliveries = await fetch.first(left)
            accepted = [await _accepted(delivery, holder) for delivery in deliveries]
            tasks += [task for task in accepted if task is not None]
            if tasks or time.monotonic() >= deadline:
                break
    for delivery in fetch.rest():
        await holder.settler.hand_back(delivery, holder.queue, holder.group)
    return tasks


async def _accepted(delivery: Delivery, holder: Holder) -> ReceivedTask | None:
    if holder.queue.partitions:
        delivery = await Tallies(holder.broker, holder.group.name).counted(delivery)
    read = read_delivery(delivery, holder.group)
    task = read.task if isinstance(read, Executed) else read
    if holder.group.exactly_once and task and await Ledger(holder.broker, holder.group.name).has(task.id):
        read = Executed(DONE, task)
    if isinstance(read, Executed):
        await holder.settler.settle(delivery, read, holder.queue, holder.group)
        return None
    values = {known.name: getattr(read, known.name) for known in fields(Task)}
    return ReceivedTask(**values, _delivery=delivery, _holder=holder)


class _Fetch:
    """Pull requests of one `receive` to all consumers of a group."""

    def __init__(self, holder: Holder, stack: AsyncExitStack) -> None:
        self._arrived: list[Delivery] = []
        self._ended: set[int] = set()
        self._news = asyncio.Event()
        self._inboxes: Sequence[Inbox] = [
            holder.broker.open_inbox(holder.queue.stream, consumer.name, self._receive, partial(self._end, number))
            for number, consumer in enumerate(holder.group.consumers)
        ]
        for inbox in self._inboxes:
            stack.push_async_callback(inbox.withdraw)

    def _receive(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._news.set()

    def _end(self, number: int, _why: PullEnd) -> None:
        self._ended.add(number)
        self._news.set()

    async def at_once(self, wanted: int) -> list[Delivery]:
        """What the consumers have now, one after the other."""
        for number, inbox in enumerate(self._inboxes):
            missing = wanted - len(self._arrived)
            if missing <= 0:
                break
            self._ended.discard(number)
            await inbox.request(missing, None)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    while number not in self._ended and len(self._arrived) < wanted:
                        self._news.clear()
                        await self._news.wait()
            except TimeoutError:  # maxInFlight is reached
                await inbox.withdraw()
        return self._take(wanted)

    async def first(self, wait_s: float) -> list[Delivery]:
        """What comes first within `wait_s`."""
        self._news.clear()
        for inbox in self._inboxes:
            await inbox.request(1, wait_s)
        try:
            async with asyncio.timeout(wait_s):
                while not self._arrived:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        for inbox in self._inboxes:
            await inbox.withdraw()
        return self._take(1)

    def _take(self, wanted: int) -> list[Delivery]:
        taken, self._arrived = self._arrived[:wanted], self._arrived[wanted:]
        return taken

    def rest(self) -> list[Delivery]:
        """What came beyond what was wanted."""
        return self._take(len(self._arrived))

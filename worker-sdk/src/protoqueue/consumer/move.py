"""Moving tasks to the queue's main stream, so that a limit of tasks in flight holds for all of them together.

JetStream counts tasks in flight per consumer. If a group states `maxInFlight` and its queue's tasks are in several
streams, workers take tasks from one stream only, and move those of the others there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from protoqueue.aio import cancel
from protoqueue.broker import ACK, Broker, Delivery, PullEnd
from protoqueue.errors import PayloadTooLarge, ProtoQueueError, Unavailable
from protoqueue.protocol.config import Consumer, GroupSettings, QueueSettings
from protoqueue.settlement.attempt_count import AttemptCounts
from protoqueue.settlement.firings import Firings
from protoqueue.settlement.message_seal import Seals
from protoqueue.settlement.messages import expiry_of, moved, nak_after, without_extras

log = logging.getLogger(__name__)

MOST_AT_ONCE = 100
"""Tasks being moved have a lease; this many are stored well within it."""

WATCH_S = 5.0
_ANSWER_S = 1.0
_AGAIN = timedelta(seconds=1)
"""When moving is retried after the queue was full."""
_IMMOVABLE = timedelta(hours=1)
_REST_S: dict[PullEnd | None, float] = {PullEnd.REFUSED: 0.02, PullEnd.GONE: 1.0}
_PUBLISH_TIMEOUT_S = 5.0


class Mover:
    """Moves the tasks of some consumers of a group before any of them runs."""

    def __init__(
        self, broker: Broker, queue: QueueSettings, group: GroupSettings, has_moved: Callable[[], None] = lambda: None
    ) -> None:
        self._queue = queue
        self._group = group
        self._broker = broker
        self._has_moved = has_moved
        self._seals = Seals(broker)
        self._sources = [_Source(broker, queue, consumer) for consumer in group.moved]
        self._stopping = asyncio.Event()
        self._following: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Move present and arriving tasks until closed; `has_moved` is called after each batch."""
        self._following = [asyncio.create_task(self._follow(source)) for source in self._sources]

    async def _follow(self, source: "_Source") -> None:
        while not self._stopping.is_set():
            deliveries = await source.pull(MOST_AT_ONCE, None) or await source.pull(1, WATCH_S)
            all_moved = await self._move(deliveries)
            if not all_moved or source.rest_s:
                source.news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(source.news.wait(), source.rest_s or _AGAIN.total_seconds())

    async def move_now(self, most: int) -> None:
        """Move up to this many present tasks of each source."""
        for source in self._sources:
            await self._move(await source.pull(min(most, MOST_AT_ONCE), None))

    @property
    def found_nothing(self) -> bool:
        """Whether each source is known to be empty, and nothing is being moved."""
        return all(source.is_empty for source in self._sources)

    def reset(self) -> None:
        """The connection is new: earlier requests get no answer."""
        for source in self._sources:
            source.give_up()

    async def close(self) -> None:
        """Request nothing more; what has arrived is moved or handed back."""
        self._stopping.set()
        self.reset()
        if self._following:
            await asyncio.wait(self._following, timeout=_PUBLISH_TIMEOUT_S)
            await cancel(*self._following)
        for source in self._sources:
            for delivery in await source.close():
                await self._leave(delivery, timedelta())

    async def _move(self, deliveries: Sequence[Delivery]) -> bool:
        """Whether all of them were moved."""
        moved_each = await asyncio.gather(*map(self._move_one, deliveries))
        if any(moved_each):
            self._has_moved()
        return all(moved_each)

    async def _move_one(self, delivery: Delivery) -> bool:
        try:
            is_repeated = await Firings(self._broker, self._group.name).is_repeated(delivery)
            if not is_repeated:
                await self._store(delivery)
            await self._broker.answer(delivery.reply, ACK)
        except PayloadTooLarge as error:
            log.error("a task is too large to be moved to the queue's stream: %s", error, extra=self._fields(delivery))
            await self._leave(delivery, _IMMOVABLE)
            return False
        except ProtoQueueError as error:
            log.warning("could not move a task to the queue's stream, it will be redelivered: %s", error)
            await self._leave(delivery, _AGAIN)
            return False
        return True

    async def _store(self, delivery: Delivery) -> None:
        may_expire = delivery.deliveries == 1
        if not may_expire and expiry_of(delivery.headers):
            attempt_counts = AttemptCounts(self._broker, self._group.name, ordered=False)
            may_expire = not (await attempt_counts.past_of(delivery)).started
        message = moved(delivery, self._queue, self._group, self._broker.now(), may_expire=may_expire)
        try:
            await self._seals.publish(message, self._group.name, _PUBLISH_TIMEOUT_S)
        except PayloadTooLarge:
            await self._seals.publish(without_extras(message), self._group.name, _PUBLISH_TIMEOUT_S)

    async def _leave(self, delivery: Delivery, delay: timedelta) -> None:
        try:
            await self._broker.answer(delivery.reply, nak_after(delay))
        except ProtoQueueError as error:
            log.warning("could not return a task to the queue after a failed move, its lease will expire: %s", error)

    def _fields(self, delivery: Delivery) -> dict[str, object]:
        return {"queue": str(self._queue.name), "sequence": delivery.place}


class _Source:
    """A consumer whose tasks are moved: one pull request at a time."""

    def __init__(self, broker: Broker, queue: QueueSettings, consumer: Consumer) -> None:
        where = consumer.stream or queue.stream
        self._inbox = broker.open_inbox(where, consumer.name, self._receive, self._end)
        self._arrived: list[Delivery] = []
        self._missing = 0
        self._end_of_request: PullEnd | None = None
        self.news = asyncio.Event()
        self.is_empty = False

    def _receive(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._missing -= 1
        self.news.set()

    def _end(self, why: PullEnd) -> None:
        self._end_of_request = why
        self.news.set()

    @property
    def rest_s(self) -> float:
        """How long to pause after the last request."""
        return _REST_S.get(self._end_of_request, 0.0)

    def give_up(self) -> None:
        self._missing = 0
        self.news.set()

    async def pull(self, most: int, wait_s: float | None) -> list[Delivery]:
        """Up to `most` of the present tasks, or, with `wait_s`, the first to arrive within it."""
        self._end_of_request, self._missing = None, most
        try:
            await self._inbox.request(most, wait_s)
            async with asyncio.timeout((wait_s or 0) + _ANSWER_S):
                while self._missing > 0 and self._end_of_request is None:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:  # the request got lost, or as many are in flight as may be
            await self._inbox.withdraw()
        except Unavailable:
            self._end_of_request = PullEnd.REFUSED
        self.is_empty = self._missing == most and self._end_of_request is PullEnd.EMPTY
        arrived, self._arrived = self._arrived, []
        return arrived

    async def close(self) -> list[Delivery]:
        """Returns what has arrived and was not taken."""
        await self._inbox.withdraw()
        return self._arrived

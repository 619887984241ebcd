"""The pull requests of one `receive`, and what they delivered."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial

from protoqueue.broker import Broker, Delivery, Inbox, PullEnd
from protoqueue.protocol.config import GroupSettings, QueueSettings

_ANSWER_S = 1.0


class Fetch:
    """Requests from all consumers of a group; those of one level, on several streams, contribute evenly.

    `hand_back` is awaited for each delivery that is not wanted.
    """

    def __init__(
        self, broker: Broker, queue: QueueSettings, group: GroupSettings,
        hand_back: Callable[[Delivery], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._hand_back = hand_back
        self._arrived: list[Delivery] = []
        self._taken: list[Delivery] = []
        self._ended: set[int] = set()
        self._missing = [0] * len(group.consumers)
        self._levels: dict[tuple[int, int], list[int]] = {}
        self._ranks: dict[tuple[str, int], int] = {}
        """By stream and sequence, the index of the level each came from; high levels are first."""
        self._times: dict[tuple[str, int], datetime] = {}
        self._now = broker.now
        self._news = asyncio.Event()
        self._withdrawing: asyncio.Task[None] | None = None
        self._inboxes: list[Inbox] = []
        for number, consumer in enumerate(group.consumers):
            self._levels.setdefault(consumer.share, []).append(number)
            rank = len(self._levels) - 1
            receive, end = partial(self._receive, number, rank), partial(self._end, number)
            self._inboxes.append(broker.open_inbox(consumer.stream or queue.stream, consumer.name, receive, end))

    async def close(self, kept: Collection[Delivery]) -> None:
        """Withdraw all requests, and hand back all deliveries but those `kept`."""
        await self._withdraw()
        places = {_place(delivery) for delivery in kept}
        back = [delivery for delivery in (*self._taken, *self._arrived) if _place(delivery) not in places]
        if back:
            await asyncio.gather(*map(self._hand_back, back))
        self._arrived.clear()

    async def _withdraw(self) -> None:
        """Withdraw all requests: what is on its way arrives before this returns, even if it is cancelled.

        Those of high levels go last, so that tasks arriving for them meanwhile are still in time.
        """
        for inbox in reversed(self._inboxes):
            if self._withdrawing is None:
                self._withdrawing = asyncio.create_task(inbox.withdraw())
            await asyncio.shield(self._withdrawing)
            self._withdrawing = None

    async def give_back(self, deliveries: Collection[Delivery]) -> None:
        """Hand back deliveries."""
        for delivery in deliveries:
            self._taken.remove(delivery)
        await asyncio.gather(*map(self._hand_back, deliveries))

    def forget(self, delivery: Delivery) -> None:
        """The delivery has been settled."""
        self._taken.remove(delivery)

    def arrived_at(self, delivery: Delivery) -> datetime:
        """When its lease began, or a little later."""
        return self._times[_place(delivery)]

    def highest_first(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        return sorted(deliveries, key=lambda delivery: self._ranks[_place(delivery)])

    def _receive(self, number: int, rank: int, delivery: Delivery) -> None:
        place = _place(delivery)
        self._ranks[place], self._times[place] = rank, self._now()
        self._missing[number] -= 1
        self._arrived.append(delivery)
        self._news.set()

    def _end(self, number: int, _why: PullEnd) -> None:
        self._ended.add(number)
        self._news.set()

    async def at_once(self, wanted: int) -> list[Delivery]:
        """What the consumers have now, level by level."""
        for members in self._levels.values():
            # If two have tasks, neither is starved, even if one task is wanted at a time.
            giving = random.sample(members, len(members))
            while giving and (missing := wanted - len(self._arrived)) > 0:
                giving = await self._ask(giving, missing)
        return self._take(wanted)

    async def _ask(self, members: Sequence[int], wanted: int) -> list[int]:
        """Ask each for its share; returns those that delivered all of it, and may have more."""
        asked = []
        for left, number in zip(range(len(members), 0, -1), members, strict=True):
            if part := -(-wanted // left):
                self._missing[number], wanted = part, wanted - part
                self._ended.discard(number)
                await self._inboxes[number].request(part, None)
                asked.append(number)
        try:
            async with asyncio.timeout(_ANSWER_S):
                while not all(number in self._ended or self._missing[number] <= 0 for number in asked):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:  # maxInFlight is reached
            await self._withdraw()
        return [number for number in members if number not in asked or self._missing[number] <= 0]

    async def first(self, wanted: int, wait_s: float) -> list[Delivery]:
        """The first to arrive within `wait_s`; then the requests are withdrawn.

        All consumers are asked together, so more may arrive, low levels before high ones.
        """
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
        await self._withdraw()
        return self._take(wanted)

    def _take(self, wanted: int) -> list[Delivery]:
        arrived = self.highest_first(self._arrived)
        taken, self._arrived = arrived[:wanted], arrived[wanted:]
        self._taken += taken
        return taken


def _place(delivery: Delivery) -> tuple[str, int]:
    return delivery.stream, delivery.sequence

"""Enqueueing and receiving."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import protoqueue
from protoqueue import ConfigurationError, GroupNotFound, NewTask, Receipt, ReceivedTask
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import Invalid, Revoked, TooManyPolls
from protoqueue_gateway.service.receipts import Receipts

DEFAULT_GROUP = "default"

_LOOK_S = 2.0
"""How long a queue's only group is cached."""


@dataclass(frozen=True)
class Received:
    """A task, and what it is settled by."""

    task: ReceivedTask
    receipt: str


class Messages:
    """`polls_per_caller` is how many requests of one caller may wait for messages at the same time."""

    def __init__(self, connection: Connection, receipts: Receipts, polls_per_caller: int) -> None:
        self._connection = connection
        self._receipts = receipts
        self._polls_per_caller = polls_per_caller
        self._polls: Counter[str] = Counter()
        self._only: dict[QueueName, tuple[float, str]] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all waiting receives without messages, now and from now on."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def until_stopping(self) -> None:
        """Return once the gateway is told to stop."""
        await self._stopping.wait()

    @property
    def polls(self) -> int:
        """How many requests are waiting for messages."""
        return self._polls.total()

    async def enqueue(self, queue: QueueName, task: NewTask) -> Receipt:
        return await (await self._connection.queue(queue)).enqueue(task)

    async def enqueue_batch(self, queue: QueueName, tasks: Sequence[NewTask]) -> list[Receipt]:
        return await (await self._connection.queue(queue)).enqueue_batch(tasks)

    async def receive(
        self, queue: QueueName, group: str | None, most: int, wait_s: float, *, caller: str, revoked: asyncio.Event,
        gone: Awaitable[object],
    ) -> list[Received]:  # fmt: skip
        """Up to `most` tasks; what was taken goes back when `gone` ends, `revoked` is set or the gateway stops.

        Raises TooManyPolls, Revoked, Invalid where the group has to be named, GroupNotFound, NoSuchQueue, Unavailable.
        """
        weight = int(wait_s > 0)
        if weight and self._polls[caller] >= self._polls_per_caller:
            raise TooManyPolls(f"{self._polls_per_caller} requests with this key wait for messages already")
        self._polls[caller] += weight
        try:
            source = await self._connection.queue(queue)
            if group is None or group == DEFAULT_GROUP:
                group = await self._default_group(queue, source, named=group is not None)
            receiving = asyncio.ensure_future(source.receive(most, wait_s, group=group))
            return await self._first(receiving, queue, revoked, gone)
        except ConfigurationError as error:
            if isinstance(error, GroupNotFound):
                raise
            raise Invalid(str(error)) from error
        finally:
            self._polls[caller] -= weight
            if not self._polls[caller]:
                del self._polls[caller]

    async def _first(
        self, receiving: "asyncio.Future[list[ReceivedTask]]", queue: QueueName, revoked: asyncio.Event,
        gone: Awaitable[object],
    ) -> list[Received]:  # fmt: skip
        """The received tasks, unless something else ends the wait first."""
        ends: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(end) for end in (revoked.wait(), self._stopping.wait(), gone)
        ]
        try:
            await asyncio.wait([receiving, *ends], return_when=asyncio.FIRST_COMPLETED)
            if not any(end.done() for end in ends):
                tasks = receiving.result()
                return [Received(task, self._receipts.sign(str(queue), task.token)) for task in tasks]
        except asyncio.CancelledError:
            await self._give_back(receiving)
            raise
        finally:
            for end in ends:
                end.cancel()
        await self._give_back(receiving)
        if revoked.is_set():
            raise Revoked("the key was revoked")
        return []

    @staticmethod
    async def _give_back(receiving: "asyncio.Future[list[ReceivedTask]]") -> None:
        receiving.cancel()
        await asyncio.wait({receiving})
        if not receiving.cancelled() and receiving.exception() is None:
            await asyncio.gather(*(task.hand_back() for task in receiving.result()))

    async def _default_group(self, queue: QueueName, source: protoqueue.Queue, *, named: bool) -> str:
        """The only group of a queue, cached: the SDK would read it with each receive.

        `default` means the group that the gateway creates for a queue, which has the queue's name.
        """
        known = self._only.get(queue)
        if known is not None and time.monotonic() - known[0] < _LOOK_S:
            return known[1]
        try:
            name = await source.only_group()
        except GroupNotFound:
            raise
        except ConfigurationError:
            if not named:
                raise
            return queue.name
        self._only[queue] = time.monotonic(), name
        return name

"""Settling received tasks by their receipt, at any replica."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta

from protoqueue import InvalidTask, Lease, LeaseLost, ProtoQueueError
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.receipts import Receipts

log = logging.getLogger(__name__)

_REMEMBERED = 20_000
_MOST_KEPT = 10_000


class Settlement:
    """Every method raises InvalidReceipt, LeaseLost, InvalidTask, GroupNotFound, NoSuchQueue, Away and Unavailable.

    A settlement that is repeated at this replica succeeds again; another one after it is refused as LeaseLost.
    """

    def __init__(self, connection: Connection, receipts: Receipts) -> None:
        self._connection = connection
        self._receipts = receipts
        self._settled: OrderedDict[bytes, str] = OrderedDict()
        self._keepers: dict[bytes, asyncio.Task[None]] = {}

    async def ack(self, queue: QueueName, receipt: str) -> None:
        await self._settle(queue, receipt, "acked", Lease.ack)

    async def nack(self, queue: QueueName, receipt: str, delay_s: float | None) -> None:
        await self._settle(queue, receipt, "nacked", lambda lease: lease.retry(delay_s, why="nack"))

    async def reject(self, queue: QueueName, receipt: str, reason: str) -> None:
        await self._settle(queue, receipt, "rejected", lambda lease: lease.reject(reason))

    async def throttle(self, queue: QueueName, receipt: str, delay: timedelta, reason: str) -> None:
        await self._settle(queue, receipt, "throttled", lambda lease: lease.throttle(delay, reason))

    async def extend(self, queue: QueueName, receipt: str, seconds: float | None) -> None:
        """Hold it from now on for that long, at least the group's visibility timeout."""
        token, digest = self._read(queue, receipt)
        if (how := self._settled.get(digest)) is not None:
            raise LeaseLost(f"the task was {how} before")
        lease = await (await self._connection.queue(queue)).lease(token)
        await lease.extend(seconds)
        wanted_s, lent_s = seconds or 0.0, lease.visibility_timeout.total_seconds()
        self._forget_keeper(digest)
        if wanted_s > lent_s:
            if len(self._keepers) >= _MOST_KEPT:
                raise InvalidTask(f"too many leases are extended beyond {lent_s:g} s here: extend for less, and again")
            keeper = asyncio.create_task(self._keep(lease, time.monotonic() + wanted_s, lent_s / 3))
            self._keepers[digest] = keeper
            keeper.add_done_callback(
                lambda _: self._keepers.pop(digest, None) if self._keepers.get(digest) is keeper else None
            )

    async def close(self) -> None:
        """What is held for longer than NATS lends it returns to the queue, unless it is extended at another replica."""
        for keeper in list(self._keepers.values()):
            keeper.cancel()

    def _read(self, queue: QueueName, receipt: str) -> tuple[str, bytes]:
        token = self._receipts.verify(str(queue), receipt)
        return token, hashlib.sha256(token.encode()).digest()

    async def _settle(self, queue: QueueName, receipt: str, how: str, act: Callable[[Lease], Awaitable[None]]) -> None:
        token, digest = self._read(queue, receipt)
        if (before := self._settled.get(digest)) is not None:
            if before == how:
                return
            raise LeaseLost(f"the task was {before} before")
        lease = await (await self._connection.queue(queue)).lease(token)
        self._settled[digest] = how  # at once: of two concurrent ones one is refused
        try:
            await act(lease)
        except BaseException:
            self._settled.pop(digest, None)
            raise
        self._forget_keeper(digest)
        while len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)

    def _forget_keeper(self, digest: bytes) -> None:
        if (keeper := self._keepers.pop(digest, None)) is not None:
            keeper.cancel()

    async def _keep(self, lease: Lease, until: float, every_s: float) -> None:
        """NATS leases a task for one visibility timeout at a time: renew the lease until then."""
        with contextlib.suppress(LeaseLost):
            while time.monotonic() + every_s < until:
                await asyncio.sleep(every_s)
                try:
                    if not await lease.keep():
                        return
                except ProtoQueueError as error:
                    log.warning("could not extend a lease: %s", error, extra={"task": lease.task_id})

"""The idempotency ledger: which tasks of a group have succeeded, kept in `pq-done` for as long as its entries live."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from protoqueue.connection import Broker, WrongRevision
from protoqueue.errors import Unavailable
from protoqueue.naming import DONE_BUCKET, GroupName, is_token

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
_AGAIN_S = 0.5

T = TypeVar("T")


class Ledger:
    """Both methods wait until NATS answers: going on without an answer would break the promise the ledger is for."""

    def __init__(self, broker: Broker, group: GroupName) -> None:
        self._broker = broker
        self._group = group

    async def has(self, task_id: str) -> bool:
        """Whether the task has succeeded before."""

        async def read() -> bool:
            return (await self._broker.read_key(DONE_BUCKET, self._key(task_id), TIMEOUT_S)).value is not None

        return await _insist(read)

    async def record(self, task_id: str) -> None:
        """Write down that the task has succeeded."""

        async def write() -> None:
            try:
                await self._broker.write_key(DONE_BUCKET, self._key(task_id), b"", 0, TIMEOUT_S)
            except WrongRevision:
                log.debug("the ledger has task %s already", task_id)

        await _insist(write)

    def _key(self, task_id: str) -> str:
        token = task_id if is_token(task_id) else hashlib.sha256(task_id.encode()).hexdigest()
        return self._group.done_key(token)


async def _insist(act: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await act()
        except Unavailable as error:
            log.warning("the idempotency ledger does not answer, waiting: %s", error)
            await asyncio.sleep(_AGAIN_S)

"""The idempotency ledger: which tasks of a group have succeeded, kept in `pq-done` for as long as its entries live."""

import logging

from protoqueue.connection import Broker, WrongRevision
from protoqueue.insistence import until_answered
from protoqueue.naming import DONE_BUCKET, GroupName

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class Ledger:
    """Both methods wait until NATS answers: going on without an answer would break the promise the ledger is for."""

    def __init__(self, broker: Broker, group: GroupName) -> None:
        self._broker = broker
        self._group = group

    async def has(self, task_id: str) -> bool:
        """Whether the task has succeeded before."""
        key = self._group.done_key(task_id)
        entry = await until_answered(lambda: self._broker.read_key(DONE_BUCKET, key, TIMEOUT_S), "the ledger")
        return entry.value is not None

    async def record(self, task_id: str) -> None:
        """Write down that the task has succeeded."""
        key = self._group.done_key(task_id)

        async def write() -> None:
            try:
                await self._broker.write_key(DONE_BUCKET, key, b"", 0, TIMEOUT_S)
            except WrongRevision:
                log.debug("the ledger has task %s already", task_id)

        await until_answered(write, "the ledger")

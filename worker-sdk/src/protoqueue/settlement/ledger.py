"""The idempotency ledger: which tasks of a group have succeeded, kept in `pq-done` for as long as its entries live."""

import logging

from protoqueue.broker import Broker, WrongRevision
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName
from protoqueue.settlement.retry_forever import retry_forever

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class Ledger:
    """The ledger of one group. Going on without an answer would break its guarantee."""

    def __init__(self, broker: Broker, group: GroupName) -> None:
        self._broker = broker
        self._group = group

    async def has(self, task_id: str) -> bool:
        """Whether the task has succeeded before. Waits until NATS answers."""
        key = self._group.done_key(task_id)
        entry = await retry_forever(lambda: self._broker.read_key(DONE_BUCKET, key, TIMEOUT_S), "the ledger")
        return entry.value is not None

    async def record(self, task_id: str, *, again: bool = False) -> None:
        """Record that the task has succeeded; `again` after a try that raised. Raises what the broker raises."""
        try:
            await self._broker.write_key(DONE_BUCKET, self._group.done_key(task_id), b"", 0, TIMEOUT_S)
        except WrongRevision:
            if again:  # the earlier try was stored, and its answer got lost
                return
            log.warning(
                "a task of a group with exactlyOnce ran twice: its lease ran out while it ran, or another "
                "producer gave its id to two tasks. Let handlers be shorter than NATS outages, or keep the "
                "effect together with task.id",
                extra={"queue": str(self._group.queue), "group": self._group.name, "task": task_id},
            )

"""How often the task at the head of a partition has failed, been snoozed and been handed back.

In an ordered queue a task comes again by redelivery, since its place must be kept, and a delivery does not say how the
one before ended. So that is written down, in `pq-done`: one entry per partition, where one task at a time is under way.
"""

import contextlib
import json
from dataclasses import asdict, dataclass, replace

from protoqueue.connection import Broker, Delivery, WrongRevision
from protoqueue.insistence import until_answered
from protoqueue.naming import DONE_BUCKET, GroupName, Header, number_of

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Tally:
    """Deliveries of the message at `sequence` by how they ended; those that are missing here had no outcome.

    `noted` is the reply subject of the last that was counted: it tells deliveries apart.
    """

    sequence: int
    failed: int = 0
    snoozed: int = 0
    returned: int = 0
    noted: str = ""

    def plus(self, how: str, reply: str) -> "Tally":
        return replace(self, **{how: getattr(self, how) + 1}, noted=reply)

    @classmethod
    def decode(cls, data: bytes) -> "Tally | None":
        """None for what is no tally."""
        with contextlib.suppress(ValueError):
            match json.loads(data):
                case {
                    "sequence": int(sequence), "failed": int(failed), "snoozed": int(snoozed),
                    "returned": int(returned), "noted": str(noted),
                }:  # fmt: skip
                    return cls(sequence, failed, snoozed, returned, noted)
        return None


class Tallies:
    """Those of one group's partitions."""

    def __init__(self, broker: Broker, group: GroupName) -> None:
        self._broker = broker
        self._group = group

    async def counted(self, delivery: Delivery) -> Delivery:
        """The delivery as it would be in other queues: its attempt in a header, `deliveries` without an outcome + 1."""
        if delivery.deliveries == 1:
            return delivery
        tally, _ = await until_answered(lambda: self._read(delivery), "the attempts at an ordered task")
        headers = {**delivery.headers, Header.ATTEMPT: str(1 + tally.failed)}
        if tally.failed or tally.snoozed:
            headers.pop(Header.EXPIRES_AT, None)  # what has been started does not expire any more
        in_order = tally.failed + tally.snoozed + tally.returned
        return replace(delivery, headers=headers, deliveries=max(1, delivery.deliveries - in_order))

    async def note(self, delivery: Delivery, how: str) -> None:
        """Count that the delivery `failed`, was `snoozed` or `returned`, once however often it is tried.

        Raises Unavailable.
        """
        while True:
            tally, revision = await self._read(delivery)
            if tally.noted == delivery.reply:
                return
            value = json.dumps(asdict(tally.plus(how, delivery.reply))).encode()
            try:
                await self._broker.write_key(DONE_BUCKET, self._key(delivery), value, revision, TIMEOUT_S)
            except WrongRevision:  # the lease ran out, and another worker was quicker
                continue
            return

    async def _read(self, delivery: Delivery) -> tuple[Tally, int]:
        entry = await self._broker.read_key(DONE_BUCKET, self._key(delivery), TIMEOUT_S)
        tally = Tally.decode(entry.value or b"")
        if tally is None or tally.sequence != delivery.sequence:
            tally = Tally(delivery.sequence)
        return tally, entry.number

    def _key(self, delivery: Delivery) -> str:
        return self._group.tally_key(number_of(delivery.subject))

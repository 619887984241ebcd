"""What became of a message's earlier deliveries.

JetStream only counts deliveries, and a delivery does not say how the previous one ended. So every end but a crash is
recorded in `pq-done`: that a task was handed back, that its worker was told to stop, and in an ordered queue, where a
retry is a redelivery that keeps its place, that it failed or was snoozed. A delivery without a record ended with its
worker.

Of the tasks that were in flight together when a worker died, one may have killed it. From then on each is a suspect: it
runs on trial, alone, which is recorded before it starts. A trial without an outcome is the task's own fault.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from protoqueue.broker import Broker, Delivery, WrongRevision
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.subjects import number_of
from protoqueue.settlement.retry_forever import retry_forever

TIMEOUT_S = 5.0

FAILED, SNOOZED = "failed", "snoozed"
UNFIT = "unfit"
"""No handler accepts it: it waits for a newer worker."""
RETURNED = "returned"
"""Handed back, or held by a worker that was told to stop."""
TRIAL = "trial"
TRIAL_OVER = "trial over"
"""It still runs, by now beside others."""

_WHAT = "a task's earlier deliveries"


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a task's earlier deliveries when it is delivered.

    `crashes` is how many of them ended with their worker, counting only one of those in flight beside others; `beside`
    is how many other tasks ran in that process when the last of them began, where that is known. `late` counts deaths
    of its worker after its trial. `started` says whether it may have run before. `unfit_since` is since when no handler
    takes it, in milliseconds since the epoch, else 0.
    """

    failed: int = 0
    crashes: int = 0
    late: int = 0
    beside: int | None = None
    started: bool = False
    unfit_since: int = 0

    @property
    def is_suspect(self) -> bool:
        return self.crashes > 0


NO_PAST = Past()


@dataclass(frozen=True)
class AttemptCount:
    """The note: of the message at `sequence`, up to its `deliveries`, the last of which came with `reply`.

    `how` that one ended, or goes on; the other fields are those of the `Past` of whatever comes next.
    """

    sequence: int
    deliveries: int = 0
    reply: str = ""
    how: str = ""
    failed: int = 0
    crashes: int = 0
    late: int = 0
    beside: int | None = None
    started: bool = False
    unfit_since: int = 0

    def past_of(self, delivery: Delivery) -> Past:
        """The past of a delivery according to this record."""
        crashes, late, beside = self.crashes, self.late, self.beside
        if self.reply == delivery.reply or delivery.is_continued:
            pass
        elif self.how == TRIAL:
            crashes += 1
        elif self.how == TRIAL_OVER:
            late += 1
        elif not crashes and delivery.deliveries - 1 > self.deliveries:
            # Nothing is recorded about the others. A suspect, which never starts without a record, was only held.
            crashes, beside = 1, None
        return Past(self.failed, crashes, late, beside, self.started or crashes > 0, self.unfit_since)

    def noted(self, delivery: Delivery, how: str, *, started: bool, beside: int | None, now_ms: int) -> "AttemptCount":
        past = self.past_of(delivery)
        tally = replace(
            self, deliveries=delivery.deliveries, reply=delivery.reply, how=how, failed=past.failed,
            crashes=past.crashes, late=past.late, beside=past.beside, started=past.started or started,
        )  # fmt: skip
        if how in (FAILED, SNOOZED, UNFIT):  # an outcome: as in other queues, where what comes next is another message
            since = (past.unfit_since or now_ms) if how == UNFIT else 0
            failed = past.failed + (how == FAILED)
            return replace(tally, failed=failed, crashes=0, late=0, beside=None, unfit_since=since)
        return replace(tally, beside=beside) if how == TRIAL else tally

    @classmethod
    def decode(cls, data: bytes) -> "AttemptCount | None":
        """None for invalid data."""
        with contextlib.suppress(ValueError):
            match json.loads(data):
                case {
                    "sequence": int(sequence), "deliveries": int(deliveries), "reply": str(reply), "how": str(how),
                    "failed": int(failed), "crashes": int(crashes), "late": int(late),
                    "beside": int() | None as beside, "started": bool(started), "unfit_since": int(unfit_since),
                }:  # fmt: skip
                    return cls(sequence, deliveries, reply, how, failed, crashes, late, beside, started, unfit_since)
        return None


class AttemptCounts:
    """Those of one group. `ordered` says whether its queue is: then there is one for each partition's first task."""

    def __init__(self, broker: Broker, group: GroupName, *, ordered: bool) -> None:
        self._broker = broker
        self._group = group
        self._ordered = ordered

    async def past_of(self, delivery: Delivery) -> Past:
        """Waits until NATS answers; asks nothing for a first delivery."""
        if delivery.deliveries == 1:
            return NO_PAST
        tally, _ = await retry_forever(lambda: self._read(delivery), _WHAT)
        return tally.past_of(delivery)

    def counted(self, delivery: Delivery, past: Past) -> Delivery:
        """The delivery as in other queues: with its attempt in a header."""
        if not self._ordered or delivery.deliveries == 1:
            return delivery
        counted = {Header.ATTEMPT: str(1 + past.failed), Header.UNFIT_SINCE: str(past.unfit_since)}
        return replace(delivery, headers={**delivery.headers, **counted})

    async def is_over(self, delivery: Delivery) -> bool:
        """Whether something ended this delivery, or another followed it. Raises Unavailable."""
        tally, _ = await self._read(delivery)
        ended = tally.reply == delivery.reply and tally.how in (FAILED, SNOOZED, UNFIT, RETURNED)
        return ended or tally.deliveries > delivery.deliveries

    async def note(self, delivery: Delivery, how: str, *, started: bool = True, beside: int | None = None) -> None:
        """Record how the delivery ended, once, however often it is tried. Raises Unavailable."""
        now_ms = int(self._broker.now().timestamp() * 1000)
        await self._write(
            delivery,
            lambda tally: tally.noted(delivery, how, started=started, beside=beside, now_ms=now_ms),
            (delivery.reply, how),
        )

    async def _write(
        self, delivery: Delivery, change: Callable[[AttemptCount], AttemptCount], done: tuple[str, str]
    ) -> None:
        is_new = not self._ordered and delivery.deliveries == 1
        while True:
            tally, revision = (AttemptCount(delivery.sequence), 0) if is_new else await self._read(delivery)
            is_new = False
            if (tally.reply, tally.how) == done:
                return
            value = json.dumps(asdict(change(tally))).encode()
            try:
                await self._broker.write_key(DONE_BUCKET, self._key(delivery), value, revision, TIMEOUT_S)
            except WrongRevision:  # the lease ran out, and another worker was quicker
                continue
            return

    async def _read(self, delivery: Delivery) -> tuple[AttemptCount, int]:
        entry = await self._broker.read_key(DONE_BUCKET, self._key(delivery), TIMEOUT_S)
        tally = AttemptCount.decode(entry.value or b"")
        if tally is None or tally.sequence != delivery.sequence:
            tally = AttemptCount(delivery.sequence)
        return tally, entry.number

    def _key(self, delivery: Delivery) -> str:
        if self._ordered:
            return self._group.attempts_key(number_of(delivery.subject))
        return self._group.delivery_key(delivery.place)

"""Settling a received task by its token alone, in any process."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from protoqueue.broker import IN_PROGRESS, Delivery, WrongRevision
from protoqueue.consumer.execute import policy_of
from protoqueue.consumer.lease_token import LeaseToken
from protoqueue.consumer.receive import SETTLE_TIMEOUT_S, LeaseContext
from protoqueue.errors import InvalidTask, LeaseLost, Unavailable
from protoqueue.outcomes import Redrive, Reject, Retry, Snooze, Throttle
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.durations import to_timedelta
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.task_codec import read_task
from protoqueue.settlement.outcome import DONE, Executed, Outcome, outcome_of

LONGEST_EXTENSION = timedelta(hours=12)
"""Well within the day for which `pq-done` keeps it."""

_KEY_DIGITS = 24


@dataclass(frozen=True, slots=True)
class Lease:
    """A task lent by `Queue.receive`, here or in another process: settle or extend it. `Queue.lease` makes it.

    Every method raises LeaseLost where the lease is over, and Unavailable where NATS does not answer: nothing is
    settled then, and it can be called again. An `ack` that is repeated within the lease succeeds again.
    """

    _token: LeaseToken
    _holder: LeaseContext

    @property
    def task_id(self) -> str:
        return self._token.task_id

    @property
    def attempt(self) -> int:
        return self._token.attempt

    @property
    def group(self) -> str:
        return self._token.group.name

    @property
    def visibility_timeout(self) -> timedelta:
        """For how long NATS lends a task of this group."""
        return timedelta(seconds=self._holder.group.visibility_s)

    async def ack(self) -> None:
        """It is done."""
        await self._check()
        await self._settle(await self._as_stored(), DONE)

    async def retry(self, delay: float | timedelta | None = None, why: str = "") -> None:
        """The attempt failed: again after `delay`, else after the group's backoff, or to the dead letters.

        Raises InvalidTask for a delay that cannot be.
        """
        await self._end(lambda: Retry(why, delay=delay))

    async def reject(self, reason: str = "") -> None:
        """To the dead letters, now."""
        await self._end(lambda: Reject(reason))

    async def snooze(self, delay: float | timedelta) -> None:
        """The same attempt again after `delay`. Raises InvalidTask for a delay that cannot be."""
        await self._end(lambda: Snooze(delay))

    async def throttle(self, delay: float | timedelta, why: str = "") -> None:
        """The same attempt again after `delay`, and until then no worker and no `receive` of the group gets a task.

        Raises InvalidTask for a delay that cannot be.
        """
        await self._end(lambda: Throttle(delay, why))

    async def redrive(self, delay: float | timedelta = 0) -> None:
        """Send a dead letter back to the queue and group that gave it up, after `delay`, with fresh attempts.

        Raises InvalidTask for a task that is no dead letter and a delay that cannot be, and QueueNotFound or
        GroupNotFound where the one it came from is gone.
        """
        await self._end(lambda: Redrive(delay))

    async def extend(self, duration: float | timedelta | None = None) -> datetime:
        """Hold it from now on for `duration`, at least the group's `visibilityTimeout`; returns until when.

        NATS lends a task for one `visibilityTimeout` at a time: whoever wants it for longer calls `keep` in time, three
        times per `visibilityTimeout`. Raises InvalidTask for a duration that cannot be.
        """
        try:
            wanted = to_timedelta(0 if duration is None else duration)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        if wanted > LONGEST_EXTENSION:
            raise InvalidTask(f"{duration!r} is too long: a lease can be extended by at most 12 hours at a time")
        await self._check()
        until = self._holder.broker.now() + max(wanted, self.visibility_timeout)
        await self._holder.broker.answer_confirmed(self._token.reply, IN_PROGRESS, SETTLE_TIMEOUT_S)
        await self._note(until)
        return until

    async def keep(self) -> bool:
        """Have NATS lend it for another `visibilityTimeout`; False, and nothing done, where the lease is over."""
        try:
            await self._check()
        except LeaseLost:
            return False
        await self._holder.broker.answer_confirmed(self._token.reply, IN_PROGRESS, SETTLE_TIMEOUT_S)
        return True

    async def _end(self, how: Callable[[], Exception]) -> None:
        """Settle it as if a handler had raised this."""
        try:
            error = how()
        except ValueError as wrong:
            raise InvalidTask(str(wrong)) from wrong
        await self._check()
        delivery, group = await self._stored(), self._holder.group
        if isinstance(error, Throttle):
            await self._holder.throttle(error)
        task = read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream, group.retry.max_attempts)
        await self._settle(delivery, outcome_of(error, self.attempt, policy_of(task, group), 0))

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        holder, group = self._holder, self._holder.group
        task = read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream, group.retry.max_attempts)
        executed = Executed(outcome, replace(task, id=self.task_id, attempt=self.attempt))
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                if delivery.data:
                    await holder.settle(delivery, executed, self._token.until)
                else:  # it was settled before, or is not recorded
                    await holder.settler.settle(delivery, executed, holder.queue, holder.group)
        except TimeoutError:
            raise Unavailable(
                f"task {self.task_id} is not settled: NATS did not respond within {SETTLE_TIMEOUT_S:g} s"
            ) from None

    async def _check(self) -> None:
        """Raises LeaseLost if the lease is over: NATS would accept the answer of an earlier holder."""
        holder, token = self._holder, self._token
        if holder.queue.partitions and await holder.attempt_counts.is_over(token.delivery()):
            raise self._lost("it was settled otherwise, or another has the task")
        now = holder.broker.now()
        if now < token.until:
            return
        entry = await holder.broker.read_key(DONE_BUCKET, self._key, SETTLE_TIMEOUT_S)
        if now >= _read_until(entry.value):
            raise self._lost("the task was not settled or extended in time, and returns to the queue")

    async def _as_stored(self) -> Delivery:
        """The delivery, with its data if that is to be recorded and the message still exists."""
        if self._holder.queue.history is None:
            return self._token.delivery()
        try:
            return await self._stored()
        except LeaseLost:
            return self._token.delivery()

    async def _stored(self) -> Delivery:
        """The delivery with its data, which a token does not hold; raises LeaseLost where the message is gone."""
        token = self._token
        message = await self._holder.broker.next_message(token.stream, token.sequence, ">", SETTLE_TIMEOUT_S)
        if message is None or message.sequence != token.sequence:
            raise self._lost("the task was settled, cancelled or purged")
        headers = dict(message.headers)
        if self._holder.queue.partitions:  # an ordered task keeps its place, and its attempts are counted elsewhere
            headers[Header.ATTEMPT] = str(token.attempt)
        return token.delivery(message.data, headers)

    async def _note(self, until: datetime) -> None:
        broker = self._holder.broker
        value = json.dumps({"until": until.timestamp()}).encode()
        while True:
            entry = await broker.read_key(DONE_BUCKET, self._key, SETTLE_TIMEOUT_S)
            try:
                await broker.write_key(DONE_BUCKET, self._key, value, entry.number, SETTLE_TIMEOUT_S)
            except WrongRevision:  # two callers extend it concurrently
                continue
            return

    @property
    def _key(self) -> str:
        return self._token.group.lease_key(hashlib.sha256(self._token.reply.encode()).hexdigest()[:_KEY_DIGITS])

    def _lost(self, why: str) -> LeaseLost:
        return LeaseLost(f"the lease of task {self.task_id} has ended: {why}")


def _read_until(value: bytes | None) -> datetime:
    """Until when a lease was extended; a time long ago if it was not."""
    try:
        match json.loads(value or b"null"):
            case {"until": int() | float() as until}:
                return datetime.fromtimestamp(until, UTC)
    except (ValueError, OverflowError):
        pass
    return datetime.fromtimestamp(0, UTC)

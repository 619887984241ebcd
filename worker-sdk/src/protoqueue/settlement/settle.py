"""Settling an outcome: the one place that publishes retries and dead letters, and acks."""

import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from protoqueue.broker import ACK, NAK, Broker, Delivery, Message, Published, WrongRevision
from protoqueue.errors import PayloadTooLarge, ProtoQueueError
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.recurring import skips_overlap
from protoqueue.protocol.task_codec import attempt_of
from protoqueue.protocol.worker_status import host_name
from protoqueue.settlement.attempt_count import FAILED, RETURNED, SNOOZED, UNFIT, AttemptCounts
from protoqueue.settlement.ledger import Ledger
from protoqueue.settlement.letter_routes import LetterRoutes
from protoqueue.settlement.message_seal import Seals
from protoqueue.settlement.messages import Repeated, dead_letter, id_of, is_kept, nak_after, rescheduled, without_extras
from protoqueue.settlement.outcome import (
    HAND_BACK,
    SKIPPED,
    Cancelled,
    ClaimKey,
    Dead,
    Done,
    Executed,
    HandBack,
    Redriven,
    Replaced,
    RetryLater,
    Skipped,
    Snoozed,
    WaitForWorker,
    outcome_of,
)
from protoqueue.settlement.retry_forever import retry_forever
from protoqueue.settlement.unique_keys import CLAIM_AGAIN, UniqueKeys

log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_S = 5.0
_IMMOVABLE = timedelta(hours=1)
_WHAT = "a task's outcome"

_Answer = TypeVar("_Answer")


def process_name() -> str:
    """The name of this worker in a dead letter: in Kubernetes the pod's name, and the process."""
    return f"{host_name()}-{os.getpid()}"


class Settler:
    """Settles for one worker of one group.

    Without `retries_forever` it raises Unavailable if NATS does not respond, and waits for acks to be confirmed.
    """

    def __init__(self, broker: Broker, worker: str, *, retries_forever: bool = True) -> None:
        self._broker = broker
        self._worker = worker
        self._seals = Seals(broker)
        self._unique_keys = UniqueKeys(broker, self._seals)
        self._retries_forever = retries_forever
        self._retry = self._retried if retries_forever else _once
        self._letters = LetterRoutes(broker, self._seals, self._retry, PUBLISH_TIMEOUT_S)
        self.trouble: str | None = None
        """Why an outcome could not be stored, the last time that happened."""

    async def _retried(self, act: Callable[[], Awaitable[_Answer]], what: str) -> _Answer:
        async def act_and_tell() -> _Answer:
            try:
                return await act()
            except ProtoQueueError as error:
                self.trouble = str(error)
                raise

        return await retry_forever(act_and_tell, what)

    async def try_done(self, delivery: Delivery, executed: Executed, group: GroupSettings) -> bool:
        """Settle a success with one try, within this turn of the event loop: no kill comes before the ledger.

        False if that failed; `settle` then continues.
        """
        try:
            await self._done(delivery, executed, group)
        except ProtoQueueError as error:
            self.trouble = str(error)
            return False
        return True

    async def settle(self, delivery: Delivery, executed: Executed, queue: QueueSettings, group: GroupSettings) -> None:
        """Return once the outcome is stored, however long NATS is away, and the ack is sent."""
        try:
            await self._settle(delivery, executed, queue, group)
        except PayloadTooLarge as error:
            # Another producer used up the last bytes the server takes. It comes again from where it is, each time
            # without an outcome, until that has been too often.
            log.error(
                "a task is too large to be moved and stays in the queue: %s", error,
                extra={"queue": str(queue.name), "sequence": delivery.place, "task": id_of(delivery, executed)},
            )  # fmt: skip
            outcome = executed.outcome
            delay = outcome.delay if isinstance(outcome, Repeated) else _IMMOVABLE
            await self._answer(delivery, nak_after(delay))

    async def _settle(self, delivery: Delivery, executed: Executed, queue: QueueSettings, group: GroupSettings) -> None:
        outcome = executed.outcome
        if isinstance(outcome, Done):
            again = itertools.count(int(self._retries_forever))  # otherwise `try_done` was the first try
            await self._retry(lambda: self._done(delivery, executed, group, again=next(again) > 0), _WHAT)
        elif isinstance(outcome, Cancelled | Skipped | Replaced):
            await self._answer(delivery, ACK)
        elif isinstance(outcome, ClaimKey):
            await self._claim_key(delivery, executed, queue, group)
        elif isinstance(outcome, HandBack):
            await self.hand_back(delivery, queue, group, outcome)
        elif isinstance(outcome, Dead):
            if is_kept(outcome, queue):
                letter = dead_letter(delivery, executed, outcome, group, self._worker, self._broker.now())
                if not await self._letters.send_on(letter, delivery, queue, group):
                    await self._dead_letter(letter, group)
            await self._answer(delivery, ACK)
        elif isinstance(outcome, Redriven):
            await self._redrive(delivery, executed, outcome, queue, group)
        elif queue.partitions:
            await self._repeat_in_place(delivery, outcome, group)
        else:
            await self._repeat(delivery, executed, outcome, queue, group)

    async def _done(self, delivery: Delivery, executed: Executed, group: GroupSettings, *, again: bool = False) -> None:
        if not group.exactly_once or executed.task is None:
            await self._answer(delivery, ACK)
            return
        if not executed.is_recorded:
            await Ledger(self._broker, group.name).record(executed.task.id, again=again)
        try:
            await self._broker.answer_confirmed(delivery.reply, ACK, PUBLISH_TIMEOUT_S)
        except ProtoQueueError as error:
            if not self._retries_forever:
                raise
            log.warning("an ack was not confirmed; the ledger prevents the task from running again: %s", error)

    async def _redrive(
        self, delivery: Delivery, executed: Executed, outcome: Redriven, queue: QueueSettings, group: GroupSettings
    ) -> None:
        """Send a letter back; if that is impossible, the attempt has failed."""
        wrong = await self._letters.send_back(delivery, outcome.delay, group)
        if wrong is None:
            await self._answer(delivery, ACK)
            return
        if not self._retries_forever:
            raise wrong
        log.warning("a dead letter cannot be redriven: %s", wrong, extra={"task": id_of(delivery, executed)})
        executed.outcome = outcome_of(wrong, attempt_of(delivery.headers), group.retry, 0)
        await self._settle(delivery, executed, queue, group)

    async def _repeat(
        self, delivery: Delivery, executed: Executed, outcome: Repeated, queue: QueueSettings, group: GroupSettings
    ) -> None:
        message = rescheduled(delivery, executed, outcome, queue, group, self._broker.now())
        try:
            await self._publish(message, group)
        except WrongRevision:  # an earlier try was stored, or the task has ended elsewhere and its unique key is free
            log.info("a unique task is not stored again: it has been, or has ended", extra={"subject": message.subject})
        await self._answer(delivery, ACK)

    async def _claim_key(
        self, delivery: Delivery, executed: Executed, queue: QueueSettings, group: GroupSettings
    ) -> None:
        task = executed.task
        assert task is not None
        if await self._retry(lambda: self._unique_keys.claim(delivery, task, queue, group), "a unique key"):
            await self._answer(delivery, ACK)
        elif skips_overlap(delivery.headers):
            log.info("a firing is skipped: the one before it is unfinished", extra={"task": task.id})
            executed.outcome = SKIPPED
            await self._answer(delivery, ACK)
        else:
            await self._repeat(delivery, executed, Snoozed(CLAIM_AGAIN), queue, group)

    async def _repeat_in_place(self, delivery: Delivery, outcome: Repeated, group: GroupSettings) -> None:
        how = {RetryLater: FAILED, WaitForWorker: UNFIT}.get(type(outcome), SNOOZED)
        attempt_counts = AttemptCounts(self._broker, group.name, ordered=True)
        await self._retry(lambda: attempt_counts.note(delivery, how), "the attempts at an ordered task")
        await self._answer(delivery, nak_after(outcome.delay))

    async def hand_back(
        self, delivery: Delivery, queue: QueueSettings, group: GroupSettings, how: HandBack = HAND_BACK
    ) -> None:
        """Hand a task back that has not run to its end: recorded first, or it would look like a crash."""
        attempt_counts = AttemptCounts(self._broker, group.name, ordered=bool(queue.partitions))
        try:
            await attempt_counts.note(delivery, RETURNED, started=how.started)
            await self._answer(delivery, nak_after(how.delay) if how.delay else NAK)
        except ProtoQueueError as error:
            log.warning("could not return a task to the queue, its lease will expire: %s", error)

    async def _dead_letter(self, letter: Message, group: GroupSettings) -> None:
        try:
            await self._publish(letter, group)
        except PayloadTooLarge:  # better a task without a record than no task
            await self._publish(replace(letter, headers={}), group)

    async def _publish(self, message: Message, group: GroupSettings) -> Published:
        """Store it, without the producer's headers and the error's text if there is no room for them."""
        try:
            return await self._retry(lambda: self._seals.publish(message, group.name, PUBLISH_TIMEOUT_S), _WHAT)
        except PayloadTooLarge:
            slim = without_extras(message)
            return await self._retry(lambda: self._seals.publish(slim, group.name, PUBLISH_TIMEOUT_S), _WHAT)

    async def _answer(self, delivery: Delivery, token: bytes) -> None:
        if not self._retries_forever:
            await self._broker.answer_confirmed(delivery.reply, token, PUBLISH_TIMEOUT_S)
            return
        try:
            await self._broker.answer(delivery.reply, token)
        except ProtoQueueError as error:
            log.warning("could not ack a task, it will be redelivered: %s", error)


async def _once(act: Callable[[], Awaitable[_Answer]], _what: str) -> _Answer:
    return await act()

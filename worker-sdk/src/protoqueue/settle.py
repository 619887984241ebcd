"""Settling an outcome: the one place that publishes retries and dead letters, and acks."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from protoqueue import naming
from protoqueue.codec import attempt_of, with_id
from protoqueue.connection import ACK, NAK, Broker, Delivery, Message, Published
from protoqueue.errors import PayloadTooLarge, ProtoQueueError
from protoqueue.execute import Executed
from protoqueue.ids import anonymous_id, made_at, recurring_id
from protoqueue.insistence import until_answered
from protoqueue.ledger import Ledger
from protoqueue.naming import Header
from protoqueue.outcomes import Cancelled, Dead, Done, HandBack, Reason, RetryLater, Snoozed
from protoqueue.presence import host_name
from protoqueue.settings import GroupSettings, QueueSettings
from protoqueue.tally import Tallies

log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_S = 5.0
_MAX_ERROR_CHARACTERS = 1000
_IMMOVABLE = timedelta(hours=1)
_OURS = ("Nats-", "Pq-")
_WHAT = "a task's outcome"


def process_name() -> str:
    """What a dead letter calls its worker: in Kubernetes the pod's name, and the process."""
    return f"{host_name()}-{os.getpid()}"


class Settler:
    """Settles on behalf of one worker of one group."""

    def __init__(self, broker: Broker, worker: str) -> None:
        self._broker = broker
        self._worker = worker

    async def settle(self, delivery: Delivery, executed: Executed, queue: QueueSettings, group: GroupSettings) -> None:
        """Return once the outcome is stored, however long NATS is away, and the ack on its way."""
        try:
            await self._settle(delivery, executed, queue, group)
        except PayloadTooLarge as error:
            # Another producer used up the last bytes the server takes. It comes again from where it is, each time
            # without an outcome, until that has been too often.
            log.error(
                "a task is too large to be moved, it stays in the queue: %s", error,
                extra={"queue": str(queue.name), "sequence": delivery.sequence, "task": _id_of(delivery, executed)},
            )  # fmt: skip
            outcome = executed.outcome
            delay = outcome.delay if isinstance(outcome, RetryLater | Snoozed) else _IMMOVABLE
            await self._answer(delivery, nak_after(delay))

    async def _settle(self, delivery: Delivery, executed: Executed, queue: QueueSettings, group: GroupSettings) -> None:
        outcome = executed.outcome
        if isinstance(outcome, Done):
            if group.exactly_once and executed.task is not None:
                await self._done(delivery, executed.task.id, group)
            else:
                await self._answer(delivery, ACK)
        elif isinstance(outcome, Cancelled):
            await self._answer(delivery, ACK)
        elif isinstance(outcome, HandBack):
            await self.hand_back(delivery, queue, group)
        elif isinstance(outcome, Dead):
            if _is_kept(outcome, queue):
                await self._bury(dead_letter(delivery, executed, outcome, group, self._worker))
            await self._answer(delivery, ACK)
        elif queue.partitions:
            await self._repeat_in_place(delivery, outcome, group)
        else:
            await self._insist(rescheduled(delivery, executed, outcome, queue, group, datetime.now(UTC)))
            await self._answer(delivery, ACK)

    async def _done(self, delivery: Delivery, task_id: str, group: GroupSettings) -> None:
        await Ledger(self._broker, group.name).record(task_id)
        try:
            await self._broker.answer_confirmed(delivery.reply, ACK, PUBLISH_TIMEOUT_S)
        except ProtoQueueError as error:
            log.warning("an ack is not confirmed, the ledger keeps the task from running again: %s", error)

    async def _repeat_in_place(self, delivery: Delivery, outcome: RetryLater | Snoozed, group: GroupSettings) -> None:
        how = "failed" if isinstance(outcome, RetryLater) else "snoozed"
        tallies = Tallies(self._broker, group.name)
        await until_answered(lambda: tallies.note(delivery, how), "the attempts at an ordered task")
        await self._answer(delivery, nak_after(outcome.delay))

    async def hand_back(self, delivery: Delivery, queue: QueueSettings, group: GroupSettings) -> None:
        """Let another worker have what has not run.

        A nak costs a delivery, and so many of them would make the task look like one that kills its workers: the last
        one allowed is published anew instead, which starts the count again. Where order must hold it is noted.
        """
        token = NAK
        try:
            if queue.partitions:
                await Tallies(self._broker, group.name).note(delivery, "returned")
            elif delivery.deliveries >= group.retry.max_attempts:
                await self._broker.publish(returned(delivery, queue, group), PUBLISH_TIMEOUT_S)
                token = ACK
        except ProtoQueueError as error:
            log.warning("could not hand back a task, its lease will run out: %s", error)
            return
        await self._answer(delivery, token)

    async def _bury(self, letter: Message) -> None:
        try:
            await self._insist(letter)
        except PayloadTooLarge:  # rather a task without a word about it than none
            await self._insist(replace(letter, headers={}))

    async def _insist(self, message: Message) -> Published:
        """Store it, without the producer's headers and the error's text where there is no room for them."""
        try:
            return await until_answered(lambda: self._broker.publish(message, PUBLISH_TIMEOUT_S), _WHAT)
        except PayloadTooLarge:
            ours = {k: text for k, text in message.headers.items() if k.startswith(_OURS) and k != Header.ERROR}
            slim = replace(message, headers=ours)
            return await until_answered(lambda: self._broker.publish(slim, PUBLISH_TIMEOUT_S), _WHAT)

    async def _answer(self, delivery: Delivery, token: bytes) -> None:
        try:
            await self._broker.answer(delivery.reply, token)
        except ProtoQueueError as error:
            log.warning("could not answer for a task, it will come again: %s", error)


def rescheduled(
    delivery: Delivery, executed: Executed, outcome: RetryLater | Snoozed, queue: QueueSettings, group: GroupSettings,
    now: datetime,
) -> Message:  # fmt: skip
    """The schedule of a task's next run, on LATER."""
    task_id, name = _id_of(delivery, executed), group.name.name
    failed = isinstance(outcome, RetryLater)
    attempt = attempt_of(delivery.headers) + failed
    sequence = None if failed and _is_only_one(delivery, task_id, queue, name) else delivery.sequence
    headers = _carried(delivery.headers) | {
        Header.MSG_ID: naming.retry_message_id(task_id, name, attempt, sequence),
        Header.ATTEMPT: str(attempt),
        Header.SCHEDULE: naming.schedule_at(now + outcome.delay),
        Header.SCHEDULE_TARGET: queue.name.due(_retry_subject(delivery, queue, group)),
    }
    subject = queue.name.scheduled(naming.scheduled_retry(task_id, name, attempt, sequence))
    return Message(subject, _data_of(delivery), headers)


def _is_only_one(delivery: Delivery, task_id: str, queue: QueueSettings, group: str) -> bool:
    """Whether no other message can be this attempt at a task of this id: told by what each delivery of it says alike.

    A new task proves it by its message id, of which the server refused a second within its window; one that is sent
    anew later is too far from the time in its id. A retry proves it by the schedule that fired it.
    """
    fired_by = delivery.headers.get(Header.SCHEDULER)
    if fired_by is not None:
        attempt = attempt_of(delivery.headers)
        return bool(fired_by == queue.name.scheduled(naming.scheduled_retry(task_id, group, attempt)))
    made = made_at(task_id)
    if made is None or delivery.headers.get(Header.MSG_ID) != task_id:
        return False
    return abs(delivery.stored_ns / 1e9 - made.timestamp()) < queue.deduplication_window_s / 2


def returned(delivery: Delivery, queue: QueueSettings, group: GroupSettings) -> Message:
    """A task as it came, to be delivered anew."""
    attempt = attempt_of(delivery.headers)
    expires = delivery.headers.get(Header.EXPIRES_AT)
    headers = _carried(delivery.headers) | ({Header.EXPIRES_AT: expires} if expires else {})
    headers |= {
        Header.MSG_ID: naming.retry_message_id("returned", group.name.name, attempt, delivery.sequence),
        Header.ATTEMPT: str(attempt),
    }
    return Message(queue.name.due(_retry_subject(delivery, queue, group)), _data_of(delivery), headers)


def dead_letter(delivery: Delivery, executed: Executed, dead: Dead, group: GroupSettings, worker: str) -> Message:
    """The unchanged task and why it died."""
    headers = _carried(delivery.headers) | {
        Header.MSG_ID: naming.dead_letter_message_id(_id_of(delivery, executed), group.name.name, delivery.sequence),
        Header.REASON: dead.reason.value,
        Header.ERROR: _one_line(dead.failure.message),
        Header.ERROR_TYPE: dead.failure.type,
        Header.ATTEMPTS: str(executed.task.attempt if executed.task else attempt_of(delivery.headers)),
        Header.GROUP: group.name.name,
        Header.WORKER: worker,
        Header.FAILED_AT: datetime.now(UTC).isoformat(timespec="milliseconds"),
        Header.STREAM_SEQUENCE: str(delivery.sequence),
    }
    subject = group.name.queue.dead_letter(group.name.name)
    return Message(subject, _data_of(delivery), headers)


def nak_after(delay: timedelta) -> bytes:
    """The nak that has a task come again after `delay`: how ordered queues retry, since order must hold."""
    return NAK + b" " + json.dumps({"delay": int(delay.total_seconds() * 1e9)}).encode()


def _is_kept(dead: Dead, queue: QueueSettings) -> bool:
    return queue.dead_letters and (dead.reason is not Reason.EXPIRED or queue.dead_letter_expired)


def _carried(headers: Mapping[str, str]) -> dict[str, str]:
    """What goes along with the task. The server's own headers would schedule or expire the next message too."""
    dropped = ("Nats-", Header.EXPIRES_AT)  # and what has been started does not expire any more
    return {
        str(name): text
        for name, text in headers.items()
        if not name.startswith(dropped) and naming.is_header_name(name)
    }


def _retry_subject(delivery: Delivery, queue: QueueSettings, group: GroupSettings) -> str:
    return queue.name.retry(group.name.name, naming.number_of(delivery.subject))


def _id_of(delivery: Delivery, executed: Executed) -> str:
    return executed.task.id if executed.task else anonymous_id(delivery.sequence)


def _data_of(delivery: Delivery) -> bytes:
    # What a recurring schedule fired is named after its first delivery, and has to keep that name.
    task_id = recurring_id(delivery.headers, delivery.sequence)
    return with_id(delivery.data, task_id) if task_id else delivery.data


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_ERROR_CHARACTERS]

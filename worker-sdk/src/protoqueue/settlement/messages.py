"""The messages that store an outcome: the next run, the dead letter, the moved task; `settle` chooses. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from protoqueue.broker import NAK, Delivery, Message
from protoqueue.outcomes import Reason
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.dead_letter_header import read_dead_letter, shortened, write_dead_letter
from protoqueue.protocol.message_headers import Header, is_header_name, schedule_at, time_to_live
from protoqueue.protocol.message_ids import dead_letter_message_id, moved_message_id, retry_message_id, scheduled_retry
from protoqueue.protocol.recurring import scheduled_for
from protoqueue.protocol.subjects import slot_of, unique_token_of
from protoqueue.protocol.task_codec import attempt_of, count_of, read_task, with_id
from protoqueue.protocol.task_ids import anonymous_id, made_at, recurring_id
from protoqueue.settlement.outcome import Dead, Executed, Jittered, RetryLater, Snoozed, WaitForWorker

_MAX_ERROR_CHARACTERS = 1000
_OURS = ("Nats-", "Pq-")
_EXPIRY = (Header.EXPIRES_AT, Header.EXPIRES_AFTER)
_WORDS = (Header.ERROR, Header.TRACEBACK)

Repeated: TypeAlias = RetryLater | Snoozed | WaitForWorker


def rescheduled(
    delivery: Delivery, executed: Executed, outcome: Repeated, queue: QueueSettings, group: GroupSettings,
    now: datetime,
) -> Message:  # fmt: skip
    """The schedule of a task's next run."""
    task_id, name = id_of(delivery, executed), group.name.name
    failed = isinstance(outcome, RetryLater)
    attempt = attempt_of(delivery.headers) + failed
    place = None if failed and _is_only_one(delivery, task_id, queue, name) else delivery.place
    headers = carried(delivery.headers)
    headers.pop(Header.JITTER, None)
    if isinstance(outcome, Jittered):
        headers |= expiry_of(delivery.headers)
    unfit_since = headers.pop(Header.UNFIT_SINCE, str(int(now.timestamp() * 1000)))
    if isinstance(outcome, WaitForWorker):
        headers[Header.UNFIT_SINCE] = unfit_since
    headers |= {
        Header.MSG_ID: retry_message_id(task_id, name, attempt, place),
        Header.ATTEMPT: str(attempt),
        Header.SCHEDULE: schedule_at(now + outcome.delay),
        Header.SCHEDULE_TARGET: queue.name.due(_retry_subject(delivery, queue, group)),
    }
    subject = queue.name.scheduled(scheduled_retry(task_id, name, attempt, place))
    if (token := unique_token_of(delivery.subject)) is not None:
        if headers.pop(Header.UNIQUE_UNTIL, "") == "start":
            headers.pop(Header.UNIQUE, None)  # the key is free from now on
        else:  # and it stays locked by this task: nothing is stored if that has ended meanwhile
            subject = queue.name.unique_scheduled(token, task_id)
            headers |= {
                Header.SCHEDULE_TARGET: queue.name.unique_waiting(token, slot_of(delivery.subject)),
                Header.EXPECTED_SEQUENCE: str(delivery.sequence),
                Header.EXPECTED_SUBJECT: queue.name.unique(token),
            }
    if queue.max_age_s is not None:
        headers[Header.SCHEDULE_TTL] = time_to_live(queue.max_age_s)
    return Message(subject, data_of(delivery), headers)


def _is_only_one(delivery: Delivery, task_id: str, queue: QueueSettings, group: str) -> bool:
    """Whether no other message can be this attempt at a task of this id, judged by what all deliveries of it share.

    A new task proves it by its message id, of which the server refused a second within its window; one that is sent
    anew later is too far from the time in its id. A retry proves it by the schedule that fired it.
    """
    fired_by = delivery.headers.get(Header.SCHEDULER)
    if fired_by is not None:
        attempt = attempt_of(delivery.headers)
        return bool(fired_by == queue.name.scheduled(scheduled_retry(task_id, group, attempt)))
    made = made_at(task_id)
    if made is None or delivery.headers.get(Header.MSG_ID) != task_id:
        return False
    return abs(delivery.stored_ns / 1e9 - made.timestamp()) < queue.deduplication_window_s / 2


def dead_letter(
    delivery: Delivery, executed: Executed, dead: Dead, group: GroupSettings, worker: str, now: datetime
) -> Message:
    """The unchanged task and why it died."""
    headers = carried(delivery.headers) | {
        Header.MSG_ID: dead_letter_message_id(id_of(delivery, executed), group.name.name, delivery.place),
        Header.REASON: dead.reason.value,
        Header.ERROR: _one_line(dead.failure.message),
        Header.ERROR_TYPE: dead.failure.type,
        Header.ATTEMPTS: str(_attempts(delivery, executed, dead)),
        Header.GROUP: group.name.name,
        Header.WORKER: worker,
        Header.FAILED_AT: now.isoformat(timespec="milliseconds"),
        Header.STREAM_SEQUENCE: delivery.place,
    }
    if executed.task and executed.task.max_attempts is not None:
        headers[Header.MAX_ATTEMPTS] = str(executed.task.max_attempts)
    if dead.failure.traceback:
        headers[Header.TRACEBACK] = json.dumps(dead.failure.traceback)
    subject = group.name.queue.dead_letter(group.name.name)
    return Message(subject, data_of(delivery), headers)


def _attempts(delivery: Delivery, executed: Executed, dead: Dead) -> int:
    """How often it was started: a crashed task had no outcome in its last attempt, however often that started."""
    attempt = executed.task.attempt if executed.task else attempt_of(delivery.headers)
    return attempt - 1 + dead.crashes if dead.crashes else attempt


def moved(
    delivery: Delivery, queue: QueueSettings, group: GroupSettings, now: datetime, *, may_expire: bool
) -> Message:
    """The same task in the queue's stream, for what remains of its time to live; nothing of it has been run yet."""
    task = read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream)
    headers = carried(delivery.headers)
    headers[Header.MSG_ID] = moved_message_id(task.id, group.name.name, delivery.place)
    if lives_s := count_of(delivery.headers.get(Header.TTL, "").removesuffix("s")):
        headers[Header.TTL] = time_to_live(lives_s - (now.timestamp() - delivery.stored_ns / 1e9))
    if may_expire:
        headers |= expiry_of(delivery.headers)
    return Message(_retry_subject(delivery, queue, group), data_of(delivery), headers)


def without_extras(message: Message) -> Message:
    """The same without the producer's headers and the error's text, if there is no room for them."""
    ours = {name: text for name, text in message.headers.items() if name.startswith(_OURS) and name not in _WORDS}
    if (info := read_dead_letter(ours)) is not None:
        ours[Header.DEAD_LETTER] = write_dead_letter(shortened(info))
    return replace(message, headers=ours)


def nak_after(delay: timedelta) -> bytes:
    """The nak that redelivers a task after `delay`: how ordered queues retry, to keep the order."""
    return NAK + b" " + json.dumps({"delay": int(delay.total_seconds() * 1e9)}).encode()


def expiry_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say when a task expires."""
    return {name: headers[name] for name in _EXPIRY if name in headers}


def is_kept(dead: Dead, queue: QueueSettings) -> bool:
    return queue.dead_letters and (dead.reason is not Reason.EXPIRED or queue.dead_letter_expired)


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that stay with the task. The server's own would schedule or expire the next message too."""
    dropped = ("Nats-", *_EXPIRY)  # and a started task no longer expires
    carried = {
        str(name): text for name, text in headers.items() if not name.startswith(dropped) and is_header_name(name)
    }
    if Header.RECURS in headers and (slot := scheduled_for(headers)):
        carried[Header.SCHEDULED_FOR] = slot.isoformat()
    return carried


def _retry_subject(delivery: Delivery, queue: QueueSettings, group: GroupSettings) -> str:
    return queue.name.retry(group.name.name, slot_of(delivery.subject))


def id_of(delivery: Delivery, executed: Executed) -> str:
    return executed.task.id if executed.task else anonymous_id(delivery.sequence, delivery.stream)


def data_of(delivery: Delivery) -> bytes:
    """The task as it is moved or repeated."""
    # A recurring task is named after its first delivery, and has to keep that name.
    task_id = recurring_id(delivery.headers, delivery.sequence, delivery.stream)
    return with_id(delivery.data, task_id) if task_id else delivery.data


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_ERROR_CHARACTERS]

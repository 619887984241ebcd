"""Turning a producer's request into a message. Pure: id and time are arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeAlias

from protoqueue.broker import Message
from protoqueue.errors import InvalidTask, PayloadTooLarge
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.durations import LONGEST, to_timedelta
from protoqueue.protocol.message_headers import Header, schedule_at, time_to_live
from protoqueue.protocol.message_ids import dedup_message_id
from protoqueue.protocol.payloads import encode_payload
from protoqueue.protocol.subjects import lane_slot, lanes_of, level_of, partition_of, slot_of, unique_token
from protoqueue.protocol.task_codec import encode_task
from protoqueue.task import NewTask, Retries, Task

HEADROOM = 4096
"""Bytes reserved below the server's limit, so that a task that fits also fits as a retry and as a dead letter."""

_MAX_DEDUP_ID = 256

_KINDS: dict[str, type] = {
    "type": str, "priority": int, "at": datetime, "dedup_id": str, "ordering_key": str, "metadata": Mapping,
    "retry": Retries,
    "unique": str, "unique_until": str, "fairness_key": str, "replace": str,
}  # fmt: skip


LaneChoice: TypeAlias = Callable[[tuple[str, str]], str]
"""Of a task's subjects in the two lanes of its fairness key the one that it is published to."""


def first_lane(subjects: tuple[str, str]) -> str:
    return subjects[0]


_PLAIN = NewTask(None)
_OPTIONS = [option.name for option in fields(NewTask) if option.name != "payload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Message):
    """A new task's message, and the stream it goes to."""

    task_id: str
    stream: str
    dedup_id: str | None = None
    unique: str = ""
    """A pattern of the subjects of tasks with its unique key; empty without one."""
    replaceable: str = ""
    """A pattern of the subjects of tasks with its replace key; empty without one."""
    replaced: Task | None = None
    """The task in whose place it is to be stored."""

    @property
    def key(self) -> str:
        """The pattern on which JetStream compares sequences before it stores the task; empty without one."""
        return self.unique or self.replaceable

    def expecting(self, sequence: int) -> "Prepared":
        """The same task, to be stored only if the last one of its unique key is at this sequence."""
        return replace(self, headers={**self.headers, Header.EXPECTED_SEQUENCE: str(sequence)})

    def after(self, sequence: int) -> "Prepared":
        """The same task in place of one of its `dedup_id` that was stored at `sequence` and cancelled or purged."""
        message_id = dedup_message_id(self.dedup_id or "", sequence)
        return replace(self, headers={**self.headers, Header.MSG_ID: message_id})


def prepare(
    payload: Any, new_task: NewTask, task_id: str, now: datetime, queue: QueueSettings, max_payload: int,
    trace: Mapping[str, str], choose_lane: LaneChoice = first_lane,
) -> Prepared:  # fmt: skip
    """The message of a new task, with the headers of its `trace`; raises InvalidTask and PayloadTooLarge.

    `payload` is sent instead of the payload of `new_task`.
    """
    data, content_type = encode_payload(payload)
    encoded = encode_task(
        task_id, data, new_task.type, content_type, new_task.priority, now, new_task.ordering_key, new_task.metadata,
        new_task.retry, new_task.fairness_key,
    )  # fmt: skip
    subject, stream = _subject(new_task, queue, choose_lane), queue.stream
    dedup_id = _dedup_id(new_task)
    if dedup_id is None:
        headers = {Header.MSG_ID: task_id, **trace}
    else:
        headers = {Header.MSG_ID: dedup_message_id(dedup_id), Header.DEDUP_ID: dedup_id, **trace}
    due, unique, replaceable = _due(new_task, now), "", ""
    if new_task.replace is not None:
        token = unique_token(_replace_key(new_task))
        target, scheduled = queue.name.due(subject), queue.name.replaceable(token, task_id)
        replaceable, due = queue.name.replaceable(token, "*"), due or now
        headers |= {Header.REPLACE: new_task.replace, **_expecting_none(replaceable)}
    elif new_task.unique is not None:
        token = unique_token(_unique_key(new_task, queue))
        target, stream = queue.name.unique_waiting(token, slot_of(subject)), queue.later_stream
        subject, scheduled = target, queue.name.unique_scheduled(token, task_id)
        unique = queue.name.unique(token)
        headers |= _lock(new_task, unique)
        if due is None and queue.max_age_s is not None:
            headers[Header.TTL] = time_to_live(queue.max_age_s)
    else:
        target, scheduled = queue.name.due(subject), queue.name.scheduled(task_id)
    if due is not None:
        headers |= {Header.SCHEDULE: schedule_at(due), Header.SCHEDULE_TARGET: target}
        subject, stream = scheduled, queue.later_stream
        if queue.max_age_s is not None:
            headers[Header.SCHEDULE_TTL] = time_to_live(queue.max_age_s)
    headers |= _expiry(new_task, now, due, queue)
    prepared = Prepared(
        subject, encoded, headers, task_id=task_id, stream=stream, dedup_id=dedup_id, unique=unique,
        replaceable=replaceable,
    )  # fmt: skip
    _check_size(prepared, queue, max_payload)
    return prepared


def combined(task: NewTask, options: NewTask) -> NewTask:
    """The task with those `options` that differ from the defaults; raises InvalidTask for a second type."""
    if options.type and task.type and options.type != task.type:
        raise InvalidTask(f"the task already has type {task.type!r}: remove type={options.type!r}")
    given = {name: getattr(options, name) for name in _OPTIONS if getattr(options, name) != getattr(_PLAIN, name)}
    return replace(task, **given)


def wrong_argument(new_task: NewTask) -> str | None:
    """Which option has an invalid type: only called after one has led to an error."""
    for name, kind in _KINDS.items():
        value = getattr(new_task, name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            return f"{name} must be of type {kind.__name__}, not {type(value).__name__}: {value!r}"
    return None


def _subject(new_task: NewTask, queue: QueueSettings, choose_lane: LaneChoice) -> str:
    if new_task.fairness_key:
        _check_fairness_key(new_task.fairness_key, queue)
    if not queue.partitions:
        if new_task.ordering_key:
            raise InvalidTask(
                f"queue {queue.name} has no spec.ordering: remove ordering_key, or add spec.ordering to the Queue"
            )
        level = level_of(new_task.priority, queue.priority_levels)
        if not new_task.fairness_key:
            return queue.name.task(level)
        first, second = lanes_of(new_task.fairness_key, queue.lanes)
        return choose_lane((queue.name.task(lane_slot(level, first)), queue.name.task(lane_slot(level, second))))
    level_of(new_task.priority, 1)
    if not new_task.ordering_key:
        raise InvalidTask(f"queue {queue.name} is ordered: set ordering_key, tasks with the same key run in order")
    return queue.name.ordered(partition_of(new_task.ordering_key, queue.partitions))


def _check_fairness_key(key: str, queue: QueueSettings) -> None:
    if not queue.lanes:
        raise InvalidTask(
            f"queue {queue.name} has no spec.fairness: remove fairness_key, or add spec.fairness to the Queue"
        )
    if len(key) > _MAX_DEDUP_ID or not key.isprintable():
        raise InvalidTask(f"fairness_key must be at most {_MAX_DEDUP_ID} printable characters, not {key!r}")


def _due(new_task: NewTask, now: datetime) -> datetime | None:
    """When the task is due; None for now."""
    if new_task.delay is not None and new_task.at is not None:
        raise InvalidTask("delay and at are mutually exclusive")
    try:
        if new_task.at is not None:
            if new_task.at.tzinfo is None:
                raise InvalidTask(f"at={new_task.at} has no time zone: write datetime(..., tzinfo=...)")
            due = _within_reach("at", new_task.at, now)
        elif new_task.delay is not None:
            due = now + to_timedelta(new_task.delay)
        else:
            return None
    except (ValueError, OverflowError) as error:
        raise InvalidTask(f"delay: {error}") from error
    # A time in the past means now: a producer that is a little late must not lose its task.
    return due if due > now else None


def _expiry(new_task: NewTask, now: datetime, due: datetime | None, queue: QueueSettings) -> dict[str, str]:
    """Headers for `expires`.

    The server deletes an expired task by itself, unless it is to become a dead letter: then a worker must receive it.
    """
    if new_task.expires is None:
        return {}
    try:
        at = new_task.expires if isinstance(new_task.expires, datetime) else now + to_timedelta(new_task.expires)
    except (ValueError, OverflowError) as error:
        raise InvalidTask(f"expires: {error}") from error
    if at.tzinfo is None:
        raise InvalidTask(f"expires={at} has no time zone: write datetime(..., tzinfo=...)")
    _within_reach("expires", at, now)
    if at <= (due or now):
        raise InvalidTask("the task would expire before it is due")
    headers = {Header.EXPIRES_AT: str(int(at.timestamp() * 1000))}
    # A task that holds a unique key must not vanish while it runs.
    if new_task.unique is None and not queue.dead_letter_expired and not (due and queue.is_sourced):
        # JetStream counts whole seconds; rounded up, since a worker handles the remainder.
        lives_s = (at - (due or now)).total_seconds()
        if due and queue.max_age_s is not None:
            lives_s = min(lives_s, queue.max_age_s)
        headers[Header.SCHEDULE_TTL if due else Header.TTL] = time_to_live(lives_s)
    return headers


def _within_reach(name: str, moment: datetime, now: datetime) -> datetime:
    if moment - now > LONGEST:
        raise InvalidTask(f"{name}={moment} is too far ahead: the maximum is 100 years")
    return moment


def _dedup_id(new_task: NewTask) -> str | None:
    dedup_id = new_task.dedup_id
    if dedup_id is None:
        return None
    if not dedup_id or len(dedup_id) > _MAX_DEDUP_ID or not dedup_id.isprintable() or dedup_id != dedup_id.strip():
        raise InvalidTask(
            f"dedup_id must be 1 to {_MAX_DEDUP_ID} printable characters without spaces around, not {dedup_id!r}"
        )
    return dedup_id


def _checked_key(name: str, key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_DEDUP_ID or not key.isprintable() or key != key.strip():
        raise InvalidTask(
            f"{name} must be 1 to {_MAX_DEDUP_ID} printable characters without spaces around, not {key!r}"
        )
    return key


def _replace_key(new_task: NewTask) -> str:
    key = _checked_key("replace", new_task.replace)
    if new_task.unique is not None:
        raise InvalidTask(
            "replace and unique are mutually exclusive: with unique the task that is there stays, with replace it goes"
        )
    return key


def _unique_key(new_task: NewTask, queue: QueueSettings) -> str:
    key = _checked_key("unique", new_task.unique)
    if not queue.takes_unique:
        what = "is Broadcast" if queue.broadcast else "is ordered"
        raise InvalidTask(f"queue {queue.name} {what} and takes no unique tasks: remove unique")
    if new_task.unique_until not in ("end", "start"):
        raise InvalidTask(f"unique_until must be 'end' or 'start', not {new_task.unique_until!r}")
    return key


def _lock(new_task: NewTask, unique: str) -> dict[str, str]:
    """Headers of a task that is stored only if no other holds its key."""
    headers = {Header.UNIQUE: str(new_task.unique), **_expecting_none(unique)}
    if new_task.unique_until == "start":
        headers[Header.UNIQUE_UNTIL] = "start"
    return headers


def _expecting_none(subjects: str) -> dict[str, str]:
    """Headers of what is stored only if nothing lies on subjects that match."""
    return {Header.EXPECTED_SEQUENCE: "0", Header.EXPECTED_SUBJECT: subjects}


def _check_size(message: Message, queue: QueueSettings, max_payload: int) -> None:
    size = message.size
    allowed = max_payload - HEADROOM
    if queue.max_task_size:
        allowed = min(allowed, queue.max_task_size)
    if size > allowed:
        raise PayloadTooLarge(
            f"the encoded task has {size} bytes, {allowed} are allowed: "
            "keep large payloads elsewhere and enqueue a reference"
        )

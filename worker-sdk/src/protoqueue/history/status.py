"""A task's status: from where its message is stored, its holder, and the records of its attempts."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from protoqueue.admin.dead_letters import DeadLetter, stored_letters
from protoqueue.admin.find import find_scheduled, find_stored
from protoqueue.admin.places import CLOCK_SKEW, Place, stored_since
from protoqueue.broker import Broker, ConsumerState, StoredMessage
from protoqueue.broker.config_watch import read_settings
from protoqueue.history.model import AttemptOutcome, TaskRecord, TaskState, TaskStatus
from protoqueue.history.read import task_records
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.config import QueueSettings, parse_queue
from protoqueue.protocol.consumer_names import group_of_consumer, slot_of_consumer
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.schedule_header import due_at
from protoqueue.protocol.subjects import number_of, slot_of
from protoqueue.protocol.task_codec import attempt_of, read_task
from protoqueue.protocol.task_ids import made_at
from protoqueue.protocol.worker_status import HeldTask
from protoqueue.settlement.attempt_count import FAILED, RETURNED, AttemptCount
from protoqueue.task import Task

_ANSWER_S = 0.5
"""How long workers may take to say that they hold a task."""

_STATES = {
    AttemptOutcome.DONE: TaskState.DONE,
    AttemptOutcome.REDRIVEN: TaskState.DONE,
    AttemptOutcome.DEAD: TaskState.DEAD,
    AttemptOutcome.CANCELLED: TaskState.CANCELLED,
    AttemptOutcome.EXPIRED: TaskState.EXPIRED,
    AttemptOutcome.REPLACED: TaskState.REPLACED,
}
_FOR_GOOD = (AttemptOutcome.DONE, AttemptOutcome.REDRIVEN, AttemptOutcome.CANCELLED)
"""What does not come back; dead letters do when they are redriven."""


async def read_status(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> TaskStatus:
    """Raises Unavailable, also when the queue cannot be looked through in time."""
    if not task_id:  # the id of a duplicate whose task no longer exists
        return TaskStatus("", TaskState.UNKNOWN)
    return await _Search(broker, queue, task_id, timeout_s).status()


class _Search:
    def __init__(self, broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> None:
        self._broker = broker
        self._queue = queue
        self._id = task_id
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    async def status(self) -> TaskStatus:
        records = await task_records(self._broker, self._queue, self._id, self._timeout_s)
        last = records[-1] if records else None
        if last is not None and last.outcome in _FOR_GOOD and not self._queue.broadcast:
            return ended(last, records)
        if found := await self._not_due():
            return _with(found, records)
        # A letter is found sooner than nothing in a long queue.
        if last is not None and last.outcome is AttemptOutcome.DEAD and await self._letter(last.finished_at):
            return ended(last, records)
        if found := await self._waiting_or_running():
            return _with(found, records)
        if last is not None and last.outcome in _STATES:
            return ended(last, records)
        if found := await self._dead():
            return _with(found, records)
        return _with(TaskStatus(self._id, TaskState.UNKNOWN), records)

    async def _not_due(self) -> TaskStatus | None:
        found = await find_scheduled(self._broker, self._queue, self._id, self._timeout_s)
        return _scheduled(found) if found else None

    async def _waiting_or_running(self) -> TaskStatus | None:
        messages: list[StoredMessage] = []

        async def found(message: StoredMessage) -> bool:
            messages.append(message)
            return True

        await find_stored(self._broker, self._queue, self._id, self._deadline, self._timeout_s, found)
        return await self._held(messages[0]) if messages else None

    async def _held(self, message: StoredMessage) -> TaskStatus:
        """The status of a stored task: its holder, if any."""
        status = _of_task(_task_of(message), TaskState.WAITING, attempt_of(message.headers) - 1)
        groups = await self._delivered_to(message)
        if not groups:
            return status
        answer = await self._broker.call(self._queue.name.holder_requests, self._id.encode(), _ANSWER_S)
        if answer is not None:
            return _with_holder(status, HeldTask.decode(answer))
        for group in groups:
            if (noted := await self._noted(message, group)) is not None:
                return noted
        # It was received without a worker, or its lease is running out.
        return replace(status, state=TaskState.RUNNING, attempts=status.attempts + 1, group=groups[0])

    async def _delivered_to(self, message: StoredMessage) -> list[str]:
        """The groups that may have it."""
        states = await self._broker.consumer_states(message.stream, self._timeout_s)
        return [group for state in states if (group := _delivered(state, message)) is not None]

    async def _noted(self, message: StoredMessage, group: str) -> TaskStatus | None:
        """The record of its last delivery: it went back, or failed in an ordered queue. None while it runs."""
        name, is_ordered = GroupName(self._queue.name, group), bool(self._queue.partitions)
        key = name.attempts_key(number_of(message.subject)) if is_ordered else name.delivery_key(message.place)
        entry = await self._broker.read_key(DONE_BUCKET, key, self._timeout_s)
        count = AttemptCount.decode(entry.value or b"")
        if count is None or count.sequence != message.sequence:
            return None
        task = _task_of(message)
        if count.how == FAILED:
            return replace(_of_task(task, TaskState.RETRYING, count.failed), group=group)
        if count.how == RETURNED or is_ordered:
            return replace(_of_task(task, TaskState.WAITING, count.failed), group=group)
        return None

    async def _dead(self) -> TaskStatus | None:
        made = made_at(self._id)
        if (letter := await self._letter(made - CLOCK_SKEW if made else None)) is not None:
            return _of_letter(letter)
        name = self._queue.dead_letter_queue
        there = await read_settings(self._broker, name.config_key, parse_queue) if name is not None else None
        if there is None:
            return None
        search = _Search(self._broker, there, self._id, self._timeout_s)
        found = await search._not_due() or await search._waiting_or_running()  # another of its kind
        return replace(found, state=TaskState.DEAD, due_at=None) if found else None

    async def _letter(self, since: datetime | None) -> DeadLetter | None:
        """The task's dead letter, where there is one that was stored at that time or later."""
        stream = self._queue.dead_letter_stream
        first = 1 if since is None else await stored_since(self._broker, stream, since - CLOCK_SKEW, self._timeout_s)
        letters = stored_letters(self._broker, self._queue, None, self._timeout_s, first - 1)
        async for letter in letters:
            if letter.task.id == self._id:
                return letter
        return None


def ended(last: TaskRecord, records: Sequence[TaskRecord]) -> TaskStatus:
    """The status of a task whose last attempt is the `last` of its records. Pure."""
    found = TaskStatus(
        last.id, _STATES[last.outcome], last.attempt if last.started_at or last.outcome in _RUN else 0, last.type,
        last.group, last.worker, last.priority, last.enqueued_at, metadata=last.metadata,
    )  # fmt: skip
    return _with(found, records)


_RUN = (AttemptOutcome.DONE, AttemptOutcome.DEAD, AttemptOutcome.REDRIVEN)


def _with(found: TaskStatus, records: Sequence[TaskRecord]) -> TaskStatus:
    """What is known of where it is, with what its records tell."""
    if not records:
        return found
    last, failed = records[-1], [record for record in records if record.error]
    results = [record.result for record in records if record.outcome is AttemptOutcome.DONE and record.result]
    is_over = found.state in _STATES.values()
    status = replace(
        found,
        attempts=max(found.attempts, *(record.attempt for record in records if record.started_at), 0),
        type=found.type or last.type,
        group=found.group or last.group,
        worker=found.worker or last.worker,
        priority=found.priority or last.priority,
        enqueued_at=found.enqueued_at or last.enqueued_at,
        started_at=found.started_at or last.started_at,
        finished_at=last.finished_at if is_over else None,
        result=results[-1] if results and found.state is TaskState.DONE else None,
        payload=last.payload,
        metadata=found.metadata or last.metadata,
        records=tuple(records),
    )
    if not failed or found.error:
        return status
    return replace(
        status, reason=failed[-1].reason, error=failed[-1].error, error_type=failed[-1].error_type,
        traceback=failed[-1].traceback,
    )  # fmt: skip


def _scheduled(found: Sequence[tuple[Place, StoredMessage]]) -> TaskStatus:
    """Of a task that is not yet due; of several messages, as a Broadcast queue may have, the one that is due first."""
    _, message = min(found, key=lambda each: each[1].headers.get(Header.SCHEDULE, ""))
    failed = attempt_of(message.headers) - 1
    state = TaskState.RETRYING if failed else TaskState.SCHEDULED
    if Header.UNFIT_SINCE in message.headers:
        state = TaskState.WAITING
    return replace(_of_task(_task_of(message), state, failed), due_at=due_at(message.headers))


def _delivered(state: ConsumerState, message: StoredMessage) -> str | None:
    """The group of a consumer that has delivered this message, and may still have it."""
    belongs = group_of_consumer(state.name)
    if belongs is None or slot_of_consumer(state.name) != slot_of(message.subject) or not state.in_flight:
        return None
    return belongs[0] if state.delivered_sequence >= message.sequence else None


def _with_holder(status: TaskStatus, held: HeldTask) -> TaskStatus:
    if not held.started:
        return replace(status, group=held.group)
    started_at = datetime.fromtimestamp(held.started, UTC)
    return replace(
        status, state=TaskState.RUNNING, attempts=held.attempt, group=held.group, worker=held.worker,
        started_at=started_at,
    )  # fmt: skip


def _of_letter(letter: DeadLetter) -> TaskStatus:
    return replace(
        _of_task(letter.task, TaskState.DEAD, letter.attempts), group=letter.group, worker=letter.worker,
        finished_at=letter.failed_at, reason=letter.reason, error=letter.error, error_type=letter.error_type,
        traceback=letter.traceback,
    )  # fmt: skip


def _of_task(task: Task, state: TaskState, attempts: int) -> TaskStatus:
    return TaskStatus(
        task.id, state, attempts, task.type, priority=task.priority, enqueued_at=task.enqueued_at,
        metadata=task.metadata,
    )  # fmt: skip


def _task_of(message: StoredMessage) -> Task:
    return read_task(message.data, message.headers, message.sequence, message.stream)

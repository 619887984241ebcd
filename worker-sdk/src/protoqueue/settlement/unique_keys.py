"""Unique keys in workers: a start is recorded for producers, and a redriven task locks its key.

A task locks its key by being stored on the key's own subject. A redriven one is stored elsewhere: it is moved to that
subject before it may run, and waits while another task holds the key. So is a firing of a schedule with `overlap:
Skip`, which is dropped while another task holds the key.
"""

from datetime import timedelta

from protoqueue.broker import Broker, Delivery, Message, WrongRevision
from protoqueue.errors import PermissionDenied
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.message_headers import Header, time_to_live
from protoqueue.protocol.message_ids import claim_message_id
from protoqueue.protocol.subjects import slot_of, unique_token, unique_token_of
from protoqueue.protocol.task_codec import count_of, read_task
from protoqueue.settlement.message_seal import Seals
from protoqueue.settlement.messages import carried, data_of
from protoqueue.settlement.outcome import CLAIM_KEY, Executed
from protoqueue.settlement.retry_forever import retry_forever
from protoqueue.task import Task

TIMEOUT_S = 5.0
CLAIM_AGAIN = timedelta(seconds=5)
"""How often a redriven task checks whether its key is free."""

_LATE_S = 30.0
"""A task that expires is not started so long after, however its start was held up: producers give its key to others."""


def must_claim(delivery: Delivery, queue: QueueSettings) -> bool:
    """Whether the task has a key that it does not lock where it is stored."""
    headers = delivery.headers
    return (
        Header.UNIQUE in headers
        and queue.takes_unique
        and Header.DEAD_LETTER not in headers  # the handling of a letter is different work
        and unique_token_of(delivery.subject) is None
    )


def claiming(delivery: Delivery) -> Executed:
    """The outcome of such a task."""
    return Executed(CLAIM_KEY, read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream))


async def may_start(broker: Broker, delivery: Delivery, group: GroupSettings) -> bool:
    """Record the start of a task that others may follow: False if it came too late. Waits for NATS."""
    headers = delivery.headers
    expires_s = count_of(headers.get(Header.EXPIRES_AT)) / 1000
    is_followed = headers.get(Header.UNIQUE_UNTIL) == "start" or expires_s
    if Header.UNIQUE not in headers or not is_followed or unique_token_of(delivery.subject) is None:
        return True
    key = group.name.started_key(delivery.place)

    async def note() -> None:
        try:
            await broker.write_key(DONE_BUCKET, key, b"", 0, TIMEOUT_S)
        except WrongRevision:  # it has been started before
            return

    await retry_forever(note, "that a unique task has started")
    has_run = delivery.deliveries > 1
    return has_run or not expires_s or broker.now().timestamp() < expires_s + _LATE_S


class UniqueKeys:
    """The unique keys of one worker."""

    def __init__(self, broker: Broker, seals: Seals) -> None:
        self._broker = broker
        self._seals = seals

    async def claim(self, delivery: Delivery, task: Task, queue: QueueSettings, group: GroupSettings) -> bool:
        """Store the task on its key's subject; False while another is there. Raises Unavailable."""
        message = claimed(delivery, task, queue, group)
        try:
            await self._seals.publish(message, group.name, TIMEOUT_S)
        except WrongRevision:
            return await self._is_holder(task, message, queue)
        return True

    async def _is_holder(self, task: Task, message: Message, queue: QueueSettings) -> bool:
        """Whether an earlier try was stored: nobody knows where this user may not look, and it waits."""
        try:
            unique = message.headers[Header.EXPECTED_SUBJECT]
            holder = await self._broker.last_message(queue.later_stream, unique, TIMEOUT_S)
        except PermissionDenied:
            return False
        return holder is not None and read_task(holder.data, holder.headers, holder.sequence).id == task.id


def claimed(delivery: Delivery, task: Task, queue: QueueSettings, group: GroupSettings) -> Message:
    """The task on its key's subject, to be stored if that is empty."""
    token = unique_token(delivery.headers[Header.UNIQUE])
    headers = carried(delivery.headers) | {
        Header.MSG_ID: claim_message_id(task.id, group.name.name, delivery.place),
        Header.EXPECTED_SEQUENCE: "0",
        Header.EXPECTED_SUBJECT: queue.name.unique(token),
    }
    if (after := delivery.headers.get(Header.EXPIRES_AFTER)) is not None:  # what is redriven does not expire
        headers[Header.EXPIRES_AFTER] = after
    if queue.max_age_s is not None:
        headers[Header.TTL] = time_to_live(queue.max_age_s)
    return Message(queue.name.unique_waiting(token, slot_of(delivery.subject)), data_of(delivery), headers)

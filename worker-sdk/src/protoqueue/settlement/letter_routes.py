"""Routing dead letters that are tasks of another queue: there, and back."""

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol, TypeVar

from protoqueue.broker import Broker, Delivery, Message
from protoqueue.errors import (
    GroupNotFound,
    InvalidTask,
    PayloadTooLarge,
    PermissionDenied,
    ProtoQueueError,
    QueueFull,
    QueueNotFound,
    UndecodableTask,
)
from protoqueue.protocol.config import GroupSettings, QueueSettings
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import decode_task
from protoqueue.settlement.letter_tasks import letter_task, returned_task
from protoqueue.settlement.message_seal import Seals
from protoqueue.settlement.messages import without_extras
from protoqueue.settlement.other_queues import OtherQueues
from protoqueue.task import DeadLetterInfo, Task

log = logging.getLogger(__name__)

_WHAT = "a dead letter"
_REMIND_S = 30.0

_Answer = TypeVar("_Answer")


class Retry(Protocol):
    """How to store an outcome that NATS does not accept at once."""

    async def __call__(self, act: Callable[[], Awaitable[_Answer]], what: str, /) -> _Answer: ...


class LetterRoutes:
    """The routes of one worker. Errors that `retry` does not catch are raised."""

    def __init__(self, broker: Broker, seals: Seals, retry: Retry, timeout_s: float) -> None:
        self._broker = broker
        self._seals = seals
        self._retry = retry
        self._timeout_s = timeout_s
        self._queues = OtherQueues(broker)
        self._told_at = -_REMIND_S

    async def send_on(self, letter: Message, delivery: Delivery, queue: QueueSettings, group: GroupSettings) -> bool:
        """Store the letter as a task of the queue's dead letter queue.

        False if it belongs into the queue's own dead letters: there is no such queue (any more), that queue refuses it,
        or it is not a task at all, which no handler could run.
        """
        target, task = queue.dead_letter_queue, _task_of(delivery)
        if target is None or task is None:
            return False
        return await self._retry(lambda: self._try_to_send_on(letter, task, delivery.place, target, group), _WHAT)

    async def send_back(self, delivery: Delivery, delay: timedelta, group: GroupSettings) -> ProtoQueueError | None:
        """Schedule a letter for the queue and group that gave it up; returns why that is impossible."""
        task = _task_of(delivery)
        if task is None or task.dead_letter is None:
            return not_a_letter(task.id if task else "", group.name)
        home = _home_of(task.dead_letter, group.name)
        if home is None:
            return InvalidTask(f"task {task.id} names {task.dead_letter.queue!r} as the queue it died in")
        info = task.dead_letter
        return await self._retry(lambda: self._try_to_send_back(delivery, task, info, home, delay, group), _WHAT)

    async def _try_to_send_on(
        self, letter: Message, task: Task, place: str, target: QueueName, group: GroupSettings
    ) -> bool:
        settings = await self._queues.settings(target)
        if settings is None:
            self._tell(group, target, "it does not exist on this NATS server")
            return False
        message = letter_task(letter, task, group.name, place, settings)
        try:
            await self._publish(message, group, settings)
        except (PayloadTooLarge, PermissionDenied, QueueFull) as error:
            self._tell(group, target, str(error))
            return False
        return True

    async def _try_to_send_back(
        self, delivery: Delivery, task: Task, info: DeadLetterInfo, home: GroupName, delay: timedelta,
        group: GroupSettings,
    ) -> ProtoQueueError | None:  # fmt: skip
        settings = await self._queues.settings(home.queue)
        if settings is None:
            return QueueNotFound(f"queue {home.queue}, which task {task.id} came from, does not exist any more")
        if settings.broadcast and not await self._queues.has_group(home):
            return GroupNotFound(f"consumer group {home}, which task {task.id} came from, does not exist any more")
        message = returned_task(delivery, task, info, group.name, settings, self._broker.now() + delay)
        try:
            await self._publish(message, group, settings)
        except (PayloadTooLarge, PermissionDenied) as error:
            return error
        return None

    async def _publish(self, message: Message, group: GroupSettings, to: QueueSettings) -> None:
        try:
            try:
                await self._seals.publish(message, group.name, self._timeout_s)
            except PayloadTooLarge:
                await self._seals.publish(without_extras(message), group.name, self._timeout_s)
        except ProtoQueueError:
            self._queues.forget(to.name)  # its settings may have changed
            raise

    def _tell(self, group: GroupSettings, target: QueueName, why: str) -> None:
        if time.monotonic() - self._told_at >= _REMIND_S:
            self._told_at = time.monotonic()
            log.warning(
                "dead letters of %s stay in its own dead-letter stream, as queue %s does not take them: %s",
                group.name.queue, target, why, extra={"queue": str(group.name.queue), "group": group.name.name},
            )  # fmt: skip


def not_a_letter(task_id: str, group: GroupName) -> InvalidTask:
    """The outcome of a redrive of an ordinary task."""
    return InvalidTask(
        f"Redrive sends back what died in another queue, and task {task_id} of {group.queue} did not: it has no "
        "dead_letter; raise Retry or Snooze instead"
    )


def _task_of(delivery: Delivery) -> Task | None:
    try:
        return decode_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream)
    except UndecodableTask:
        return None


def _home_of(info: DeadLetterInfo, group: GroupName) -> GroupName | None:
    """Where a letter of `group` came from; None if that is not a queue that may name the group's queue."""
    try:
        home = GroupName.parse(QueueName.parse(info.queue), info.group)
    except ValueError:
        return None
    return home if home.queue.namespace == group.queue.namespace and home.queue != group.queue else None

"""Cancelling a task by its id, wherever it is. A running task is stopped by its worker: all workers are asked."""

import time

from protoqueue.admin.find import find_scheduled, find_stored
from protoqueue.broker import Broker, StoredMessage
from protoqueue.producer.freed_ids import free_ids
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.task_codec import read_task
from protoqueue.task import Task

_ANSWER_S, _QUICK_ANSWER_S = 1.0, 0.25


async def cancel_task(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> tuple[bool, Task | None]:
    """Whether the task was there, and the task itself if no worker held it.

    Raises Unavailable, also if the queue cannot be searched in time.
    """
    if not task_id:  # the id of a duplicate whose task no longer exists
        return False, None
    deadline = time.monotonic() + timeout_s
    waited = await _forget_scheduled(broker, queue, task_id, timeout_s)
    if waited and not queue.broadcast:
        return True, waited
    removed = await _remove_stored(broker, queue, task_id, deadline, timeout_s)
    answer_s = _QUICK_ANSWER_S if removed else _ANSWER_S
    stopped = await broker.call(queue.name.cancellations, task_id.encode(), min(timeout_s, answer_s)) is not None
    if removed and not stopped:  # it may have run, failed and stored its retry just before it was removed
        await _forget_scheduled(broker, queue, task_id, timeout_s)
    taken = waited or removed
    return taken is not None or stopped, None if stopped else taken


async def _forget_scheduled(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> Task | None:
    forgotten: Task | None = None
    for place, message in await find_scheduled(broker, queue, task_id, timeout_s):
        if await broker.purge(*place, timeout_s):
            forgotten = _task_of(message)
            await _free_id_of(message, broker, queue, timeout_s)
    return forgotten


async def _free_id_of(message: StoredMessage, broker: Broker, queue: QueueSettings, timeout_s: float) -> None:
    if dedup_id := message.headers.get(Header.DEDUP_ID):
        await free_ids(broker, queue, [dedup_id], timeout_s)


async def _remove_stored(
    broker: Broker, queue: QueueSettings, task_id: str, deadline: float, timeout_s: float
) -> Task | None:
    """Remove the task where it waits or runs; in a Broadcast queue also its retries that groups wait for."""
    removed: Task | None = None

    async def remove(message: StoredMessage) -> bool:
        nonlocal removed
        if await broker.delete_message(message.stream, message.sequence, timeout_s):
            removed = _task_of(message)
            await _free_id_of(message, broker, queue, timeout_s)
        return removed is not None and not queue.broadcast

    await find_stored(broker, queue, task_id, deadline, timeout_s, remove)
    return removed


def _task_of(message: StoredMessage) -> Task:
    return read_task(message.data, message.headers, message.sequence, message.stream)

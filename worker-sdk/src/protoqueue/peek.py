"""Looking at tasks without consuming them."""

from protoqueue.codec import decode_task
from protoqueue.connection import Broker, StoredMessage
from protoqueue.errors import UndecodableTask
from protoqueue.ids import anonymous_id
from protoqueue.settings import QueueSettings
from protoqueue.task import Task


async def oldest_tasks(broker: Broker, queue: QueueSettings, limit: int, timeout_s: float) -> list[Task]:
    """The `limit` oldest tasks of a queue; bytes that are no task appear as `data` of a task without a type."""
    tasks: list[Task] = []
    sequence = 1
    while len(tasks) < limit:
        message = await broker.next_message(queue.stream, sequence, ">", timeout_s)
        if message is None:
            break
        tasks.append(task_of(message))
        sequence = message.sequence + 1
    return tasks


def task_of(message: StoredMessage) -> Task:
    """The task a stored message holds."""
    try:
        return decode_task(message.data, message.headers, message.sequence)
    except UndecodableTask:
        return Task(id=anonymous_id(message.sequence), data=message.data)

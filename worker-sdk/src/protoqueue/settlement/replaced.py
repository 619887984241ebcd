"""Keeping a task from its start that was replaced in the very moment in which it came due.

Its schedule was firing when the server stored the task that takes its place: that says so in `Pq-Replaced`, until it is
due itself.
"""

from protoqueue.broker import Broker, Delivery
from protoqueue.errors import PermissionDenied
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.replaced_header import read_replaced
from protoqueue.protocol.subjects import replace_token_of
from protoqueue.protocol.task_codec import read_task
from protoqueue.settlement.outcome import REPLACED, Executed
from protoqueue.settlement.retry_forever import retry_forever

_TIMEOUT_S = 5.0


def is_replaceable(delivery: Delivery) -> bool:
    """Whether it has just come due, and had a replace key until then."""
    return replace_token_of(delivery.headers.get(Header.SCHEDULER, "")) is not None


async def replaced_meanwhile(broker: Broker, delivery: Delivery, queue: QueueSettings) -> Executed | None:
    """What becomes of such a task; None for every other, and where this user may not look. Waits for NATS."""
    token = replace_token_of(delivery.headers.get(Header.SCHEDULER, ""))
    if token is None:
        return None

    async def newest() -> Executed | None:
        try:
            newer = await broker.last_message(queue.later_stream, queue.name.replaceable(token, "*"), _TIMEOUT_S)
        except PermissionDenied:
            return None
        task = read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream)
        return Executed(REPLACED, task) if newer is not None and task.id in read_replaced(newer.headers) else None

    return await retry_forever(newest, "whether a task was replaced")

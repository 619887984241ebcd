"""Having a task run that is not due yet: its schedule is replaced by one that is due at once."""

from protoqueue.admin.find import find_scheduled
from protoqueue.broker import Broker, Message, StoredMessage, WrongRevision
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header, schedule_at


async def run_now(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> bool:
    """Whether it was there, delayed or waiting for its next attempt; raises Unavailable."""
    if not task_id:
        return False
    found = False
    for _, message in await find_scheduled(broker, queue, task_id, timeout_s):
        found |= await _hasten(broker, message, timeout_s)
    return found


async def _hasten(broker: Broker, message: StoredMessage, timeout_s: float) -> bool:
    """False where it has come due meanwhile.

    It has no message id, as that of the schedule before it would make it a duplicate. What it expects of the subject
    sees to it that it is stored once, and not after the task has come due by itself.
    """
    left = (Header.MSG_ID, Header.EXPECTED_SUBJECT)
    headers = {name: text for name, text in message.headers.items() if name not in left}
    headers |= {Header.SCHEDULE: schedule_at(broker.now()), Header.EXPECTED_SEQUENCE: str(message.sequence)}
    try:
        await broker.publish(Message(message.subject, message.data, headers), timeout_s)
    except WrongRevision:
        return False
    return True

"""Running a task before it is due: its schedule is replaced by one that is due at once."""

from protoqueue.admin.find import find_scheduled
from protoqueue.broker import Broker, Message, StoredMessage, WrongRevision
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header, schedule_at


async def run_now(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> bool:
    """Whether the task was there, delayed or waiting for its next attempt; raises Unavailable."""
    if not task_id:
        return False
    found = False
    for _, message in await find_scheduled(broker, queue, task_id, timeout_s):
        found |= await _hasten(broker, message, timeout_s)
    return found


async def _hasten(broker: Broker, message: StoredMessage, timeout_s: float) -> bool:
    """False if it has come due meanwhile.

    The message has no id, as that of the earlier schedule would make it a duplicate. Its expected sequence ensures that
    it is stored once, and not after the task has come due by itself.
    """
    left = (Header.MSG_ID, Header.EXPECTED_SUBJECT, Header.SCHEDULER, Header.SCHEDULE_NEXT)
    headers = {name: text for name, text in message.headers.items() if name not in left}
    headers |= {Header.SCHEDULE: schedule_at(broker.now()), Header.EXPECTED_SEQUENCE: str(message.sequence)}
    try:
        await broker.publish(Message(message.subject, message.data, headers), timeout_s)
    except WrongRevision:
        return False
    return True

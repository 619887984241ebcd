"""Storing a task that must be the only one of its unique key.

The task itself is the lock: JetStream stores it only if there is no message on the key's subjects, and when the task
ends in any way, its message is gone.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from protoqueue.broker import Broker, StoredMessage, WrongRevision
from protoqueue.errors import PermissionDenied, Unavailable
from protoqueue.producer.prepare import Prepared
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.task_codec import count_of, read_task
from protoqueue.task import Receipt

EXPIRED_FOR_S = 60.0
"""How long a task that was not started keeps its key after it has expired: clocks differ."""

_LOOK_S = 2.0
_AGAIN_S = 0.02


async def publish_unique(
    broker: Broker,
    queue: QueueSettings,
    prepared: Prepared,
    timeout_s: float | None,
    store: Callable[[Prepared, float | None], Awaitable[Receipt]],
) -> Receipt:
    """`store` it unless another task holds the key; raises what that raises.

    A task that holds the key is replaced if it has started and is unique until then, or has expired.
    """
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = None if timeout_s is None else max(0.001, deadline - time.monotonic())
        try:
            return await store(prepared, left_s)
        except WrongRevision:
            pass
        look_s = min(left_s or _LOOK_S, _LOOK_S)
        try:
            expected = await _expected(broker, queue, prepared, look_s)
        except PermissionDenied:
            return Receipt("", duplicate=True, matched="unique")
        except Unavailable:  # as when the answering server was killed: with time left, ask another
            if time.monotonic() > deadline:
                raise
            continue
        if isinstance(expected, Receipt):
            return expected
        prepared = prepared.expecting(expected)
        if not expected:
            await asyncio.sleep(_AGAIN_S)
        if time.monotonic() > deadline:
            raise Unavailable(f"the task could not be stored in {timeout_s:g} s: others of its unique key come and go")


async def _expected(broker: Broker, queue: QueueSettings, prepared: Prepared, timeout_s: float) -> int | Receipt:
    """The sequence of the key's last task after which this one may be stored, or the receipt if it may not."""
    holder = await broker.last_message(prepared.stream, prepared.unique, timeout_s)
    if holder is None:  # it has ended meanwhile, or is being stored right now
        return 0
    return holder.sequence if await _has_let_go(broker, queue, holder, timeout_s) else _held_by(holder, prepared)


def _held_by(holder: StoredMessage, prepared: Prepared) -> Receipt:
    task_id = read_task(holder.data, holder.headers, holder.sequence, holder.stream).id
    if task_id == prepared.task_id:  # an earlier try was stored
        return Receipt(task_id)
    is_same = prepared.dedup_id is not None and holder.headers.get(Header.DEDUP_ID) == prepared.dedup_id
    return Receipt(task_id, duplicate=True, matched="dedup_id" if is_same else "unique")


async def _has_let_go(broker: Broker, queue: QueueSettings, holder: StoredMessage, timeout_s: float) -> bool:
    """Whether the task on a key's subjects no longer locks the key, although it exists."""
    until_start = holder.headers.get(Header.UNIQUE_UNTIL) == "start"
    expires_s = count_of(holder.headers.get(Header.EXPIRES_AT)) / 1000
    has_expired = 0 < expires_s < broker.now().timestamp() - EXPIRED_FOR_S
    if not (until_start or has_expired):
        return False
    key = GroupName(queue.name, "*").started_key(holder.place)
    try:
        has_started = (await broker.read_key(DONE_BUCKET, key, timeout_s)).value is not None
    except PermissionDenied:
        return False
    return has_started if until_start else not has_started

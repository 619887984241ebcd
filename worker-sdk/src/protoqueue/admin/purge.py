"""Removing all tasks of a queue, and freeing their dedup ids."""

from collections.abc import Mapping
from datetime import timedelta

from protoqueue.admin.places import CLOCK_SKEW, stored_messages, stored_since
from protoqueue.broker import Broker
from protoqueue.producer.freed_ids import Sequences, free_all, last_sequences
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header

MOST_SCHEDULED = 10_000
"""If more tasks were scheduled within the deduplication window, a purge that keeps them frees no ids."""


async def purge_tasks(broker: Broker, queue: QueueSettings, scheduled: bool, timeout_s: float) -> int:
    """How many were removed; with `scheduled` also those not yet due.

    The tasks that stay are read first: one that comes due during the purge is removed too, and its id stays in use for
    a while, which loses nothing.
    """
    up_to = await last_sequences(broker, queue, timeout_s)
    kept = {} if scheduled else await _kept(broker, queue, up_to, timeout_s)
    removed = 0
    for stream, subject in queue.places:
        removed += await broker.purge(stream, subject, timeout_s)
    for stream in queue.streams if scheduled else ():
        removed += await broker.purge(stream, queue.name.all_scheduled, timeout_s)
    if kept is not None:
        await free_all(broker, queue, up_to, kept, timeout_s)
    return removed


async def _kept(
    broker: Broker, queue: QueueSettings, up_to: Sequences, timeout_s: float
) -> Mapping[str, Sequences] | None:
    """The dedup ids of what is scheduled, and up to which sequences of the streams they stay used; None for too many.

    Of a task that waits for its retry the id was used where it was stored first, of a delayed one where that lies.
    JetStream forgets an id when the window is over, so what was scheduled before that is of no interest.
    """
    task, later = up_to
    is_shared = queue.stream == queue.later_stream
    since = broker.now() - timedelta(seconds=queue.deduplication_window_s) - CLOCK_SKEW
    kept: dict[str, Sequences] = {}
    looked_at = 0
    for stream in queue.streams:
        first = await stored_since(broker, stream, since, timeout_s)
        async for message in stored_messages(broker, (stream, queue.name.all_scheduled), first, timeout_s):
            looked_at += 1
            if looked_at > MOST_SCHEDULED:
                return None
            if dedup_id := message.headers.get(Header.DEDUP_ID):
                has_run = Header.ATTEMPT in message.headers
                task_before, _ = kept.get(dedup_id, (0, 0))
                kept[dedup_id] = (task if has_run or is_shared else task_before, later)
    return kept

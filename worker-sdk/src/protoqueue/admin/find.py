"""Finding a task by its id, wherever it is.

A task that is not yet due, or waits for its retry, has a subject of its own with its id. A task that waits for a worker
or runs shares its subject with others: that is searched from the time in the id on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from protoqueue.admin.places import CLOCK_SKEW, Place, first_messages, stored_messages, stored_since
from protoqueue.broker import Broker, StoredMessage
from protoqueue.errors import Unavailable
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.subjects import scheduled_task
from protoqueue.protocol.task_codec import read_task
from protoqueue.protocol.task_ids import made_at, sequence_in

Found: TypeAlias = Callable[[StoredMessage], Awaitable[bool]]
"""What to do with a message that was found; returns whether to stop searching."""


async def find_scheduled(
    broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float
) -> list[tuple[Place, StoredMessage]]:
    """The task's messages that are not yet due (delayed, or retries), and where each is stored."""
    delayed = queue.name.scheduled(scheduled_task(task_id))
    subjects = (
        delayed,
        f"{delayed}.>",
        queue.name.unique_scheduled("*", task_id),
        queue.name.replaceable("*", task_id),
    )
    places = [(stream, subject) for stream in queue.streams for subject in subjects]
    return list((await first_messages(broker, dict.fromkeys(places, 1), timeout_s)).items())


async def find_stored(
    broker: Broker, queue: QueueSettings, task_id: str, deadline: float, timeout_s: float, found: Found
) -> None:
    """Search for the task's messages that wait for a worker or run, until `found` says to stop.

    All places are searched concurrently, as the id does not tell which of them holds the task. Raises Unavailable if
    that is not done by `deadline`, on the monotonic clock.
    """
    looked_at, enough = 0, False
    first = await asyncio.gather(*(_first_sequence(broker, stream, task_id, timeout_s) for stream in queue.streams))
    begin = dict(zip(queue.streams, first, strict=True))

    async def look_through(place: Place) -> bool:
        """Whether it was searched as far as necessary."""
        nonlocal enough, looked_at
        async for message in stored_messages(broker, place, begin[place[0]], timeout_s):
            looked_at += 1
            if _is(message, task_id) and await found(message):
                enough = True
            if enough:
                break
            if time.monotonic() > deadline:
                return False
        return True

    complete = await asyncio.gather(*map(look_through, queue.waiting))
    if not all(complete) and not enough:
        raise Unavailable(
            f"not found among the first {looked_at} tasks of {queue.name}: use a longer timeout to search further"
        )


def _is(message: StoredMessage, task_id: str) -> bool:
    may_be = task_id.encode() in message.data or task_id.endswith(f"@{message.place}")
    return may_be and read_task(message.data, message.headers, message.sequence, message.stream).id == task_id


async def _first_sequence(broker: Broker, stream: str, task_id: str, timeout_s: float) -> int:
    """The first sequence at which the task may be. An id that looks like one of ours may be a producer's own."""
    if sequence := sequence_in(task_id):
        message = await broker.next_message(stream, sequence, ">", timeout_s)
        return sequence if message is not None and _is(message, task_id) else 1
    made = made_at(task_id)
    return 1 if made is None else await stored_since(broker, stream, made - CLOCK_SKEW, timeout_s)

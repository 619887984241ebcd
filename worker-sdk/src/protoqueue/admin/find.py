"""Finding a task by its id, wherever it is.

What is not yet due, or waits for its retry, lies on a subject that holds its id. What waits for a worker or is with
one lies on a subject that many share: these are looked through, from where the time in the id leads to.
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
"""What to do with a message that was found; returns whether that is enough."""


async def find_scheduled(
    broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float
) -> list[tuple[Place, StoredMessage]]:
    """The task's messages that are not yet due, the delayed one and its retries, and where each lies."""
    delayed = queue.name.scheduled(scheduled_task(task_id))
    subjects = (delayed, f"{delayed}.>", queue.name.unique_scheduled("*", task_id))
    places = [(stream, subject) for stream in queue.streams for subject in subjects]
    return list((await first_messages(broker, dict.fromkeys(places, 1), timeout_s)).items())


async def find_stored(
    broker: Broker, queue: QueueSettings, task_id: str, deadline: float, timeout_s: float, found: Found
) -> None:
    """Look for the task's messages that wait for a worker or are with one, until `found` says that it is enough.

    All places are looked through side by side, as its id does not tell which of them holds it. Raises Unavailable where
    they are not by `deadline`, on the monotonic clock.
    """
    looked_at, enough = 0, False
    first = await asyncio.gather(*(_first_sequence(broker, stream, task_id, timeout_s) for stream in queue.streams))
    begin = dict(zip(queue.streams, first, strict=True))

    async def look_through(place: Place) -> bool:
        """Whether it was looked through as far as it had to be."""
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
    """From which sequence on the task may lie. An id that ends like one with a sequence may be a producer's own."""
    if sequence := sequence_in(task_id):
        message = await broker.next_message(stream, sequence, ">", timeout_s)
        return sequence if message is not None and _is(message, task_id) else 1
    made = made_at(task_id)
    return 1 if made is None else await stored_since(broker, stream, made - CLOCK_SKEW, timeout_s)

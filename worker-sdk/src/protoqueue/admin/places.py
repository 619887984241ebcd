"""Where the tasks of a queue are stored, in one stream or several, and reading them without consuming them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from protoqueue.broker import Broker, StoredMessage

Place: TypeAlias = tuple[str, str]
"""A stream and a pattern of subjects."""

CLOCK_SKEW = timedelta(minutes=1)
"""How far the local clock may be ahead of the server's without tasks being missed by a search from a time on."""

MOST_AT_ONCE = 250
MOST_BYTES = 4 * 1024 * 1024
"""How many bytes may be requested at once, estimated from the sizes seen so far."""


async def first_messages(
    broker: Broker, sequences: Mapping[Place, int], timeout_s: float
) -> dict[Place, StoredMessage]:
    """The first message of each place from a sequence on; places without one are left out."""
    found = await asyncio.gather(
        *(
            broker.next_message(stream, sequence, subject, timeout_s)
            for (stream, subject), sequence in sequences.items()
        )
    )
    return {place: message for place, message in zip(sequences, found, strict=True) if message is not None}


async def stored_messages(
    broker: Broker, place: Place, first: int, timeout_s: float, last: int = sys.maxsize
) -> AsyncIterator[StoredMessage]:
    """The messages from one sequence to another, in order; several are requested at once."""
    stream, subject = place
    at_once = 1
    while first <= last:
        # Each answer is the first message from its number on, so where messages lie side by side these are as many.
        numbers = range(first, min(first + at_once, last + 1))
        found = await asyncio.gather(*(broker.next_message(stream, number, subject, timeout_s) for number in numbers))
        messages = {one.sequence: one for one in found if one is not None and one.sequence <= last}
        for number in sorted(messages):
            yield messages[number]
        if None in found or not messages:
            return
        first = max(messages) + 1
        largest = max(len(message.data) for message in messages.values())
        at_once = max(1, min(2 * len(messages), MOST_AT_ONCE, MOST_BYTES // max(1, largest)))


async def stored_since(broker: Broker, stream: str, moment: datetime, timeout_s: float) -> int:
    """The first sequence stored at that moment or later."""
    state = await broker.stream_state(stream, timeout_s)
    low, high = (state.first_sequence, state.last_sequence + 1) if state else (1, 1)
    while low < high:
        middle = (low + high) // 2
        message = await broker.next_message(stream, middle, ">", timeout_s)
        if message is None or message.stored_at >= moment:
            high = middle
        else:
            low = message.sequence + 1
    return low

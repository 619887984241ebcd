"""Forwarding stored dead letters to the queue that takes those that die now."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from protoqueue.admin.dead_letters import DeadLetter
from protoqueue.admin.places import MOST_AT_ONCE, MOST_BYTES
from protoqueue.broker import Broker, DuplicateInBatch, Message
from protoqueue.broker.config_watch import read_settings
from protoqueue.errors import ConfigurationError, PayloadTooLarge, QueueFull, QueueNotFound
from protoqueue.protocol.config import QueueSettings, parse_queue
from protoqueue.settlement.messages import without_extras

_TIMEOUT_S = 5.0


async def forward_letters(
    broker: Broker,
    queue: QueueSettings,
    letters: AsyncIterator[DeadLetter],
    limit: int | None,
    wanted: Callable[[DeadLetter], bool],
) -> int:
    """Forward the wanted letters, oldest first; returns how many. What is not a task stays.

    Raises ConfigurationError where the queue names no other, QueueNotFound, QueueFull, PayloadTooLarge and Unavailable;
    what was forwarded until then stays so.
    """
    if queue.dead_letter_queue is None:
        raise ConfigurationError(
            f"the dead letters of {queue.name} go to no other queue: set spec.deadLetter.queueRef of the Queue, and "
            "see that it is Ready"
        )
    target = await read_settings(broker, queue.dead_letter_queue.config_key, parse_queue)
    if target is None:
        raise QueueNotFound(f"queue {queue.dead_letter_queue} does not exist on this NATS server")
    count, chunk = 0, list[tuple[DeadLetter, Message]]()
    async for letter in letters:
        if limit is not None and count + len(chunk) >= limit:
            break
        if not wanted(letter) or (message := await letter.to_be_forwarded(target)) is None:
            continue
        chunk.append((letter, message))
        if len(chunk) >= MOST_AT_ONCE or sum(message.size for _, message in chunk) >= MOST_BYTES:
            count += await _forward(broker, chunk)
            chunk = []
    return count + await _forward(broker, chunk)


async def _forward(broker: Broker, chunk: Sequence[tuple[DeadLetter, Message]]) -> int:
    """All in one batch; if that is refused, one by one up to the letter that caused it."""
    if await _stored_together(broker, [message for _, message in chunk]):
        await asyncio.gather(*(letter.delete() for letter, _ in chunk))
        return len(chunk)
    for letter, message in chunk:
        try:
            await broker.publish(message, _TIMEOUT_S)
        except PayloadTooLarge:
            await broker.publish(without_extras(message), _TIMEOUT_S)
        await letter.delete()
    return len(chunk)


async def _stored_together(broker: Broker, messages: Sequence[Message]) -> bool:
    if len(messages) < 2:
        return False
    try:
        await broker.publish_atomic(messages, _TIMEOUT_S, _at_once)
    except (DuplicateInBatch, PayloadTooLarge, QueueFull):
        return False
    return True


async def _at_once() -> None:
    """Batches do not wait for each other here."""

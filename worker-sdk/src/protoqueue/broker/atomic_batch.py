"""Atomic batches: many messages that one stream stores together, or not at all."""

import secrets
import time
from collections.abc import Mapping, Sequence

from protoqueue.connection.broker import Message
from protoqueue.connection.direct import DirectClient
from protoqueue.connection.replies import TryAgain, parse_published
from protoqueue.connection.requests import ONE_TRY_S, Requests, repeated
from protoqueue.connection.wire import encode_members
from protoqueue.errors import Unavailable

_SLOW_BYTES_PER_S = 100_000
"""A link that takes no more is given the time it needs: a batch that is begun anew too early would never arrive."""


async def publish_batch(
    nc: DirectClient, requests: Requests, messages: Sequence[Message], timeout_s: float | None
) -> None:
    """As `Broker.publish_atomic` says, as often as it takes.

    The messages have ids, so a batch that was stored though its answer got lost is refused as DuplicateInBatch when it
    comes again. Then the ids of all its members are known, and publishing them one by one stores nothing twice.
    """

    async def once(left_s: float) -> None:
        await _publish_once(nc, requests, messages, left_s)

    one_try_s = ONE_TRY_S + sum(len(message.data) for message in messages) / _SLOW_BYTES_PER_S
    await repeated(once, f"{len(messages)} tasks to {messages[0].subject}", timeout_s, one_try_s)


async def _publish_once(nc: DirectClient, requests: Requests, messages: Sequence[Message], timeout_s: float) -> None:
    """Raises TryAgain where the server gave it up, as it does when any part of a batch comes twice or never."""
    _check_connected(nc)
    batch, last, deadline = secrets.token_hex(11), len(messages), time.monotonic() + timeout_s

    def member(number: int) -> dict[str, str]:
        return {**messages[number - 1].headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}

    async def ask(message: Message, headers: Mapping[str, str]) -> bytes:
        left_s = deadline - time.monotonic()
        return await requests.attempt(message.subject, message.data, headers, left_s, repeatable=True)

    if last > 1:
        answer = await ask(messages[0], member(1))
        if answer:  # an empty one says: go on
            parse_published(answer)
        for chunk in encode_members(zip(range(2, last), messages[1:-1], strict=True), batch):
            _check_connected(nc)
            await nc.send(chunk)
    commit = member(last) | {"Nats-Batch-Commit": "1"}
    parse_published(await ask(messages[-1], commit))


def _check_connected(nc: DirectClient) -> None:
    """What is sent while there is no connection is kept for the next one, which knows nothing of the batch."""
    if nc.is_closed:
        raise Unavailable("the connection to NATS is closed")
    if not nc.is_connected:
        raise TryAgain("NATS is away")

"""Atomic batches: many messages that one stream stores together, or not at all."""

import secrets
import time
from collections.abc import Sequence

from protoqueue.broker.commands import encode_members
from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.interface import Message, Turn
from protoqueue.broker.replies import TryAgain, parse_published
from protoqueue.broker.requests import ONE_TRY_S, Requests, retried
from protoqueue.errors import Unavailable

_SLOW_BYTES_PER_S = 100_000
"""A congested link gets the time it needs: a batch that is restarted too early would never arrive."""


async def publish_batch(
    nc: DirectClient, requests: Requests, messages: Sequence[Message], timeout_s: float | None, turn: Turn
) -> None:
    """As `Broker.publish_atomic` says, repeated as often as necessary.

    The messages have ids, so a batch that was stored although its answer got lost is refused as DuplicateInBatch when
    it is repeated. All its ids are then known, so publishing its members one by one stores nothing twice.
    """

    async def once(left_s: float) -> None:
        await _publish_once(nc, requests, messages, left_s, turn)

    one_try_s = ONE_TRY_S + sum(len(message.data) for message in messages) / _SLOW_BYTES_PER_S
    await retried(once, f"{len(messages)} tasks to {messages[0].subject}", timeout_s, one_try_s)


async def _publish_once(
    nc: DirectClient, requests: Requests, messages: Sequence[Message], timeout_s: float, turn: Turn
) -> None:
    """Raises TryAgain if the server abandoned the batch, as it does when a part of it arrives twice or not at all."""
    batch, last, deadline = secrets.token_hex(11), len(messages), time.monotonic() + timeout_s
    # The first could be a request too, but its answer would add nothing to the last one's.
    for chunk in encode_members(enumerate(messages[:-1], 1), batch):
        _check_connected(nc)
        await nc.send(chunk)
    await turn()
    commit = messages[-1]
    headers = {
        **commit.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(last), "Nats-Batch-Commit": "1",
    }  # fmt: skip
    left_s = deadline - time.monotonic()
    parse_published(await requests.attempt(commit.subject, commit.data, headers, left_s, repeatable=True))


def _check_connected(nc: DirectClient) -> None:
    """Messages sent while disconnected would go to the next connection, which does not know the batch."""
    if nc.is_closed:
        raise Unavailable("the connection to NATS is closed")
    if not nc.is_connected:
        raise TryAgain("not connected to NATS")

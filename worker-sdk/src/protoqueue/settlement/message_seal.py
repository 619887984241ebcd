"""Message ids that producers cannot use first.

The message ids of retries, dead letters and redrives derive from the task, so that a crash stores none of them twice. A
worker assumes that a duplicate is its own message. A producer could store something else under such an id first, and
the task would be lost. So the id ends with a seal, which requires a key in `pq-done`: workers may read that, producers
may not.
"""

import asyncio
import secrets
import time
from dataclasses import replace

from protoqueue.broker import Broker, Message, Published, WrongRevision
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.dead_letters import sealed
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName

REREAD_S = 3600.0
"""The bucket forgets after a day; workers of a group that have different keys store a retry twice after a crash."""

_KEY_BYTES = 16


class Seals:
    """Publishes sealed messages. Every method raises what the broker raises."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._keys: dict[GroupName, tuple[bytes, float]] = {}
        self._reading = asyncio.Lock()

    async def publish(self, message: Message, group: GroupName, timeout_s: float) -> Published:
        """Publish with a message id that is the same for the same message, and unknown to producers."""
        return await self._broker.publish(await self.seal(message, group, timeout_s), timeout_s)

    async def seal(self, message: Message, group: GroupName, timeout_s: float) -> Message:
        """The message with such an id."""
        message_id = message.headers.get(Header.MSG_ID)
        if message_id is not None:
            headers = {**message.headers, Header.MSG_ID: sealed(message_id, await self._key(group, timeout_s))}
            message = replace(message, headers=headers)
        return message

    async def _key(self, group: GroupName, timeout_s: float) -> bytes:
        """The group's key, created by the first worker that needs it."""
        if (key := self._fresh(group)) is not None:
            return key
        async with self._reading:  # one asks, and the others continue in order of arrival
            if (key := self._fresh(group)) is None:
                own, _ = self._keys.get(group, (secrets.token_hex(_KEY_BYTES).encode(), 0.0))
                key = await self._shared(group, own, timeout_s)
                self._keys[group] = key, time.monotonic()
            return key

    def _fresh(self, group: GroupName) -> bytes | None:
        key, read_at = self._keys.get(group, (None, 0.0))
        return key if time.monotonic() - read_at < REREAD_S else None

    async def _shared(self, group: GroupName, own: bytes, timeout_s: float) -> bytes:
        while True:
            entry = await self._broker.read_key(DONE_BUCKET, group.seal_key, timeout_s)
            if entry.value:
                return entry.value
            try:
                await self._broker.write_key(DONE_BUCKET, group.seal_key, own, entry.number, timeout_s)
            except WrongRevision:
                continue
            return own

"""Following keys of `pq-config`, and of other buckets.

The key is read again upon a hint from the broker and at intervals, so that a missed hint or a recreated bucket costs
only seconds. This needs no consumer on the server, however many workers follow.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from protoqueue.broker import Broker
from protoqueue.errors import ConfigurationError, Unavailable
from protoqueue.protocol.buckets import CONFIG_BUCKET

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 5.0
REREAD_S = 15.0
# The hint is the write itself on its way to the bucket: it can arrive before the bucket has it.
_AFTER_HINT_S = (0.0, 0.05, 0.2, 1.0)

_Settings = TypeVar("_Settings")


async def read_settings(broker: Broker, key: str, parse: Callable[[bytes], _Settings]) -> _Settings | None:
    """The settings under a key, None when there are none; raises Unavailable and ConfigurationError."""
    value = (await broker.read_key(CONFIG_BUCKET, key, READ_TIMEOUT_S)).value
    return None if value is None else parse(value)


class Watch(Generic[_Settings]):
    """Calls `changed` with each new value of a key, first with the one it has; None while there is none."""

    def __init__(
        self, broker: Broker, key: str, parse: Callable[[bytes], _Settings],
        changed: Callable[[_Settings | None], Awaitable[None]], bucket: str = CONFIG_BUCKET,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._bucket = bucket
        self._key = key
        self._parse = parse
        self._changed = changed
        self._hint = asyncio.Event()
        self._revision: int | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        self._broker.on_reconnect(self._hint.set)
        subscription = await self._broker.watch_key(self._bucket, self._key, self._hint.set)
        try:
            await self._read()
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REREAD_S):
                        await self._hint.wait()
                hinted = self._hint.is_set()
                self._hint.clear()
                for wait_s in _AFTER_HINT_S if hinted else (0.0,):
                    await asyncio.sleep(wait_s)
                    if await self._read():
                        break
        finally:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    async def _read(self) -> bool:
        """Whether there was something new."""
        try:
            revision = await self._broker.read_key(self._bucket, self._key, READ_TIMEOUT_S)
        except Unavailable as error:
            log.debug("could not read %s: %s", self._key, error)
            return False
        if revision.number == self._revision:
            return False
        self._revision = revision.number
        try:
            settings = None if revision.value is None else self._parse(revision.value)
        except ConfigurationError as error:
            log.error("%s/%s is not valid, the previous settings stay in force: %s", self._bucket, self._key, error)
            return True
        await self._changed(settings)
        return True

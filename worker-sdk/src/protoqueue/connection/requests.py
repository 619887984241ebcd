"""Requests, and their answers over one inbox."""

import asyncio
import itertools
from collections.abc import Mapping

from protoqueue.connection.direct import DirectClient
from protoqueue.connection.headers import parse_status

_NO_RESPONDERS = "503"


class NobodyListens(Exception):
    """Nothing is subscribed to the subject of a request."""


class Requests:
    """nats-py has requests too. Theirs take two more turns of the event loop, and can lose a cancellation."""

    def __init__(self, nc: DirectClient) -> None:
        self._nc = nc
        self._prefix = f"{nc.new_inbox()}."
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def open(self) -> None:
        """To be called once the client is connected."""
        await self._nc.subscribe_direct(f"{self._prefix}*", self._answered)

    async def ask(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_s: float) -> bytes:
        """The first answer; raises NobodyListens, TimeoutError and what nats-py's `publish` raises."""
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._nc.publish(subject, data, f"{self._prefix}{number}", dict(headers) if headers else None)
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            del self._waiting[number]

    def _answered(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes) -> None:
        answer = self._waiting.get(int(subject[len(self._prefix) :]))
        if answer is None or answer.done():
            return
        if headers and parse_status(headers)[0] == _NO_RESPONDERS:
            answer.set_exception(NobodyListens())
        else:
            answer.set_result(data)

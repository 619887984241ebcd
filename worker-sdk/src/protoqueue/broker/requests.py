"""Requests, and their answers over one inbox."""

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import nats.errors

from protoqueue.connection.direct import DirectClient
from protoqueue.connection.headers import parse_status
from protoqueue.connection.replies import TryAgain
from protoqueue.errors import Unavailable

ONE_TRY_S = 5.0
"""How long an answer may take before what can be repeated is."""

_RETRY_WAIT_S = 0.1

_NO_RESPONDERS = "503"

_Answer = TypeVar("_Answer")


class NobodyListens(Exception):
    """Nothing is subscribed to the subject of a request."""


class Requests:
    """nats-py has requests too. Theirs take two more turns of the event loop, and can lose a cancellation."""

    def __init__(self, nc: DirectClient) -> None:
        self._nc = nc
        self._prefix = f"{nc.new_inbox()}."
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._unrepeatable: set[int] = set()

    async def open(self) -> None:
        """To be called once the client is connected."""
        await self._nc.subscribe_direct(f"{self._prefix}*", self._answered)

    def renew(self) -> None:
        """The connection is another: have what can be repeated asked again, as old questions may get no answer now."""
        for number, answer in self._waiting.items():
            if number not in self._unrepeatable and not answer.done():
                answer.set_exception(TimeoutError())

    async def ask(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        timeout_s: float,
        *,
        repeatable: bool = False,
    ) -> bytes:
        """The first answer; raises NobodyListens, TimeoutError and what nats-py's `publish` raises."""
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if not repeatable:
            self._unrepeatable.add(number)
        try:
            await self._nc.publish(subject, data, f"{self._prefix}{number}", dict(headers) if headers else None)
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            del self._waiting[number]
            self._unrepeatable.discard(number)

    async def attempt(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        timeout_s: float,
        *,
        repeatable: bool = False,
    ) -> bytes:
        """The answer; raises TryAgain, which says why there was none, and Unavailable for a closed connection."""
        try:
            return await self.ask(subject, data, headers, timeout_s, repeatable=repeatable)
        except NobodyListens:  # as long as a stream is recovering, too
            raise TryAgain("nobody takes it: does the Queue still exist, and does NATS have JetStream?") from None
        except TimeoutError:
            raise TryAgain("NATS gave no answer" if self._nc.is_connected else "NATS is away") from None
        except nats.errors.OutboundBufferLimitError:
            raise TryAgain("NATS is away, and the outbound buffer is full") from None
        except nats.errors.Error as error:
            raise Unavailable(f"the connection to NATS is closed: {error}") from error

    async def until_answered(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_s: float | None,
        one_try_s: float | None = None,
    ) -> bytes:  # fmt: skip
        """The answer, as `repeated` gets it.

        With `one_try_s`, what has got none within it, or over a connection that broke, is asked again: it must be the
        same when it arrives twice, as publishes are through their message id.
        """

        def once(left_s: float) -> Awaitable[bytes]:
            return self.attempt(subject, data, headers, left_s, repeatable=one_try_s is not None)

        return await repeated(once, subject, timeout_s, one_try_s or math.inf)

    def _answered(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes) -> None:
        answer = self._waiting.get(int(subject[len(self._prefix) :]))
        if answer is None or answer.done():
            return
        if headers and parse_status(headers)[0] == _NO_RESPONDERS:
            answer.set_exception(NobodyListens())
        else:
            answer.set_result(data)


async def repeated(
    act: Callable[[float], Awaitable[_Answer]], what: str, timeout_s: float | None, one_try_s: float
) -> _Answer:
    """What `act` returns, given the seconds it may take; tried until the time is over. Raises Unavailable then."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            return await act(min(one_try_s, deadline - time.monotonic()))
        except TryAgain as error:
            if timeout_s is not None and time.monotonic() + _RETRY_WAIT_S >= deadline:
                raise Unavailable(f"{what}, within {timeout_s:g} s: {error}") from None
            await asyncio.sleep(_RETRY_WAIT_S)

"""Requests, and their answers over one inbox."""

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import nats.errors

from protoqueue.broker.commands import encode_request
from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.event_loop import OwnLoop
from protoqueue.broker.headers import parse_status
from protoqueue.broker.replies import TryAgain
from protoqueue.errors import PermissionDenied, Unavailable

ONE_TRY_S = 5.0
"""How long an answer may take before a repeatable request is repeated."""

_RETRY_WAIT_S = 0.1

_NO_RESPONDERS = "503"

_REFUSED_S = 60.0
"""For how long a request that the server has refused is not tried again: each try is a line in its log."""
_MOST_REFUSED = 1000
"""How many refused subjects are remembered: each delayed task and each retry has its own."""

_Answer = TypeVar("_Answer")


class NoResponders(Exception):
    """Nothing subscribes to the subject of a request."""


class Requests:
    """nats-py has requests too, but those take two more turns of the event loop, and can lose a cancellation."""

    def __init__(self, nc: DirectClient) -> None:
        self._nc = nc
        self._own_loop = OwnLoop()
        self._prefix = f"{nc.new_inbox()}."
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._unrepeatable: set[int] = set()
        self._subjects: dict[int, str] = {}
        self._refused: dict[str, float] = {}
        nc.on_refused(self._refuse)

    async def open(self) -> None:
        """To be called once the client is connected."""
        await self._nc.subscribe_direct(f"{self._prefix}*", self._answered)

    def check_loop(self) -> asyncio.AbstractEventLoop:
        """Raises ConfigurationError in another event loop than that of the connection."""
        return self._own_loop.check()

    def renew(self) -> None:
        """The connection is new: repeat what can be repeated, as earlier requests may get no answer any more."""
        self._refused.clear()
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
        """The first answer; raises NoResponders, TimeoutError and what nats-py's `publish` raises."""
        number, loop = next(self._numbers), self.check_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = answer
        self._subjects[number] = subject
        if not repeatable:
            self._unrepeatable.add(number)
        # A plain timer: asyncio.timeout costs as much as all the rest here.
        timer = loop.call_later(timeout_s, _expire, answer) if timeout_s < math.inf else None
        try:
            await self._send(subject, data, f"{self._prefix}{number}", headers)
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            del self._waiting[number], self._subjects[number]
            self._unrepeatable.discard(number)

    async def _send(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str] | None) -> None:
        """Bypasses nats-py's `publish`, which costs several times as much, where that adds nothing."""
        with contextlib.suppress(ValueError):  # nats-py replaces what may not stand in a header
            if self._nc.send_soon(encode_request(subject, reply, data, headers)):
                return
        await self._nc.publish(subject, data, reply, dict(headers) if headers else None)

    async def attempt(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        timeout_s: float,
        *,
        repeatable: bool = False,
    ) -> bytes:
        """The answer; raises TryAgain, which says why there was none, PermissionDenied, and Unavailable when closed."""
        if self._refused and self._refused.get(subject.lower(), 0) > time.monotonic():
            raise _denied(subject)
        try:
            return await self.ask(subject, data, headers, timeout_s, repeatable=repeatable)
        except NoResponders:  # as long as a stream is recovering, too
            raise TryAgain(
                "no responders: check that the Queue still exists and that NATS has JetStream enabled"
            ) from None
        except TimeoutError:
            raise TryAgain("NATS did not respond" if self._nc.is_connected else "not connected to NATS") from None
        except nats.errors.OutboundBufferLimitError:
            raise TryAgain("not connected to NATS, and the outbound buffer is full") from None
        except nats.errors.Error as error:
            raise Unavailable(f"the connection to NATS is closed: {error}") from error

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_s: float | None,
        one_try_s: float | None = None,
    ) -> bytes:  # fmt: skip
        """The answer, as `retried` gets it.

        With `one_try_s`, a request without an answer within it, or whose connection broke, is repeated: it must be
        idempotent, as publishes are through their message id.
        """

        def once(left_s: float) -> Awaitable[bytes]:
            return self.attempt(subject, data, headers, left_s, repeatable=one_try_s is not None)

        return await retried(once, subject, timeout_s, one_try_s or math.inf)

    def _refuse(self, subject: str) -> None:
        """The server refuses this subject, here in lower case, and will not answer requests to it."""
        self._refused.pop(subject, None)
        self._refused[subject] = time.monotonic() + _REFUSED_S
        if len(self._refused) > _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        for number, asked in self._subjects.items():
            if asked.lower() == subject and not self._waiting[number].done():
                self._waiting[number].set_exception(_denied(subject))

    def _answered(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes) -> None:
        answer = self._waiting.get(int(subject[len(self._prefix) :]))
        if answer is None or answer.done():
            return
        if headers and parse_status(headers)[0] == _NO_RESPONDERS:
            answer.set_exception(NoResponders())
        else:
            answer.set_result(data)


def _expire(answer: "asyncio.Future[bytes]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _denied(subject: str) -> PermissionDenied:
    return PermissionDenied(
        f"this NATS user has no permission to publish to {subject}: grant it (docs/security.md lists the permissions)"
    )


async def retried(
    act: Callable[[float], Awaitable[_Answer]], what: str, timeout_s: float | None, one_try_s: float
) -> _Answer:
    """The result of `act`, which gets the seconds it may take; repeated until the time is over, then Unavailable."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            return await act(min(one_try_s, deadline - time.monotonic()))
        except TryAgain as error:
            if timeout_s is not None and time.monotonic() + _RETRY_WAIT_S >= deadline:
                raise Unavailable(f"{what}: {error} (timeout {timeout_s:g} s)") from None
            await asyncio.sleep(_RETRY_WAIT_S)

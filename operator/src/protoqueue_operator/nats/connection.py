"""Connections to NATS, which reconnect for ever."""

import asyncio
import contextlib
import json
import logging
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nats.aio.client import NO_RESPONDERS_STATUS, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from protoqueue.aio import cancel
from protoqueue.broker.direct_client import Arrived, DirectClient
from protoqueue.protocol.servers import one_line, shown_error
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable, Unanswered
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.nats.liveness import Liveness

logger = logging.getLogger(__name__)

_RECONNECT_WAIT_S = 1
_FIRST_CONNECTION_S = 5.0
"""How long a just opened connection counts as connecting rather than as away."""
_REQUESTS_AT_ONCE = 128
"""The server queues the API requests of all clients together: thousands sent at once would time out."""

_PROBE = "$JS.API.STREAM.INFO.PQ"
"""A stream that does not exist: JetStream's leader answers that, whichever servers are away."""
_PROBE_S = 2.0

_USER_INFO = "$SYS.REQ.USER.INFO"
_USER_INFO_S = 2.0

_LONGEST_NAME = 128
"""Characters kept of an account's name."""

_TROUBLES = 8
"""Kinds of errors kept for a connection that cannot be established."""

_TENANTS_REQUESTS_AT_ONCE = 16
_TENANTS_BYTES_PER_S = 4 * 1024 * 1024
_TENANTS_LARGEST_BYTES = 16 * 1024 * 1024
"""Of a NATS that a Secret names. The list of an account's streams is sent in parts of less than one MiB."""

_WAITING_BYTES, _WAITING_MESSAGES = 4 * 1024 * 1024, 10_000
"""How many unprocessed messages a subscription holds. More are dropped: they are only hints."""

_LINES, _LINE_S = 20, 30.0
"""Lines that a connection logs at once, and after how long it may log one more."""


class Connection:
    """One connection that is sought until `close`; asking while it is down, or answers nothing, fails at once.

    One that is not `trusted`, as it was a tenant who said where to, is read from no faster than is good for the others,
    and why it cannot be established is only logged: otherwise tenants could use the operator to scan ports.
    """

    def __init__(self, credentials: Credentials, on_change: Callable[[bool], None], *, trusted: bool = True) -> None:
        self.credentials = credentials
        bounds = {} if trusted else {"largest_bytes": _TENANTS_LARGEST_BYTES, "bytes_per_s": _TENANTS_BYTES_PER_S}
        self._client = DirectClient(credentials.inboxes, **bounds)
        self._slots = asyncio.Semaphore(_REQUESTS_AT_ONCE if trusted else _TENANTS_REQUESTS_AT_ONCE)
        self._trusted = trusted
        self._connecting: asyncio.Task[None] | None = None
        self._opened_at: float | None = None
        self._was_up = False
        self._on_change = on_change
        self._liveness = Liveness(self._answers, self._changed)
        self._listening: asyncio.Task[None] | None = None
        self._account: str | None = None
        self._troubles: dict[str, str] = {}
        """Errors since the connection was last established or lost, by kind.

        Each of several servers may report a different one, and one server a different one each time.
        """
        self._log = _RateLimitedLog()

    def open(self) -> None:
        """Start connecting, in the background."""
        self._opened_at = time.monotonic()
        self._connecting = asyncio.create_task(self._connect(), name="nats connection")

    def trust(self) -> None:
        """It turned out to be the operator's own NATS."""
        if not self._trusted:
            self._trusted = True
            self._client.lift_bounds()
            self._slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    @property
    def is_on_its_way(self) -> bool:
        """Whether it was just opened and is not established yet, so that NATS does not count as away yet."""
        if self._was_up or self._opened_at is None:
            return False
        return time.monotonic() - self._opened_at < _FIRST_CONNECTION_S

    @property
    def is_up(self) -> bool:
        return self._client.is_connected and self._liveness.is_alive

    async def request(
        self, subject: str, payload: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Raises BrokerUnavailable."""
        async with self._slots:
            self._require()
            try:
                message = await self._liveness.wait_for(
                    self._client.request(subject, payload, timeout=timeout_s, headers=dict(headers or {}) or None)
                )
                self._liveness.answered()
                return message
            except TimeoutError:  # nats-py's own, or the server no longer answers
                self._require()
                raise Unanswered(f"NATS did not answer on {subject} within {timeout_s:g} s") from None
            except NoRespondersError:
                self._liveness.answered()
                raise BrokerUnavailable(f"no responders on {subject}: is JetStream enabled for this account?") from None
            except (NatsError, OSError) as error:
                raise BrokerUnavailable(self._said(error)) from error

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish without an answer: the message may be lost with the connection. Raises BrokerUnavailable."""
        self._require()
        try:
            await self._client.publish(subject, payload)
        except (NatsError, OSError) as error:
            raise BrokerUnavailable(self._said(error)) from error

    async def account(self) -> str:
        """The account's name according to the server; empty if it does not tell. Raises BrokerUnavailable."""
        if self._account is None:
            try:
                answer = await self.request(_USER_INFO, b"", _USER_INFO_S)
                self._account = one_line(str(json.loads(answer.data)["data"]["account"]), _LONGEST_NAME)
            except BrokerUnavailable:
                self._require()
                self._account = ""
            except (KeyError, TypeError, ValueError, RecursionError):  # what answers there is not a NATS server
                self._account = ""
        return self._account

    async def subscribe(self, subject: str, callback: Callable[[Msg], None], *, limit: int = 0) -> Subscription:
        """`callback` must not block; a subscription with a `limit` ends by itself. Raises BrokerUnavailable."""
        self._require()

        async def deliver(message: Msg) -> None:
            callback(message)

        try:
            subscription = await self._client.subscribe(
                subject, cb=deliver, pending_msgs_limit=_WAITING_MESSAGES, pending_bytes_limit=_WAITING_BYTES
            )
            if limit:
                await subscription.unsubscribe(limit=limit)
        except NatsError as error:
            raise BrokerUnavailable(self._said(error)) from error
        return subscription

    async def request_many(self, subject: str, most: int, within_s: float) -> list[bytes]:
        """The answers of all listeners in time, or the first `most`; empty if there is no listener.

        Raises BrokerUnavailable.
        """
        answers: list[bytes] = []
        enough = asyncio.Event()

        def heard(message: Msg) -> None:
            if message.headers and message.headers.get("Status") == NO_RESPONDERS_STATUS:
                enough.set()
                return
            answers.append(message.data)
            if len(answers) >= most:
                enough.set()

        inbox = self._client.new_inbox()
        subscription = await self.subscribe(inbox, heard)
        try:
            await self._client.publish(subject, reply=inbox)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await enough.wait()
            await subscription.unsubscribe()
        except NatsError as error:
            raise BrokerUnavailable(self._said(error)) from error
        return answers

    async def ask_many(
        self, requests: Sequence[tuple[str, bytes]], arrived: Arrived, is_done: asyncio.Event, within_s: float
    ) -> None:
        """Send requests, subject and data, for which many messages come; returns when `is_done` is set by `arrived`.

        Raises BrokerUnavailable.
        """
        async with self._slots:
            self._require()
            inbox = self._client.new_inbox()
            asked = "".join(f"PUB {subject} {inbox} {len(data)}\r\n{data.decode()}\r\n" for subject, data in requests)
            try:
                subscription = await self._client.subscribe_direct(inbox, arrived)
                try:
                    await self._client.send(asked.encode())
                    async with asyncio.timeout(within_s):
                        await self._liveness.wait_for(is_done.wait())
                    self._liveness.answered()
                finally:
                    await subscription.unsubscribe()
            except TimeoutError:
                self._require()
                raise Unanswered(f"NATS did not answer on {requests[0][0]} within {within_s:g} s") from None
            except (NatsError, OSError) as error:
                raise BrokerUnavailable(self._said(error)) from error

    async def send(self, commands: bytes) -> None:
        """Send commands of the protocol as they are, to which nothing answers. Raises BrokerUnavailable."""
        self._require()
        try:
            await self._client.send(commands)
        except (NatsError, OSError) as error:
            raise BrokerUnavailable(self._said(error)) from error

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes."""
        return self._client.max_payload

    async def close(self) -> None:
        if self._connecting:
            await cancel(self._connecting)
        with contextlib.suppress(NatsError, OSError):
            await self._client.close()
        if self._listening:
            await cancel(self._listening)

    def _require(self) -> None:
        if not self._client.is_connected:
            raise BrokerUnavailable(f"no connection to {self.shown}{self._why}")
        if not self._liveness.is_alive:
            raise BrokerUnavailable(f"NATS at {self.shown} accepts connections but is not responding; retrying")

    @property
    def shown(self) -> str:
        """The server's address, for people."""
        return one_line(self.credentials.where)

    @property
    def _why(self) -> str:
        if not self._trusted:
            refused = " (NATS refused the credentials)" if _REFUSED in self._troubles else ""
            return f"{refused}; retrying, see the operator's log"
        why = f" ({'; '.join(sorted(self._troubles.values()))})" if self._troubles else ""
        return f"{why}; retrying"

    def _said(self, error: Exception) -> str:
        return f"NATS at {self.shown}: {shown_error(error) if self._trusted else 'the connection was lost'}"

    async def _answers(self) -> bool:
        try:
            await self._client.request(_PROBE, b"", timeout=_PROBE_S)
        except NoRespondersError:
            return True
        except (NatsError, OSError) as error:
            await self._failed(error)
            return False
        return True

    def _changed(self, answers: bool) -> None:
        if not answers and self._client.is_connected:
            self._log.warning("nats not responding: servers=%s; retrying", self.shown)
        self._troubles.clear()
        self._was_up |= answers
        self._on_change(answers)

    async def _connect(self) -> None:
        while not self._client.is_connected:
            try:
                await self._client.connect(
                    name="protoqueue-operator",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT_S,
                    connect_timeout=5,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    no_echo=True,
                    error_cb=self._failed,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._found,
                    **_options(self.credentials),
                )
            except (NatsError, OSError, ValueError) as error:
                await self._failed(error)
                await asyncio.sleep(_RECONNECT_WAIT_S)
        await self._found()

    async def _failed(self, error: Exception) -> None:
        """Log each kind of error once, not once a second."""
        words = shown_error(error)
        kind = _REFUSED if "authorization violation" in words.lower() else type(error).__name__
        if kind not in self._troubles:
            self._log.warning("nats error: servers=%s error=%s (%s)", self.shown, words, type(error).__name__)
        if kind in self._troubles or len(self._troubles) < _TROUBLES:
            self._troubles[kind] = words

    async def _lost(self) -> None:
        self._troubles.clear()
        self._log.warning("nats disconnected: servers=%s; reconnecting", self.shown)
        if self._listening:
            await cancel(self._listening)

    async def _found(self) -> None:
        self._log.info("nats connected: servers=%s", self.shown)
        self._troubles.clear()
        self._account = None
        self._listening = asyncio.create_task(self._liveness.run(), name="nats liveness")


_REFUSED = "refused"
"""The kind of error for credentials that a server rejects."""


class _RateLimitedLog:
    """The log of one connection, rate limited: a server that accepts and disconnects each second does not flood it."""

    def __init__(self) -> None:
        self._left = float(_LINES)
        self._at = time.monotonic()

    def warning(self, text: str, *values: object) -> None:
        self._write(logging.WARNING, text, values)

    def info(self, text: str, *values: object) -> None:
        self._write(logging.INFO, text, values)

    def _write(self, level: int, text: str, values: tuple[object, ...]) -> None:
        now = time.monotonic()
        self._left = min(float(_LINES), self._left + (now - self._at) / _LINE_S)
        self._at = now
        if self._left < 1:
            level = logging.DEBUG
        else:
            self._left -= 1
        logger.log(level, text, *values)


def _options(credentials: Credentials) -> dict[str, Any]:
    """The options for nats-py. Raises ValueError for invalid certificates."""
    options: dict[str, Any] = {"servers": list(credentials.servers)}
    if credentials.creds:
        options["user_credentials"] = RawCredentials(credentials.creds)
    if credentials.nkey:
        options["nkeys_seed_str"] = credentials.nkey
    if credentials.token:
        options["token"] = credentials.token
    if credentials.user:
        options |= {"user": credentials.user, "password": credentials.password}
    if credentials.ca or credentials.certificate:
        options["tls"] = _tls(credentials)
    return options


def _tls(credentials: Credentials) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=credentials.ca or None)
        if credentials.certificate:
            with _in_memory(f"{credentials.certificate}\n{credentials.key}") as file:
                context.load_cert_chain(file)
    except (ssl.SSLError, TypeError, ValueError):
        raise ValueError(
            "ca.crt, tls.crt or tls.key is not PEM text, or the key does not belong to the certificate"
        ) from None
    return context


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A file with this text, as OpenSSL reads keys from files only; not on a disk, if the system allows that."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory() as directory:  # readable by no other user, and gone immediately
            file = Path(directory, "client.pem")
            file.write_text(text)
            yield str(file)
        return
    descriptor = os.memfd_create("client.pem")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

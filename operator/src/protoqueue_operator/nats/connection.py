"""Connections to NATS, each kept up for ever."""

import asyncio
import contextlib
import json
import logging
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nats.aio.client import NO_RESPONDERS_STATUS, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from protoqueue.cancellation import cancel
from protoqueue.connection.lasting import LastingClient
from protoqueue_operator.adapters.pulse import Pulse
from protoqueue_operator.core.credentials import Credentials
from protoqueue_operator.core.refusals import BrokerUnavailable, Unanswered

logger = logging.getLogger(__name__)

_RECONNECT_WAIT_S = 1
_REQUESTS_AT_ONCE = 128
"""The server queues API requests of all clients in one place: whoever sends thousands at once times out."""

_ANYBODY_THERE = "$JS.API.STREAM.INFO.PQ"
"""Of a stream that no Queue has: whoever leads JetStream says that there is none, whichever servers are away."""
_ANYBODY_THERE_S = 2.0

_WHO_AM_I = "$SYS.REQ.USER.INFO"
_WHO_AM_I_S = 2.0


class Connection:
    """One connection that is sought until `close`; asking while it is down, or answers nothing, fails at once."""

    def __init__(self, credentials: Credentials, on_change: Callable[[bool], None]) -> None:
        self.credentials = credentials
        self._client = LastingClient()
        self._slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._connecting: asyncio.Task[None] | None = None
        self._on_change = on_change
        self._pulse = Pulse(self._answers, self._changed)
        self._listening: asyncio.Task[None] | None = None
        self._account: str | None = None
        self._troubles: set[str] = set()
        """What went wrong since the connection was last made or lost: each of several servers says something else."""

    def open(self) -> None:
        """Start connecting, in the background."""
        self._connecting = asyncio.create_task(self._connect(), name="nats connection")

    @property
    def is_up(self) -> bool:
        return self._client.is_connected and self._pulse.beats

    async def request(
        self, subject: str, payload: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Raises BrokerUnavailable."""
        async with self._slots:
            self._require()
            try:
                message = await self._pulse.of(
                    self._client.request(subject, payload, timeout=timeout_s, headers=dict(headers or {}) or None)
                )
                self._pulse.heard()
                return message
            except TimeoutError:  # nats-py's own, or nothing is answered any more
                self._require()
                raise Unanswered(f"NATS did not answer on {subject} within {timeout_s:g} s") from None
            except NoRespondersError:
                self._pulse.heard()
                raise BrokerUnavailable(
                    f"nobody answers on {subject}: is JetStream enabled for this account?"
                ) from None
            except (NatsError, OSError) as error:
                raise BrokerUnavailable(f"NATS at {self.credentials.where}: {_words(error)}") from error

    async def account(self) -> str:
        """As the server names the account; empty where it does not tell. Raises BrokerUnavailable."""
        if self._account is None:
            try:
                answer = await self.request(_WHO_AM_I, b"", _WHO_AM_I_S)
                self._account = str(json.loads(answer.data)["data"]["account"])
            except BrokerUnavailable:
                self._require()
                self._account = ""
            except (KeyError, TypeError, ValueError, RecursionError):  # whatever answers there is no server of NATS
                self._account = ""
        return self._account

    async def subscribe(self, subject: str, callback: Callable[[Msg], None], *, limit: int = 0) -> Subscription:
        """`callback` must not block; a subscription with a `limit` ends by itself. Raises BrokerUnavailable."""
        self._require()

        async def deliver(message: Msg) -> None:
            callback(message)

        try:
            subscription = await self._client.subscribe(subject, cb=deliver)
            if limit:
                await subscription.unsubscribe(limit=limit)
        except NatsError as error:
            raise BrokerUnavailable(f"NATS at {self.credentials.where}: {_words(error)}") from error
        return subscription

    async def ask_everybody(self, subject: str, most: int, within_s: float) -> list[bytes]:
        """What those who listen there answer: all that comes in time, or as many as `most`; nothing where nobody does.

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
            raise BrokerUnavailable(f"NATS at {self.credentials.where}: {_words(error)}") from error
        return answers

    async def close(self) -> None:
        if self._connecting:
            await cancel(self._connecting)
        with contextlib.suppress(NatsError, OSError):
            await self._client.close()
        if self._listening:
            await cancel(self._listening)

    def _require(self) -> None:
        if not self._client.is_connected:
            why = f" ({'; '.join(sorted(self._troubles))})" if self._troubles else ""
            raise BrokerUnavailable(
                f"there is no connection to {self.credentials.where}{why}; the operator keeps trying"
            )
        if not self._pulse.beats:
            raise BrokerUnavailable(
                f"NATS at {self.credentials.where} lets the operator in and does not answer; the operator asks on"
            )

    async def _answers(self) -> bool:
        try:
            await self._client.request(_ANYBODY_THERE, b"", timeout=_ANYBODY_THERE_S)
        except NoRespondersError:
            return True
        except (NatsError, OSError) as error:
            await self._failed(error)
            return False
        return True

    def _changed(self, answers: bool) -> None:
        if not answers and self._client.is_connected:
            logger.warning("nats silent: servers=%s; asking it until it answers", self.credentials.where)
        self._troubles.clear()
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
        """Once for each kind of trouble, not once a second."""
        words = _words(error)
        if words not in self._troubles:
            logger.warning("nats error: servers=%s error=%s", self.credentials.where, words)
        self._troubles.add(words)

    async def _lost(self) -> None:
        self._troubles.clear()
        logger.warning("nats lost: servers=%s; seeking it until it is back", self.credentials.where)
        if self._listening:
            await cancel(self._listening)

    async def _found(self) -> None:
        logger.info("nats connected: servers=%s", self.credentials.where)
        self._troubles.clear()
        self._account = None
        self._listening = asyncio.create_task(self._pulse.run(), name="nats pulse")


def _words(error: Exception) -> str:
    """What went wrong, on one line; neither nats-py nor the server puts credentials there, and URLs were checked."""
    return " ".join((str(error) or type(error).__name__).split())


def _options(credentials: Credentials) -> dict[str, Any]:
    """As nats-py takes them. Raises ValueError for certificates that are none."""
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
            with tempfile.TemporaryDirectory() as directory:  # readable by nobody else, and gone in a moment
                file = Path(directory, "client.pem")
                file.write_text(f"{credentials.certificate}\n{credentials.key}")
                context.load_cert_chain(file)
    except (ssl.SSLError, TypeError, ValueError):
        raise ValueError("ca.crt, tls.crt or tls.key is no PEM text, or the key is another certificate's") from None
    return context

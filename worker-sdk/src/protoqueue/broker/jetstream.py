"""The broker that is a NATS server with JetStream."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from protoqueue.connection.batch import publish_batch
from protoqueue.connection.broker import (
    ConsumerState,
    Ended,
    Message,
    Published,
    Receive,
    Revision,
    StoredMessage,
    StreamState,
    Subscription,
)
from protoqueue.connection.direct import DirectClient
from protoqueue.connection.lasting import UnreadableCredentials
from protoqueue.connection.options import ConnectionOptions
from protoqueue.connection.pulls import JetStreamInbox
from protoqueue.connection.replies import (
    MESSAGE_NOT_FOUND,
    NOTHING_TO_DELETE,
    STREAM_NOT_FOUND,
    parse_consumer_state,
    parse_published,
    parse_stored,
    parse_stream_state,
    refusal,
)
from protoqueue.connection.requests import ONE_TRY_S, NobodyListens, Requests
from protoqueue.connection.wire import encode_answer
from protoqueue.errors import ConfigurationError, PayloadTooLarge, Unavailable
from protoqueue.naming import CONFIG_BUCKET
from protoqueue.servers import shown_server

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.5
PING_INTERVAL_S = 10


class JetStreamBroker:
    """See `Broker` for what its methods promise."""

    def __init__(self, nc: DirectClient) -> None:
        self._nc = nc
        self._requests = Requests(nc)
        self._reconnected: list[Callable[[], None]] = []
        self._closing = False

    @classmethod
    async def connect(cls, options: ConnectionOptions, timeout_s: float) -> "JetStreamBroker":
        """Connect, and from then on reconnect for ever. Raises Unavailable, or ConfigurationError for bad credentials.

        nats-py keeps its callbacks on the connection, so they are bound before there is one.
        """
        nc = DirectClient()
        broker = cls(nc)
        try:
            async with asyncio.timeout(timeout_s):
                await nc.connect(
                    servers=options.servers,
                    name=options.name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # it takes fractions
                    ping_interval=PING_INTERVAL_S,
                    error_cb=_log_error,
                    disconnected_cb=broker._on_disconnect,
                    reconnected_cb=broker._on_reconnect,
                    **options.credentials(),
                )
                await broker._requests.open()
        except UnreadableCredentials as error:
            raise ConfigurationError(f"the NATS credentials cannot be used: {error}") from error
        except (TimeoutError, nats.errors.Error) as error:
            refused = nc.last_error
            broker._closing = True  # there was no connection that could be lost
            await nc.close()
            if isinstance(refused, UnreadableCredentials):
                raise ConfigurationError(f"the NATS credentials cannot be used: {refused}") from error
            if "authorization" in str(refused).lower():
                raise ConfigurationError(
                    "NATS refused the credentials: check the URL's user, or the creds file"
                ) from error
            where = ", ".join(shown_server(server) for server in options.servers)
            raise Unavailable(f"no NATS server answered at {where} within {timeout_s:g} s") from error
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the NATS credentials or URL cannot be used: {error}") from error
        return broker

    async def _on_disconnect(self) -> None:
        if not self._closing:
            log.warning("lost the connection to NATS; reconnecting for ever")

    async def _on_reconnect(self) -> None:
        log.info("reconnected to NATS")
        self._requests.renew()
        for call in self._reconnected:
            call()

    @property
    def max_payload(self) -> int:
        return self._nc.max_payload

    @property
    def connected(self) -> bool:
        return self._nc.is_connected

    def on_reconnect(self, call: Callable[[], None]) -> None:
        self._reconnected.append(call)

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        self._check_size(message)
        asked = self._requests.until_answered(message.subject, message.data, message.headers, timeout_s, ONE_TRY_S)
        return parse_published(await asked)

    def _check_size(self, message: Message) -> None:
        # nats-py counts the data alone, and the server ends the connection of whoever sends more.
        if message.size > self.max_payload:
            raise PayloadTooLarge(f"{message.size} bytes with headers; the server takes {self.max_payload}")

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None) -> None:
        for message in messages:
            self._check_size(message)
        await publish_batch(self._nc, self._requests, messages, timeout_s)

    async def answer(self, reply: str, token: bytes) -> None:
        if self._nc.is_connected:
            await self._nc.send(encode_answer(reply, token))
        else:  # nats-py keeps it for when it is
            await self._send(reply, token)

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        await self._requests.until_answered(reply, token, None, timeout_s)

    def open_inbox(self, stream: str, consumer: str, receive: Receive, ended: Ended) -> JetStreamInbox:
        return JetStreamInbox(self._nc, stream, consumer, receive, ended)

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        answer = await self._api(f"STREAM.MSG.GET.KV_{bucket}", {"last_by_subj": f"$KV.{bucket}.{key}"}, timeout_s)
        if answer is None:
            return Revision(None, 0)
        entry = parse_stored(answer)
        return Revision(None if "KV-Operation" in entry.headers else entry.data, entry.sequence)

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        return (await self.publish(Message(f"$KV.{bucket}.{key}", value, headers), timeout_s)).sequence

    async def watch_key(self, bucket: str, key: str, changed: Callable[[], None]) -> Subscription:
        async def heard(_message: Msg) -> None:
            changed()

        return await self._nc.subscribe(f"$KV.{bucket}.{key}", cb=heard)

    async def call(self, subject: str, data: bytes, timeout_s: float) -> bool:
        try:
            await self._requests.ask(subject, data, None, timeout_s)
        except (NobodyListens, TimeoutError):
            return False
        except nats.errors.Error as error:
            raise Unavailable(f"NATS is away: {error or type(error).__name__}") from error
        return True

    async def listen(self, subject: str, heard: Callable[[bytes], bytes | None]) -> Subscription:
        async def arrived(message: Msg) -> None:
            answer = heard(message.data)
            if answer is not None and message.reply:
                await self._send(message.reply, answer)

        return await self._nc.subscribe(subject, cb=arrived)

    async def server_time_us(self, timeout_s: float) -> int:
        # Any answer about a stream carries the time; the bucket that clients read anyway is there in any case.
        answer = await self._api(f"STREAM.INFO.KV_{CONFIG_BUCKET}", {}, timeout_s)
        if answer is None or "ts" not in answer:
            raise Unavailable(f"NATS does not tell its time: there is no bucket {CONFIG_BUCKET}")
        return (datetime.fromisoformat(answer["ts"]) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)

    async def stream_state(self, stream: str, timeout_s: float) -> StreamState | None:
        answer = await self._api(f"STREAM.INFO.{stream}", {}, timeout_s)
        return None if answer is None else parse_stream_state(answer)

    async def consumer_states(self, stream: str, timeout_s: float) -> list[ConsumerState]:
        states: list[ConsumerState] = []
        while True:
            answer = await self._api(f"CONSUMER.LIST.{stream}", {"offset": len(states)}, timeout_s)
            page = (answer or {}).get("consumers") or []
            states += [parse_consumer_state(info) for info in page]
            if answer is None or not page or len(states) >= answer["total"]:
                return states

    async def next_message(self, stream: str, sequence: int, subject: str, timeout_s: float) -> StoredMessage | None:
        body = {"seq": max(1, sequence), "next_by_subj": subject}
        answer = await self._api(f"STREAM.MSG.GET.{stream}", body, timeout_s)
        return None if answer is None else parse_stored(answer)

    async def delete_message(self, stream: str, sequence: int, timeout_s: float) -> bool:
        answer = await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}, timeout_s)
        return answer is not None and bool(answer.get("success"))

    async def purge(self, stream: str, subject: str | None, timeout_s: float) -> int:
        answer = await self._api(f"STREAM.PURGE.{stream}", {"filter": subject} if subject else {}, timeout_s)
        return 0 if answer is None else int(answer.get("purged", 0))

    async def close(self) -> None:
        """Send what is still buffered, then close; raises nothing when the server is away."""
        self._closing = True
        try:
            if self._nc.is_connected:
                await self._nc.flush(2)
        except (nats.errors.Error, TimeoutError, OSError):
            log.warning("closed the connection before NATS had taken everything")
        await self._nc.close()
        self._requests.renew()  # asking again tells who waits that there is nobody to ask

    async def _api(self, subject: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """One request to JetStream's API; None when the stream or the message does not exist."""
        request = json.dumps(body).encode()
        answer: dict[str, Any] = json.loads(
            await self._requests.until_answered(f"$JS.API.{subject}", request, None, timeout_s)
        )
        error = answer.get("error")
        if not error:
            return answer
        if error.get("err_code") in (STREAM_NOT_FOUND, MESSAGE_NOT_FOUND, *NOTHING_TO_DELETE):
            return None
        raise refusal(error)

    async def _send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        try:
            await self._nc.publish(subject, data, headers=dict(headers) if headers else None)
        except nats.errors.Error as error:
            raise Unavailable(f"NATS is away: {error or type(error).__name__}") from error


async def _log_error(error: Exception) -> None:
    # Each failed reconnect comes by here too: the first line about it was the one that said the connection is lost.
    quiet = isinstance(error, OSError | nats.errors.NoServersError)
    log.log(logging.DEBUG if quiet else logging.WARNING, "NATS error: %r", error)

"""The broker that is a NATS server with JetStream."""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from protoqueue.broker.atomic_batch import publish_batch
from protoqueue.broker.commands import encode_answer, encode_publishes
from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.direct_reads import DirectSubscription, read_last
from protoqueue.broker.interface import (
    IN_PROGRESS,
    ConsumerState,
    Ended,
    Message,
    Published,
    Receive,
    Revision,
    StoredMessage,
    StreamState,
    Subscription,
    Turn,
)
from protoqueue.broker.options import ConnectionOptions
from protoqueue.broker.pull_inbox import JetStreamInbox
from protoqueue.broker.reconnecting_client import NotEncrypted, UnreadableCredentials
from protoqueue.broker.replies import (
    MESSAGE_NOT_FOUND,
    NOTHING_TO_DELETE,
    STREAM_NOT_FOUND,
    TryAgain,
    parse_consumer_state,
    parse_published,
    parse_stored,
    parse_stream_state,
    refusal,
)
from protoqueue.broker.requests import ONE_TRY_S, NoResponders, Requests, retried
from protoqueue.errors import ConfigurationError, PayloadTooLarge, Unavailable
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.servers import shown_error, shown_server

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.5
PING_INTERVAL_S = 10

ASK_AGAIN_S = 5.0
"""How often a worker whose acknowledgements are refused checks whether they still are: permissions can change."""
_DIFFERENT_ERRORS = 20


class JetStreamBroker:
    """See `Broker` for what its methods promise."""

    def __init__(self, nc: DirectClient) -> None:
        self._nc = nc
        self._requests = Requests(nc)
        self._reconnected: list[Callable[[], None]] = []
        self._closing = False
        self._pulled_from: set[str] = set()
        self._answered = ""
        self._acks_refused: str | None = None
        self._refusals = 0
        self._asking_again: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        """What went wrong since the last connection was established: logged once, not with each try."""

    @classmethod
    async def connect(cls, options: ConnectionOptions, timeout_s: float) -> "JetStreamBroker":
        """Connect, and from then on reconnect for ever. Raises Unavailable, or ConfigurationError for bad credentials.

        nats-py keeps its callbacks on the connection, so they are bound before there is one.
        """
        try:
            nc = DirectClient(options.inboxes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the NATS credentials or URL are not valid: {shown_error(error)}") from None
        broker = cls(nc)
        try:
            async with asyncio.timeout(timeout_s):
                await nc.connect(
                    servers=options.servers,
                    name=options.name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_WAIT_S,
                    ping_interval=PING_INTERVAL_S,
                    error_cb=broker._on_error,
                    disconnected_cb=broker._on_disconnect,
                    reconnected_cb=broker._on_reconnect,
                    **options.credentials(),
                )
                await broker._requests.open()
        except UnreadableCredentials as error:
            raise ConfigurationError(f"the NATS credentials are not valid: {error}") from error
        except (TimeoutError, nats.errors.Error) as error:
            refused = nc.last_error
            broker._closing = True  # there was no connection to lose
            await nc.close()
            if isinstance(refused, UnreadableCredentials):
                raise ConfigurationError(f"the NATS credentials are not valid: {refused}") from error
            if isinstance(refused, NotEncrypted):
                where = ", ".join(shown_server(server) for server in options.servers)
                raise ConfigurationError(
                    f"{where}: {refused}. Turn TLS on in the server, or, where the network is trusted, write nats:// "
                    "and give no certificate"
                ) from error
            if "authorization" in str(refused).lower():
                raise ConfigurationError(
                    "NATS rejected the credentials: check the user in the URL or the credentials file"
                ) from error
            where = ", ".join(shown_server(server) for server in options.servers)
            raise Unavailable(f"no NATS server responded at {where} within {timeout_s:g} s") from error
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the NATS credentials or URL are not valid: {shown_error(error)}") from None
        return broker

    async def _on_disconnect(self) -> None:
        if not self._closing:
            log.warning("lost the connection to NATS; reconnecting")

    async def _on_reconnect(self) -> None:
        log.info("reconnected to NATS")
        self._acks_accepted()  # until the first is refused
        self._told.clear()
        self._requests.renew()
        for call in self._reconnected:
            call()

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        if "permissions violation for publish to" in text.lower() and '"$js.ack.' in text.lower():
            self._refusals += 1
            if self._acks_refused is None:
                self._acks_refused = ack_permissions(self._pulled_from)
                log.error(
                    "NATS rejects this worker's acknowledgements, so it takes no more tasks: %s", self._acks_refused
                )
                self._asking_again = asyncio.create_task(self._ask_again(self._answered))
            return
        # Each failed reconnect gets here too: the line that said the connection is lost was the first about it.
        words = f"{shown_error(error)} ({type(error).__name__})"
        quiet = isinstance(error, OSError | nats.errors.NoServersError) or words in self._told
        if len(self._told) < _DIFFERENT_ERRORS:
            self._told.add(words)
        log.log(logging.DEBUG if quiet else logging.WARNING, "NATS error: %s", words)

    async def _ask_again(self, reply: str) -> None:
        """Until it is accepted, extend the lease of a task that was answered, which has no effect on a settled one."""
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            refusals = self._refusals
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._nc.publish(reply, IN_PROGRESS)
                await self._nc.flush(round(ASK_AGAIN_S))
                if refusals == self._refusals:
                    log.info("NATS accepts this worker's acknowledgements again")
                    self._asking_again = None
                    self._acks_accepted()
                    return

    def _acks_accepted(self) -> None:
        self._acks_refused = None
        if self._asking_again is not None:
            self._asking_again.cancel()
            self._asking_again = None

    @property
    def acks_refused(self) -> str | None:
        return self._acks_refused

    @property
    def max_payload(self) -> int:
        return self._nc.max_payload

    @property
    def connected(self) -> bool:
        return self._nc.is_connected

    def now(self) -> datetime:
        return datetime.now(UTC)

    def on_time_moved(self, call: Callable[[timedelta], None]) -> None:
        """With a server, time only passes by itself."""

    def on_reconnect(self, call: Callable[[], None]) -> None:
        self._reconnected.append(call)

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        self._check_size(message)

        async def once(left_s: float) -> Published:
            ask = self._requests.attempt
            return parse_published(await ask(message.subject, message.data, message.headers, left_s, repeatable=True))

        return await retried(once, message.subject, timeout_s, ONE_TRY_S)

    def _check_size(self, message: Message) -> None:
        # nats-py counts only the data, and the server closes a connection that sends more.
        if message.size > self.max_payload:
            raise PayloadTooLarge(
                f"the message has {message.size} bytes with headers, the server allows {self.max_payload}"
            )

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None, turn: Turn) -> None:
        for message in messages:
            self._check_size(message)
        await publish_batch(self._nc, self._requests, messages, timeout_s, turn)

    async def publish_many(self, messages: Sequence[tuple[str, bytes]], timeout_s: float) -> None:
        for chunk in encode_publishes(messages[:-1]):
            if not self._nc.is_connected:  # nats-py would keep it until the connection is back
                break
            await self._nc.send(chunk)
        if not self._nc.is_connected:
            raise Unavailable("not connected to NATS")
        subject, data = messages[-1]
        parse_published(await self._requests.attempt(subject, data, None, timeout_s, repeatable=True))

    async def answer(self, reply: str, token: bytes) -> None:
        self._requests.check_loop()
        self._answered = reply
        if self._nc.is_connected:
            await self._nc.send(encode_answer(reply, token))
        else:  # nats-py keeps it until the connection is back
            await self._send(reply, token)

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        await self._requests.request(reply, token, None, timeout_s)

    def open_inbox(self, stream: str, consumer: str, receive: Receive, ended: Ended) -> JetStreamInbox:
        self._pulled_from.add(f"{stream}.{consumer}")
        return JetStreamInbox(self._nc, stream, consumer, receive, ended)

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        answer = await self._api(f"STREAM.MSG.GET.KV_{bucket}", {"last_by_subj": f"$KV.{bucket}.{key}"}, timeout_s)
        if answer is None:
            return Revision(None, 0)
        entry = parse_stored(answer)
        return Revision(None if "KV-Operation" in entry.headers else entry.data, entry.sequence)

    async def read_value(self, bucket: str, key: str, timeout_s: float) -> bytes | None:
        subject = f"$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}"

        async def once(left_s: float) -> bytes | None:
            try:  # if there is nothing, the answer has no data
                return await self._requests.ask(subject, b"", None, left_s, repeatable=True) or None
            except NoResponders:
                return None
            except (TimeoutError, nats.errors.Error) as error:
                raise TryAgain("NATS did not respond" if self.connected else "not connected to NATS") from error

        return await retried(once, subject, timeout_s, ONE_TRY_S)

    async def keys(self, bucket: str, under: str, timeout_s: float) -> list[str]:
        prefix = f"$KV.{bucket}."
        which = f"{prefix}{under}.>" if under else f"{prefix}>"
        subjects = await self.count_by_subject(f"KV_{bucket}", which, timeout_s) or ()
        return [subject.removeprefix(prefix) for subject in subjects]

    async def count_messages(self, stream: str, subject: str, timeout_s: float) -> int | None:
        subjects = await self.count_by_subject(stream, subject, timeout_s)
        return None if subjects is None else sum(subjects.values())

    async def count_by_subject(self, stream: str, subject: str, timeout_s: float) -> dict[str, int] | None:
        found: dict[str, int] = {}
        while True:
            body = {"subjects_filter": subject, "offset": len(found)}
            answer = await self._api(f"STREAM.INFO.{stream}", body, timeout_s)
            if answer is None:
                return None
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        headers = {Header.EXPECTED_SEQUENCE: str(revision)}
        return (await self.publish(Message(f"$KV.{bucket}.{key}", value, headers), timeout_s)).sequence

    async def watch_key(self, bucket: str, key: str, changed: Callable[[], None]) -> Subscription:
        async def heard(_message: Msg) -> None:
            changed()

        return await self._nc.subscribe(f"$KV.{bucket}.{key}", cb=heard)

    async def call(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        try:
            return await self._requests.ask(subject, data, None, timeout_s)
        except (NoResponders, TimeoutError):
            return None
        except nats.errors.Error as error:
            raise Unavailable(f"not connected to NATS: {error or type(error).__name__}") from error

    async def call_all(self, subject: str, data: bytes, wait_s: float) -> list[bytes]:
        answers: list[bytes] = []
        heard = asyncio.Event()

        async def arrived(message: Msg) -> None:
            if (message.headers or {}).get("Status") == "503":  # no listener
                heard.set()
            else:
                answers.append(message.data)

        try:
            inbox = self._nc.new_inbox()
            subscription = await self._nc.subscribe(inbox, cb=arrived)
            try:
                await self._nc.publish(subject, data, reply=inbox)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), wait_s)
            finally:
                await subscription.unsubscribe()
        except nats.errors.Error as error:
            raise Unavailable(f"not connected to NATS: {error or type(error).__name__}") from error
        return answers

    async def listen(self, subject: str, heard: Callable[[bytes], bytes | None]) -> Subscription:
        async def arrived(message: Msg) -> None:
            answer = heard(message.data)
            if answer is not None and message.reply:
                await self._send(message.reply, answer)

        return await self._nc.subscribe(subject, cb=arrived)

    async def overhear(self, subject: str, heard: Callable[[str, bytes], None]) -> Subscription:
        def arrived(on: bytes, _reply: bytes, data: bytes, _headers: bytes) -> None:
            heard(on.decode(), data)

        try:
            subscription = await self._nc.subscribe_direct(subject, arrived)
        except nats.errors.Error as error:
            raise Unavailable(f"not connected to NATS: {error or type(error).__name__}") from error
        with contextlib.suppress(nats.errors.Error, OSError):  # otherwise it is sent with the next connection
            await self._nc.flush(round(ONE_TRY_S))
        return DirectSubscription(self._nc, subscription)

    async def server_time_us(self, timeout_s: float) -> int:
        # Any answer about a stream carries the time; this bucket always exists, as clients read it.
        answer = await self._api(f"STREAM.INFO.KV_{CONFIG_BUCKET}", {}, timeout_s)
        if answer is None or "ts" not in answer:
            raise Unavailable(f"the time of NATS cannot be read: the bucket {CONFIG_BUCKET} does not exist")
        return (datetime.fromisoformat(answer["ts"]) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)

    async def stream_state(self, stream: str, timeout_s: float) -> StreamState | None:
        answer = await self._api(f"STREAM.INFO.{stream}", {}, timeout_s)
        return None if answer is None else parse_stream_state(answer)

    async def stream_states(self, timeout_s: float) -> dict[str, StreamState]:
        states: dict[str, StreamState] = {}
        offset = 0
        while True:
            answer = await self._api("STREAM.LIST", {"offset": offset}, timeout_s) or {}
            page, missing = answer.get("streams") or [], answer.get("missing") or []
            states |= {info["config"]["name"]: parse_stream_state(info) for info in page}
            offset += len(page) + len(missing)  # no server that leads the missing ones answers now
            if not (page or missing) or offset >= answer["total"]:
                return states

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
        return None if answer is None else parse_stored(answer, stream)

    async def last_messages(self, stream: str, subjects: Sequence[str], timeout_s: float) -> list[StoredMessage]:
        return await read_last(self._nc, stream, subjects, timeout_s)

    async def last_message(self, stream: str, subject: str, timeout_s: float) -> StoredMessage | None:
        answer = await self._api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, timeout_s)
        return None if answer is None else parse_stored(answer, stream)

    async def delete_message(self, stream: str, sequence: int, timeout_s: float) -> bool:
        answer = await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}, timeout_s)
        return answer is not None and bool(answer.get("success"))

    async def purge(self, stream: str, subject: str | None, timeout_s: float, before: int | None = None) -> int:
        which = ({"filter": subject} if subject else {}) | ({"seq": before} if before is not None else {})
        answer = await self._api(f"STREAM.PURGE.{stream}", which, timeout_s)
        return 0 if answer is None else int(answer.get("purged", 0))

    async def close(self) -> None:
        """Send what is still buffered, then close; raises nothing when the server is away."""
        self._requests.check_loop()
        self._closing = True
        self._acks_accepted()
        try:
            if self._nc.is_connected:
                await self._nc.flush(2)
        except (nats.errors.Error, TimeoutError, OSError):
            log.warning("closed the connection before everything was sent to NATS")
        await self._nc.close()
        self._requests.renew()  # a repeated request tells waiting callers that nobody is there to answer

    async def _api(self, subject: str, body: Mapping[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """One request to JetStream's API; None when the stream or the message does not exist."""
        request = json.dumps(body).encode()

        async def once(left_s: float) -> dict[str, Any] | None:
            answer: dict[str, Any] = json.loads(
                await self._requests.attempt(f"$JS.API.{subject}", request, None, left_s)
            )
            error = answer.get("error")
            if not error:
                return answer
            if error.get("err_code") in (STREAM_NOT_FOUND, MESSAGE_NOT_FOUND, *NOTHING_TO_DELETE):
                return None
            raise refusal(error)

        return await retried(once, f"$JS.API.{subject}", timeout_s, math.inf)

    async def _send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        try:
            await self._nc.publish(subject, data, headers=dict(headers) if headers else None)
        except nats.errors.Error as error:
            raise Unavailable(f"not connected to NATS: {error or type(error).__name__}") from error


def ack_permissions(consumers: Iterable[str]) -> str:
    """What a NATS user must be allowed to acknowledge what `<stream>.<consumer>` deliver, as a sentence."""
    subjects = (f'"{prefix}.{each}.>"' for each in sorted(consumers) for prefix in ("$JS.ACK", "$JS.ACK.*.*"))
    return f"allow its NATS user to publish to {', '.join(subjects)}"

"""JetStream through its request API (`$JS.API.*`), in the server's own JSON: client libraries lag behind its fields."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protoqueue.protocol.servers import one_line
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable, Unanswered
from protoqueue_operator.jetstream.assets import PAUSED_UNTIL
from protoqueue_operator.jetstream.errors import refused
from protoqueue_operator.nats.connection import Connection

Json = dict[str, Any]

_TIMEOUT_S = 5.0
_STREAM_NOT_FOUND = 10059
_CONSUMER_NOT_FOUND = 10014
_MESSAGE_NOT_FOUND = 10037
_DELETED_AT_ONCE = 250
"""The server queues the requests of all clients together."""
_NOTHING_TO_DELETE = (10043, 10057)
"""A sequence after the first message's, one before it."""
_PASSING = {10008, 10023, 10077} | {503}
"""JetStream is unavailable or short of resources for the moment: retry, it is no configuration error."""

_STREAM_CONFIG = {"name": str, "retention": str, "storage": str, "num_replicas": int}
_STREAM_STATE = {"messages": int, "first_ts": str, "last_seq": int}
_CONSUMER = {
    "stream_name": str, "name": str, "config": dict, "num_pending": int, "num_ack_pending": int, "delivered": dict,
}  # fmt: skip
"""The fields that the operator reads, and every server sends."""


@dataclass(frozen=True)
class Page:
    """A page of a list. For the `missing` no server answers, as when the one that holds them is away."""

    found: list[Json]
    missing: list[str]


class JetStream:
    """Reads and writes, without decisions. Every method raises BrokerUnavailable and BrokerRefused."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def stream(self, name: str, within: str = "") -> Json | None:
        """Configuration and state; None if there is no such stream.

        The state counts, by subject, the messages on subjects matching `within`.
        """
        request = {"subjects_filter": within} if within else {}
        found = await self._find(f"STREAM.INFO.{name}", request, _STREAM_NOT_FOUND)
        return None if found is None else self._stream(found)

    async def subjects(self, stream: str, within: str) -> set[str]:
        """The subjects matching `within` on which messages are stored; empty where there is no such stream."""
        info = await self.stream(stream, within)
        return set((info or {"state": {}})["state"].get("subjects") or ())

    async def count(self, stream: str, within: str) -> int:
        """How many messages are stored on the subjects matching `within`."""
        info = await self.stream(stream, within)
        return sum(((info or {"state": {}})["state"].get("subjects") or {}).values())

    async def streams(self) -> AsyncIterator[Page]:
        """Every stream of the account, page by page."""
        async for page in self._pages("STREAM.LIST", "streams"):
            yield page

    async def consumers(self, stream: str) -> list[Json] | None:
        """Every consumer of the stream; None if there is no such stream.

        Raises Unanswered if some are missing from the answer: these must not be taken for deleted.
        """
        try:
            pages = [page async for page in self._pages(f"CONSUMER.LIST.{stream}", "consumers")]
        except NotFound:
            return None
        if missing := [name for page in pages for name in page.missing]:
            raise Unanswered(f"no server answers for the consumers {', '.join(missing)} of {stream}")
        return [consumer for page in pages for consumer in page.found]

    async def consumer(self, stream: str, name: str) -> Json | None:
        found = await self._find(f"CONSUMER.INFO.{stream}.{name}", {}, _STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND)
        return None if found is None else self._consumer(found)

    async def create_stream(self, config: Mapping[str, Any]) -> None:
        await self._ask(f"STREAM.CREATE.{config['name']}", config)

    async def update_stream(self, config: Mapping[str, Any]) -> None:
        await self._ask(f"STREAM.UPDATE.{config['name']}", config)

    async def delete_stream(self, name: str) -> None:
        """Does nothing if it is already gone."""
        await self._find(f"STREAM.DELETE.{name}", {}, _STREAM_NOT_FOUND)

    async def create_consumer(self, stream: str, config: Mapping[str, Any]) -> Json:
        """The server's description, as `consumers` returns it for existing ones."""
        return await self._put_consumer(stream, config, "create")

    async def update_consumer(self, stream: str, config: Mapping[str, Any]) -> None:
        await self._put_consumer(stream, config, "update")

    async def create_reader(self, stream: str, config: Mapping[str, Any]) -> Json | None:
        """Create a consumer that the server removes when unused; None if there is no such stream."""
        request = {"stream_name": stream, "config": config, "action": "create"}
        found = await self._find(f"CONSUMER.CREATE.{stream}.{config['name']}", request, _STREAM_NOT_FOUND)
        return None if found is None else self._shaped(found, {"name": str, "num_pending": int})

    async def pause_consumer(self, stream: str, name: str, *, paused: bool) -> None:
        await self._ask(f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": PAUSED_UNTIL} if paused else {})

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Does nothing if it is already gone."""
        await self._find(f"CONSUMER.DELETE.{stream}.{name}", {}, _STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND)

    async def last_message(self, stream: str, subject: str) -> Json | None:
        """The newest message on a subject, as `STREAM.MSG.GET` returns it; None if there is none."""
        answer = await self._find(
            f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, _STREAM_NOT_FOUND, _MESSAGE_NOT_FOUND
        )
        return None if answer is None else self._shaped(answer, {"message": dict})["message"]

    async def first_message(self, stream: str, subject: str) -> Json | None:
        """The oldest message on a subject, which may have wildcards; None if there is none."""
        answer = await self._find(
            f"STREAM.MSG.GET.{stream}", {"seq": 1, "next_by_subj": subject}, _STREAM_NOT_FOUND, _MESSAGE_NOT_FOUND
        )
        if answer is None:
            return None
        message: Json = self._shaped(answer, {"message": dict})["message"]
        return self._shaped(message, {"time": str})

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Publish and await the acknowledgement."""
        message = await self.connection.request(subject, data, _TIMEOUT_S, headers)
        self._read(message.data)

    async def purge(self, stream: str, subject: str, before: int | None = None) -> None:
        """Remove every message on a subject, or only those of lower sequences than `before`.

        Does nothing if there is none.
        """
        which = {"filter": subject} | ({} if before is None else {"seq": before})
        await self._find(f"STREAM.PURGE.{stream}", which, _STREAM_NOT_FOUND)

    async def delete_messages(self, stream: str, sequences: Sequence[int]) -> None:
        """Remove these messages; ignores those that are gone."""
        subject = f"$JS.API.STREAM.MSG.DELETE.{stream}"
        for first in range(0, len(sequences), _DELETED_AT_ONCE):
            some = sequences[first : first + _DELETED_AT_ONCE]
            answers: list[bytes] = []
            done = asyncio.Event()

            def arrived(_subject: bytes, _reply: bytes, data: bytes, _headers: bytes) -> None:
                answers.append(data)  # noqa: B023 -- it is called for these alone
                if len(answers) == len(some):  # noqa: B023
                    done.set()  # noqa: B023

            requests = [(subject, f'{{"seq":{sequence},"no_erase":true}}'.encode()) for sequence in some]
            await self.connection.ask_many(requests, arrived, done, _TIMEOUT_S)
            for answer in answers:
                if b'"success":true' not in answer:  # a tenth of the cost of parsing it
                    self._read_deletion(answer)

    def _read_deletion(self, data: bytes) -> None:
        try:
            self._read(data)
        except NotFound:
            return

    async def _put_consumer(self, stream: str, config: Mapping[str, Any], action: str) -> Json:
        request = {"stream_name": stream, "config": config, "action": action}
        return self._consumer(await self._ask(f"CONSUMER.CREATE.{stream}.{config['name']}", request))

    async def _pages(self, subject: str, field: str) -> AsyncIterator[Page]:
        offset = 0
        while True:
            answer = await self._ask(subject, {"offset": offset})
            page = self._page(answer, field)
            yield page
            offset += len(page.found) + len(page.missing)
            if not (page.found or page.missing) or offset >= answer["total"]:
                return

    async def _find(self, subject: str, request: Mapping[str, Any], *absent: int) -> Json | None:
        try:
            return await self._ask(subject, request)
        except NotFound as error:
            if error.code in absent:
                return None
            raise

    async def _ask(self, subject: str, request: Mapping[str, Any]) -> Json:
        message = await self.connection.request(f"$JS.API.{subject}", json.dumps(request).encode(), _TIMEOUT_S)
        return self._read(message.data)

    def _read(self, data: bytes) -> Json:
        """Parse an answer; one that JetStream would not give, as of a broken server, counts as none."""
        try:
            answer = json.loads(data)
            if isinstance(answer, dict):
                return _checked(answer)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            pass
        raise self._nonsense()

    def _nonsense(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"NATS at {self.connection.shown} sends answers that are not JetStream's; retrying")

    def _shaped(self, answer: Json, shape: Mapping[str, type]) -> Json:
        """Raises BrokerUnavailable if a field that the operator reads is missing or has another type."""
        if all(type(answer.get(name)) is kind for name, kind in shape.items()):
            return answer
        raise self._nonsense()

    def _stream(self, info: Json) -> Json:
        self._shaped(info, {"config": dict, "state": dict})
        self._shaped(info["config"], _STREAM_CONFIG)
        self._shaped(info["state"], _STREAM_STATE)
        return info

    def _consumer(self, info: Json) -> Json:
        return self._shaped(info, _CONSUMER)

    def _page(self, answer: Json, field: str) -> Page:
        found, missing = answer.get(field) or [], answer.get("missing") or []
        self._shaped({**answer, "found": found, "missing": missing}, {"found": list, "missing": list, "total": int})
        if not all(isinstance(each, dict) for each in found) or not all(isinstance(each, str) for each in missing):
            raise self._nonsense()
        check = self._stream if field == "streams" else self._consumer
        return Page([check(each) for each in found], missing)


class NotFound(BrokerRefused):
    """JetStream has no such thing; `code` says which."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _checked(answer: Json) -> Json:
    error = answer.get("error")
    if not error:
        return answer
    code, text = (
        error.get("err_code", error["code"]),
        f"{one_line(str(error['description']))} ({error.get('err_code')})",
    )
    if code in {_STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND, _MESSAGE_NOT_FOUND, *_NOTHING_TO_DELETE}:
        raise NotFound(text, code)
    if code in _PASSING or error["code"] in _PASSING:
        raise BrokerUnavailable(f"JetStream: {text}")
    raise refused(error.get("err_code"), text)

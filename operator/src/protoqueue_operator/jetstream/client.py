"""JetStream through its request API (`$JS.API.*`), in the server's own JSON: client libraries lag behind its fields."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue_operator.adapters.connections import Connection
from protoqueue_operator.core.assets import PAUSED_UNTIL
from protoqueue_operator.core.refusals import BrokerRefused, BrokerUnavailable, Unanswered
from protoqueue_operator.core.server_errors import refused

Json = dict[str, Any]

_TIMEOUT_S = 5.0
_STREAM_NOT_FOUND = 10059
_CONSUMER_NOT_FOUND = 10014
_MESSAGE_NOT_FOUND = 10037
_PASSING = {10008, 10023, 10077} | {503}
"""JetStream not available or short of something for the moment: worth asking again, nobody's mistake."""


@dataclass(frozen=True)
class Page:
    """A part of a list. Of what is `missing` no server answers, as when the one that holds it is away."""

    found: list[Json]
    missing: list[str]


class JetStream:
    """Reads and writes; it decides nothing. Every method raises BrokerUnavailable and BrokerRefused."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def stream(self, name: str, within: str = "") -> Json | None:
        """Configuration and state; None where there is no such stream.

        The state counts, by subject, the messages on subjects matching `within`.
        """
        request = {"subjects_filter": within} if within else {}
        return await self._find(f"STREAM.INFO.{name}", request, _STREAM_NOT_FOUND)

    async def subjects(self, stream: str, within: str) -> set[str]:
        """The subjects matching `within` on which messages are stored; empty where there is no such stream."""
        info = await self.stream(stream, within)
        return set((info or {"state": {}})["state"].get("subjects") or ())

    async def streams(self) -> AsyncIterator[Page]:
        """Every stream of the account, page by page."""
        async for page in self._pages("STREAM.LIST", "streams"):
            yield page

    async def consumers(self, stream: str) -> list[Json] | None:
        """Every consumer of the stream; None where there is no such stream.

        Raises Unanswered where there are more: what nobody tells of is not to be taken for gone.
        """
        try:
            pages = [page async for page in self._pages(f"CONSUMER.LIST.{stream}", "consumers")]
        except NotFound:
            return None
        if missing := [name for page in pages for name in page.missing]:
            raise Unanswered(f"no server answers for the consumers {', '.join(missing)} of {stream}")
        return [consumer for page in pages for consumer in page.found]

    async def consumer(self, stream: str, name: str) -> Json | None:
        return await self._find(f"CONSUMER.INFO.{stream}.{name}", {}, _STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND)

    async def create_stream(self, config: Mapping[str, Any]) -> None:
        await self._ask(f"STREAM.CREATE.{config['name']}", config)

    async def update_stream(self, config: Mapping[str, Any]) -> None:
        await self._ask(f"STREAM.UPDATE.{config['name']}", config)

    async def delete_stream(self, name: str) -> None:
        """Nothing happens where it is gone already."""
        await self._find(f"STREAM.DELETE.{name}", {}, _STREAM_NOT_FOUND)

    async def create_consumer(self, stream: str, config: Mapping[str, Any]) -> Json:
        """What the server says of it, as `consumers` does of those that are there."""
        return await self._put_consumer(stream, config, "create")

    async def update_consumer(self, stream: str, config: Mapping[str, Any]) -> None:
        await self._put_consumer(stream, config, "update")

    async def pause_consumer(self, stream: str, name: str, *, paused: bool) -> None:
        await self._ask(f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": PAUSED_UNTIL} if paused else {})

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Nothing happens where it is gone already."""
        await self._find(f"CONSUMER.DELETE.{stream}.{name}", {}, _STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND)

    async def last_message(self, stream: str, subject: str) -> Json | None:
        """The newest message on a subject, as `STREAM.MSG.GET` gives it; None where there is none."""
        answer = await self._find(
            f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, _STREAM_NOT_FOUND, _MESSAGE_NOT_FOUND
        )
        return answer["message"] if answer else None

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Publish and await the acknowledgement."""
        message = await self.connection.request(subject, data, _TIMEOUT_S, headers)
        _checked(json.loads(message.data))

    async def purge(self, stream: str, subject: str) -> None:
        """Remove every message on a subject; nothing happens where there is none."""
        await self._find(f"STREAM.PURGE.{stream}", {"filter": subject}, _STREAM_NOT_FOUND)

    async def _put_consumer(self, stream: str, config: Mapping[str, Any], action: str) -> Json:
        request = {"stream_name": stream, "config": config, "action": action}
        return await self._ask(f"CONSUMER.CREATE.{stream}.{config['name']}", request)

    async def _pages(self, subject: str, field: str) -> AsyncIterator[Page]:
        offset = 0
        while True:
            answer = await self._ask(subject, {"offset": offset})
            page = Page(answer[field] or [], answer.get("missing") or [])
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
        answer: Json = json.loads(message.data)
        return _checked(answer)


class NotFound(BrokerRefused):
    """JetStream has no such thing; `code` says which."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _checked(answer: Json) -> Json:
    error = answer.get("error")
    if not error:
        return answer
    code, text = error.get("err_code", error["code"]), f"{error['description']} ({error.get('err_code')})"
    if code in {_STREAM_NOT_FOUND, _CONSUMER_NOT_FOUND, _MESSAGE_NOT_FOUND}:
        raise NotFound(text, code)
    if code in _PASSING or error["code"] in _PASSING:
        raise BrokerUnavailable(f"JetStream: {text}")
    raise refused(error.get("err_code"), text)

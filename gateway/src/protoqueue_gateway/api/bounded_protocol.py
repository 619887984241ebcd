"""HTTP connections that end where a client sends too much before a body, or takes too long to send."""

import asyncio
from enum import Enum
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from protoqueue_gateway.api.problems import MEDIA_TYPE, Problem

MAX_HEAD = 32 * 1024
"""Bytes of a request line with its headers."""
MAX_HEADERS = 100
LINGER_S = 5.0
"""How long what a refused client still sends is read and dropped. Were the connection closed while there are bytes of
it unread, TCP would reset it, and the client might never read why it was refused."""
_TOO_LARGE = f"the head is larger than {MAX_HEAD} bytes or has more than {MAX_HEADERS} headers"


class _Part(Enum):
    """What of a request is being received."""

    HEAD = "head"
    BODY = "body"
    NONE = "none"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, with bounds that its parser does not have.

    A timer runs only while something is missing: most requests come whole, and one for each would cost as much as
    reading it.
    """

    head_timeout_s: float
    body_timeout_s: float

    _receiving = _Part.HEAD
    _timed = _Part.NONE
    _head = 0
    _size = 0
    _too_large = False
    _refused = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._receiving is not _Part.BODY:
            self._receiving = _Part.HEAD
            self._head += len(data)
            # What a body brings with its head is counted too: so a little more than that is let through.
            if self._head > MAX_HEAD and b"\r\n\r\n" not in data:
                self._refuse("HeadersTooLarge", _TOO_LARGE)
                return
        super().data_received(data)
        self._watch()

    def on_message_begin(self) -> None:
        self._receiving, self._size = _Part.HEAD, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self._too_large = True
            raise TooManyHeaders

    def on_headers_complete(self) -> None:
        self._receiving, self._head = _Part.BODY, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._receiving = _Part.NONE
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, _msg: str) -> None:
        """As a problem, like every other error."""
        if self._too_large:
            self._refuse("HeadersTooLarge", _TOO_LARGE)
        else:
            self._refuse("BadRequest", "this is not an HTTP request")

    def _watch(self) -> None:
        """Have the timer of what is missing run, if anything is."""
        if self._receiving is self._timed or self._refused:
            return
        self._stop_timer()
        if self._receiving is not _Part.NONE:
            timeout_s = self.head_timeout_s if self._receiving is _Part.HEAD else self.body_timeout_s
            self._timed = self._receiving
            self._timer = self.loop.call_later(timeout_s, self._too_late, timeout_s)

    def _stop_timer(self) -> None:
        self._timed = _Part.NONE
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self, timeout_s: float) -> None:
        self._timer = None
        part = self._receiving.value
        self._refuse("RequestTimeout", f"the {part} of the request did not arrive within {timeout_s:g} s")

    def _refuse(self, code: str, detail: str) -> None:
        """Say so, unless a request before this one, or this one already, is being answered; and hang up."""
        self._refused = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        if not self._may_answer():
            self.transport.close()
            return
        problem = Problem(code, detail)
        content = bytes(problem.response("").body)
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self._linger()

    def _linger(self) -> None:
        """Send nothing more, and close when the client does or `LINGER_S` are over."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _may_answer(self) -> bool:
        if self.cycle is None or self.cycle.response_complete:
            return True
        is_of_this_request = self._receiving is _Part.BODY and not self.pipeline
        return is_of_this_request and not self.cycle.response_started


def bounded(head_timeout_s: float, body_timeout_s: float) -> type[BoundedProtocol]:
    """For a server whose clients have so long to send a head and a body."""
    return type("Bounded", (BoundedProtocol,), {"head_timeout_s": head_timeout_s, "body_timeout_s": body_timeout_s})


class TooManyHeaders(Exception):
    """The parser ends the request when a callback raises."""

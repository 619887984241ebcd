"""Encoding many messages as bytes of the NATS protocol. Pure."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping

from protoqueue.broker.interface import Message

_CHUNK_BYTES = 256 * 1024
_NAME = re.compile(r"[!#-9;-~]+")


def encode_members(numbered: Iterable[tuple[int, Message]], batch: str) -> Iterator[bytes]:
    """The `HPUB`s of members of an atomic batch, by their number in it, in chunks of about 256 KiB.

    nats-py publishes one message per call, which costs it several times what the server then takes for a member.
    Raises ValueError for a header or subject that would be read as another line of the protocol.
    """
    chunk: list[bytes] = []
    size = 0
    for number, message in numbered:
        lines = "".join(f"{_one_line(name)}: {_one_line(text)}\r\n" for name, text in message.headers.items())
        headers = f"NATS/1.0\r\n{lines}Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n\r\n".encode()
        total = len(headers) + len(message.data)
        chunk += (f"HPUB {_token(message.subject)} {len(headers)} {total}\r\n".encode(), headers, message.data, b"\r\n")
        size += total
        if size >= _CHUNK_BYTES:
            yield b"".join(chunk)
            chunk.clear()
            size = 0
    if chunk:
        yield b"".join(chunk)


def encode_request(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> bytes:
    """The `HPUB` or `PUB` of a message to be answered at `reply`.

    Raises ValueError for a header or subject that would be read as another line of the protocol.
    """
    if not headers:
        return f"PUB {_token(subject)} {reply} {len(data)}\r\n".encode() + data + b"\r\n"
    lines = "".join([f"{_name(name)}: {_one_line(text)}\r\n" for name, text in headers.items()])
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    command = f"HPUB {_token(subject)} {reply} {len(head)} {len(head) + len(data)}\r\n".encode()
    return b"".join((command, head, data, b"\r\n"))


def encode_publishes(messages: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The `PUB`s of messages, by subject and data, that ask for no answer, in chunks of about 256 KiB."""
    chunk: list[bytes] = []
    size = 0
    for subject, data in messages:
        chunk.append(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(data), data))
        size += len(data)
        if size >= _CHUNK_BYTES:
            yield b"".join(chunk)
            chunk.clear()
            size = 0
    if chunk:
        yield b"".join(chunk)


def encode_answer(reply: str, token: bytes) -> bytes:
    """The `PUB` to a reply subject that the server gave."""
    return f"PUB {reply} {len(token)}\r\n".encode() + token + b"\r\n"


@functools.lru_cache(maxsize=256)
def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"not the name of a header: {text!r}")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"a header must be one line of printable characters, not {text!r}")
    return text


def _token(subject: str) -> str:
    if " " in subject or not subject.isprintable():
        raise ValueError(f"a subject must not contain spaces or line breaks: {subject!r}")
    return subject

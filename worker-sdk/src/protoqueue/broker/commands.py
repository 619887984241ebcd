"""Messages as bytes of the NATS protocol, where they are many. Pure."""

from collections.abc import Iterable, Iterator

from protoqueue.connection.broker import Message

_CHUNK_BYTES = 256 * 1024


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


def encode_answer(reply: str, token: bytes) -> bytes:
    """The `PUB` to a reply subject that the server gave."""
    return f"PUB {reply} {len(token)}\r\n".encode() + token + b"\r\n"


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"a header is one line of printable characters, not {text!r}")
    return text


def _token(subject: str) -> str:
    if " " in subject or not subject.isprintable():
        raise ValueError(f"a subject has neither spaces nor line breaks: {subject!r}")
    return subject

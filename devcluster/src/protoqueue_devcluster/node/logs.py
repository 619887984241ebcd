"""Container logs as a kubelet keeps them: one file per start, `<time> stdout <F|P> <text>` per line."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

LONGEST_LINE = 16 * 1024
"""Bytes after which a line is cut into parts (flag P), as container runtimes do."""

_READ = 64 * 1024


@dataclass(frozen=True)
class LogQuery:
    """What `kubectl logs` may ask for; None means no limit."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


async def record_output(descriptor: int, path: Path) -> None:
    """Write what arrives on the pipe to the log file until all writers have closed it; closes the descriptor."""
    reader = asyncio.StreamReader(limit=_READ)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        with path.open("ab", buffering=0) as file:
            rest = b""
            while chunk := await reader.read(_READ):
                *lines, rest = (rest + chunk).split(b"\n")
                entries = [entry for line in lines for entry in _entries(line)]
                while len(rest) > LONGEST_LINE:
                    entries.append(_entry(rest[:LONGEST_LINE], b"P"))
                    rest = rest[LONGEST_LINE:]
                file.write(b"".join(entries))
            if rest:
                file.write(b"".join(_entries(rest)))
    finally:
        transport.close()


def _entries(line: bytes) -> list[bytes]:
    parts = [line[at : at + LONGEST_LINE] for at in range(0, len(line), LONGEST_LINE)] or [b""]
    return [*(_entry(part, b"P") for part in parts[:-1]), _entry(parts[-1], b"F")]


def _entry(text: bytes, flag: bytes) -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    return b"%s stdout %s %s\n" % (now, flag, text)


def render(entries: list[bytes], query: LogQuery) -> bytes:
    """The text a client sees of complete log entries: tail and since are applied, parts are joined again."""
    if query.since is not None:
        floor = query.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        entries = [entry for entry in entries if entry[: len(floor)] >= floor]
    if query.tail_lines is not None:
        entries = _tail(entries, query.tail_lines)
    shown = []
    continued = False
    for entry in entries:
        time, _, flag, text = entry.split(b" ", 3)
        prefix = time + b" " if query.timestamps and not continued else b""
        continued = flag == b"P"
        shown.append(prefix + text + (b"" if continued else b"\n"))
    return b"".join(shown)


def _tail(entries: list[bytes], lines: int) -> list[bytes]:
    """The entries of the last `lines` lines."""
    at = len(entries)
    while at and lines >= 0:
        if entries[at - 1].split(b" ", 3)[2] == b"F":
            lines -= 1
            if lines < 0:
                break
        at -= 1
    return entries[at:]


async def read_log(path: Path, query: LogQuery, is_open: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the log as asked for; with `follow` until `is_open()` turns false and everything was given out."""
    left = query.limit_bytes
    first = True
    position = 0
    while True:
        was_open = is_open()
        entries, position = _entries_from(path, position)
        chunk = render(entries, query if first else LogQuery(timestamps=query.timestamps))
        first = False
        if left is not None:
            chunk = chunk[:left]
            left -= len(chunk)
        if chunk:
            yield chunk
        if not query.follow or left == 0 or not was_open:
            return
        await asyncio.sleep(0.1)


def _entries_from(path: Path, position: int) -> tuple[list[bytes], int]:
    """Complete entries from a position on, and the position behind them."""
    if not path.exists():
        return [], position
    with path.open("rb") as file:
        file.seek(position)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return data[:end].split(b"\n")[:-1], position + end

"""How commands print: tables for people, JSON for programs, one line on stderr for what went wrong."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from protoqueue.client import Client, Queue, connect
from protoqueue.errors import ProtoQueueError

T = TypeVar("T")

_PIPE_WIDTH = 10_000


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="namespace/name of the queue.")]
GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Only this consumer group's.")]


def fail(message: str) -> NoReturn:
    """Say it on stderr and exit with status 1."""
    Console(stderr=True, highlight=False).print(Text("error:", "red"), _plain(message), soft_wrap=True)
    raise typer.Exit(1)


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """Turn what the user can act on into one line; anything else is a bug and shows its trace."""
    try:
        yield
    except (ProtoQueueError, OSError) as error:
        fail(str(error))


def with_queue(name: str, act: Callable[[Queue], Awaitable[T]]) -> T:
    """Connect, do it, close; exits with status 1 and a sentence on what goes wrong."""

    async def run() -> T:
        async with await connect() as client:
            return await act(await client.queue(name))

    return run_async(run)


def with_client(act: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with await connect() as client:
            return await act(client)

    return run_async(run)


def run_async(act: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await act()

    with failures_told():
        try:
            return asyncio.run(run())
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Values of a stream go one to a line."""
    text = json.dumps(value, indent=None if one_line else 2, ensure_ascii=False, default=str)
    # JSON escapes some of what a terminal obeys, and nothing of what UTF-8 cannot hold.
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], nothing: str = "") -> None:
    """With `nothing` to say where there are no rows, that goes to stderr in place of a table."""
    if nothing and not rows:
        typer.echo(nothing, err=True)
        return
    # A pipe has no width: nothing may be cut there.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, width=width).print(make_table(columns, rows))


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_plain("" if cell is None else str(cell)) for cell in row))
    return table


def human_age(age: timedelta | None) -> str:
    """`14s`, `3m10s`, `2h5m`, `6d3h`."""
    if age is None:
        return "-"
    seconds = int(age.total_seconds())
    for unit, size, smaller, smaller_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // smaller_size
            return f"{seconds // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{seconds}s"


def payload_text(data: bytes, limit: int | None = None) -> str:
    """A payload as text: as it is where it is UTF-8, else as `repr` shows bytes; cut at `limit` characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = repr(data)
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def moment(when: datetime | None) -> str | None:
    return when.isoformat(timespec="milliseconds") if when else None


def _plain(text: str) -> Text:
    """Nothing that a terminal would obey: payloads, types and errors are what others have written."""
    return Text("".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text))

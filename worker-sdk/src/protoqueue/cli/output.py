"""How commands print: tables for people, data for programs, one line on stderr for what went wrong."""

import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from protoqueue.cli.backend import TargetQueue
from protoqueue.cli.connection import open_client
from protoqueue.cli.failure import errors_reported
from protoqueue.cli.progress import shown
from protoqueue.cli.table import printable, table_lines
from protoqueue.cli.yaml import to_yaml
from protoqueue.connection import connect
from protoqueue.queue import Queue

T = TypeVar("T")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]
QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="Queue, as namespace/name.")]
GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Only this consumer group.")]


def with_queue(name: str, act: Callable[[Queue], Awaitable[T]], doing: str = "waiting for NATS") -> T:
    """Connect, call `act`, close; on errors exits with status 1 and a message. `doing` is told where it takes long."""

    async def run() -> T:
        async with connect() as client:
            return await act(await client.queue(name))

    return run_async(lambda: shown(run(), doing))


def with_target(name: str, act: Callable[[TargetQueue], Awaitable[T]], doing: str = "waiting for an answer") -> T:
    """The same with a queue in NATS, or behind the gateway that the command line names."""

    async def run() -> T:
        async with open_client() as client:
            return await act(await client.queue(name))

    return run_async(lambda: shown(run(), doing))


def run_async(act: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await act()

    with errors_reported():
        try:
            return asyncio.run(run())
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def print_data(value: Any, output: Format, *, streamed: bool = False) -> None:
    """As JSON or YAML. Of a stream each value is a line, or a document."""
    if output is Format.YAML:
        sys.stdout.write(("---\n" if streamed else "") + to_yaml(value))
    else:
        text = json.dumps(value, indent=None if streamed else 2, ensure_ascii=False, default=str)
        # JSON escapes some of what a terminal obeys, and nothing of what UTF-8 cannot hold.
        sys.stdout.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], nothing: str = "", spare: Collection[str] = ()
) -> None:
    """One line per row. With `nothing` to say where there are no rows, that goes to stderr in place of a table.

    A terminal that is too narrow loses the `spare` columns, the first one first; a pipe has no width.
    """
    if nothing and not rows:
        typer.echo(nothing, err=True)
        return
    print_lines(table_lines(columns, rows, terminal_width(), spare))


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """One field per line; a text of several lines, such as a traceback, follows its name, indented."""
    fields = [(name, "" if value is None else printable(str(value))) for name, value in fields]
    size = max(len(name) for name, _ in fields) + 1
    for name, value in fields:
        if "\n" in value:
            print_lines([f"{name}:", *(f"  {line}" for line in value.splitlines())])
        else:
            print_lines([f"{name + ':':<{size}} {value}".rstrip()])


def print_lines(lines: Iterable[str]) -> None:
    typer.echo("\n".join(lines))


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output goes to a file or another program: nothing may be cut there."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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

"""`protoqueue stats`: what queues hold."""

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from protoqueue.admin.stats import QueueStats
from protoqueue.cli.backend import TargetClient
from protoqueue.cli.connection import ConnectedCommand, open_client
from protoqueue.cli.output import Format, Output, human_age, print_data, print_table, run_async, terminal_width
from protoqueue.cli.table import fit, table_lines
from protoqueue.errors import QueueNotFound

_COLUMNS = ("QUEUE", "GROUP", "STATE", "WAITING", "IN FLIGHT", "SCHEDULED", "DEAD", "OLDEST")
_SPARE = ("OLDEST", "SCHEDULED", "STATE", "DEAD", "GROUP", "IN FLIGHT")
_QUEUES_AT_ONCE = 16


def register(app: typer.Typer) -> None:
    app.command("stats", cls=ConnectedCommand)(stats)


def stats(
    queues: Annotated[
        list[str] | None, typer.Argument(metavar="[QUEUE]...", help="Queues, as namespace/name; default: all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between refreshes.")] = 1.0,
    output: Output = Format.TABLE,
) -> None:
    """Show how many tasks are waiting, in flight, scheduled and dead, and what is paused."""
    single = bool(queues) and len(queues or ()) == 1

    async def once(client: TargetClient) -> dict[str, QueueStats]:
        if queues:
            return await _stats_of(client, queues)
        return await _stats_of(client, await client.queue_names(), gone_are_left_out=True)

    async def run() -> None:
        async with open_client() as client:
            seen = await once(client)
            if output is not Format.TABLE:
                print_data(_as_data(seen, single), output, streamed=watch)
                while watch:
                    await pause(interval)
                    print_data(_as_data(await once(client), single), output, streamed=True)
            elif not watch:
                print_table(_COLUMNS, _rows(seen), "no queues found: apply a Queue", _SPARE)
            else:
                console = Console(highlight=False)
                with Live(_table(seen, console), console=console) as live:
                    while True:
                        await pause(interval)
                        live.update(_table(await once(client), console))

    run_async(run)


async def _stats_of(
    client: TargetClient, names: list[str], *, gone_are_left_out: bool = False
) -> dict[str, QueueStats]:
    asking = asyncio.Semaphore(_QUEUES_AT_ONCE)
    found: dict[str, QueueStats] = {}

    async def ask(name: str) -> None:
        try:
            async with asking:
                found[name] = await (await client.queue(name)).stats()
        except QueueNotFound:
            if not gone_are_left_out:
                raise

    await asyncio.gather(*map(ask, names))
    return {name: found[name] for name in names if name in found}


def _table(seen: dict[str, QueueStats], console: Console) -> Text:
    lines = table_lines(_COLUMNS, _rows(seen), terminal_width(), _SPARE)
    return Text("\n".join(fit(lines, console.height, "lines") if console.is_terminal else lines))


async def pause(seconds: float) -> None:
    """Sleep, unless Ctrl-C came together with an answer: before Python 3.12 `wait_for` loses a cancellation then."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)


def _as_data(seen: dict[str, QueueStats], single: bool) -> Any:
    values = [
        {"queue": name, **asdict(one), "oldest_age": one.oldest_age.total_seconds() if one.oldest_age else None}
        for name, one in seen.items()
    ]
    return values[0] if single else values


def state_of(paused: bool, throttled_until: datetime | None = None) -> str:
    if paused:
        return "Paused"
    return "Active" if throttled_until is None else "Throttled"


def _rows(seen: dict[str, QueueStats]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for name, one in seen.items():
        counts = (one.waiting, one.in_flight, one.scheduled, one.dead, human_age(one.oldest_age))
        rows.append((name, "", state_of(one.paused), *counts))
        for group, of in sorted(one.groups.items()):
            rows.append(("", group, state_of(of.paused, of.throttled_until), of.waiting, of.in_flight, "", "", ""))
    return rows

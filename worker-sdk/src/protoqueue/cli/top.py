"""`protoqueue top`: all queues, live, the busiest first."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from protoqueue.admin.all_queues import QueueOverview
from protoqueue.admin.stats import Progress, QueueStats
from protoqueue.cli.backend import TargetClient
from protoqueue.cli.connection import ConnectedCommand, open_client, selected_server
from protoqueue.cli.output import Format, Output, human_age, moment, print_data, print_table, run_async, terminal_width
from protoqueue.cli.stats import pause, state_of
from protoqueue.cli.table import fit, table_lines

_COLUMNS = ("QUEUE", "WAITING", "IN FLIGHT", "IN/S", "OUT/S", "DEAD", "SCHEDULED", "OLDEST", "STATE")
_SPARE = ("STATE", "SCHEDULED", "OLDEST", "DEAD", "IN/S", "IN FLIGHT", "OUT/S")
_NONE = "no queues found: apply a Queue"


class Order(StrEnum):
    WAITING = "waiting"
    RATE = "rate"
    OLDEST = "oldest"
    DEAD = "dead"
    NAME = "name"


@dataclass(frozen=True)
class Row:
    """A queue now; rates are tasks per second since the look before, None where there was none."""

    name: str
    overview: QueueOverview
    age: timedelta | None
    arrivals_per_s: float | None
    completions_per_s: float | None


def register(app: typer.Typer) -> None:
    app.command("top", cls=ConnectedCommand)(top)


def top(
    sort: Annotated[Order, typer.Option("--sort", "-s", help="What comes first.")] = Order.WAITING,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only queues of this namespace.")] = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between refreshes.")] = 2.0,
    output: Output = Format.TABLE,
) -> None:
    """Show all queues, live: what waits, what runs, and how fast. Ctrl-C ends it.

    Without a terminal, and as JSON or YAML, it prints one look, with rates over one interval.
    """

    async def run() -> None:
        console = Console(highlight=False)
        async with open_client() as client:
            looks = Looks(client, namespace)
            await looks.look()
            if output is Format.TABLE and console.is_terminal:
                await _live(looks, console, sort, interval)
                return
            await pause(interval)
            rows = in_order(await looks.look(), sort)
            if output is not Format.TABLE:
                print_data([_as_data(row) for row in rows], output)
            else:
                print_table(_COLUMNS, [_cells(row) for row in rows], _NONE, _SPARE)

    run_async(run)


class Looks:
    """Looks at all queues, one after the other."""

    def __init__(self, client: TargetClient, namespace: str | None) -> None:
        self._client = client
        self._namespace = namespace
        self._before: dict[str, tuple[float, Progress]] = {}
        self._tells_progress = selected_server() is None

    async def look(self) -> list[Row]:
        """Raises Unavailable and PermissionDenied."""
        found = await self._client.overview()
        now, now_s = datetime.now().astimezone(), time.monotonic()
        names = [name for name in found if self._namespace in (None, name.partition("/")[0])]
        rows = [row(name, found[name], self._before.get(name), now, now_s) for name in names]
        if self._tells_progress:
            self._before = {name: (now_s, found[name].progress) for name in names}
        return rows


def row(name: str, found: QueueOverview, before: tuple[float, Progress] | None, now: datetime, now_s: float) -> Row:
    """Pure. `before` is when the queue was last looked at, in the seconds of `now_s`, and how far it was then."""
    age = None if found.oldest_at is None else max(timedelta(), now - found.oldest_at)
    if before is None or now_s <= before[0]:
        return Row(name, found, age, None, None)
    passed_s = now_s - before[0]
    return Row(
        name,
        found,
        age,
        max(0, found.progress.stored - before[1].stored) / passed_s,
        max(0, found.progress.removed - before[1].removed) / passed_s,
    )


def in_order(rows: list[Row], order: Order) -> list[Row]:
    """Pure. The most of it first; equal ones by name."""
    keys: Mapping[Order, Any] = {
        Order.WAITING: lambda row: -row.overview.stats.waiting,
        Order.RATE: lambda row: -(row.completions_per_s or 0.0),
        Order.OLDEST: lambda row: -(row.age.total_seconds() if row.age else -1.0),
        Order.DEAD: lambda row: -row.overview.stats.dead,
        Order.NAME: lambda row: row.name,
    }
    return sorted(rows, key=lambda row: (keys[order](row), row.name))


def screen(rows: list[Row], width: int, height: int) -> list[str]:
    """Pure. The lines of a terminal of this size; what does not fit on it is counted."""
    totals = [sum(getattr(row.overview.stats, name) for row in rows) for name in ("waiting", "in_flight", "dead")]
    head = "{} queues: {} waiting, {} in flight, {} dead".format(len(rows), *totals)
    lines = table_lines(_COLUMNS, [_cells(row) for row in rows], width, _SPARE) if rows else [_NONE]
    return [head[:width], "", *fit(lines, height - 2, "queues")]


async def _live(looks: Looks, console: Console, order: Order, interval_s: float) -> None:
    """On the terminal's second screen, which it leaves as it found it. Until cancelled."""

    def shown(rows: list[Row]) -> Text:
        return Text("\n".join(screen(in_order(rows, order), terminal_width() or console.width, console.height)))

    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(shown(await looks.look()), refresh=True)
            await pause(interval_s)


def _cells(row: Row) -> tuple[Any, ...]:
    stats = row.overview.stats
    return (
        row.name, stats.waiting, stats.in_flight, _rate(row.arrivals_per_s), _rate(row.completions_per_s), stats.dead,
        stats.scheduled, human_age(row.age), state_of(stats.paused, _throttled_until(stats)),
    )  # fmt: skip


def _throttled_until(stats: QueueStats) -> datetime | None:
    """Of a queue all groups of which a handler has stopped."""
    moments = [group.throttled_until for group in stats.groups.values()]
    known = [moment for moment in moments if moment is not None]
    return min(known) if known and len(known) == len(moments) else None


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return "-"
    return f"{per_s:.1f}" if per_s < 100 else f"{per_s:.0f}"


def _as_data(row: Row) -> dict[str, Any]:
    stats = row.overview.stats
    return {
        "queue": row.name, "waiting": stats.waiting, "in_flight": stats.in_flight, "scheduled": stats.scheduled,
        "dead": stats.dead, "oldest_at": moment(row.overview.oldest_at), "paused": stats.paused,
        "arrivals_per_s": row.arrivals_per_s, "completions_per_s": row.completions_per_s,
    }  # fmt: skip

"""Commands on tasks: enqueue, stats, peek, cancel, purge."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from protoqueue.cli import values
from protoqueue.cli.connection import connected
from protoqueue.cli.output import (
    Format,
    Output,
    QueueArgument,
    fail,
    human_age,
    make_table,
    moment,
    payload_text,
    print_json,
    print_table,
    run_async,
    with_queue,
)
from protoqueue.client import DEFAULT_TIMEOUT_S, Queue, connect
from protoqueue.errors import InvalidTask
from protoqueue.naming import DEFAULT_PRIORITY
from protoqueue.stats import QueueStats
from protoqueue.task import Outgoing, Receipt, Task

_LONGEST_PAYLOAD = 60
_STATS_COLUMNS = ("QUEUE", "GROUP", "READY", "IN FLIGHT", "SCHEDULED", "DEAD", "OLDEST")


def register(app: typer.Typer) -> None:
    for command in (enqueue, stats, peek, cancel, purge):
        app.command(command.__name__)(connected(command))


def enqueue(
    queue: QueueArgument,
    payload: Annotated[
        str, typer.Argument(metavar="PAYLOAD", help="JSON, or '-' for one JSON value per line of stdin.")
    ],
    task_type: Annotated[str, typer.Option("--type", "-t", help="Chooses the handler.")] = "",
    priority: Annotated[int, typer.Option("--priority", "-p", help="1 (lowest) to 10.")] = DEFAULT_PRIORITY,
    delay: Annotated[
        str | None, typer.Option("--delay", "-d", metavar="DURATION", help="Until it is due: 90 (seconds) or 1m30s.")
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="MOMENT", help="When it is due: 2030-12-24T18:00+01:00.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION|MOMENT", help="It is not started any more after that.")
    ] = None,
    dedup_id: Annotated[str | None, typer.Option(help="A second task of this id is not stored.")] = None,
    ordering_key: Annotated[str, typer.Option(help="Tasks of one key run in order.")] = "",
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Goes with the task, as text; any number of times.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The payload is text, not JSON; it goes as bytes.")] = False,
    file: Annotated[Path | None, typer.Option("--file", help="Read lines from here, with '-' as payload.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Enqueue one task, or one per line."""
    lines = _lines(payload, file)
    options: dict[str, Any] = {
        "type": task_type,
        "priority": priority,
        "delay": None if delay is None else values.duration("--delay", delay),
        "at": None if at is None else values.moment("--at", at),
        "expires": None if expires is None else values.duration_or_moment("--expires", expires),
        "ordering_key": ordering_key,
        "metadata": values.pairs("--metadata", metadata or []),
    }
    if dedup_id is not None and len(lines) > 1:
        fail("--dedup-id is for one task: all lines would be duplicates of the first")
    items = [Outgoing(_payload(line, raw), dedup_id=dedup_id, **options) for line in lines]

    async def act(target: Queue) -> list[Receipt]:
        return await target.enqueue_batch(items)

    receipts = with_queue(queue, act)
    if output is Format.JSON:
        print_json([asdict(receipt) for receipt in receipts])
    else:
        rows = [(r.id, "yes" if r.duplicate else "") for r in receipts]
        print_table(("ID", "DUPLICATE"), rows, "no lines: nothing was enqueued")


def _lines(payload: str, file: Path | None) -> list[str]:
    if payload != "-":
        if file:
            fail("--file is read in place of a payload: write '-' for that")
        return [payload]
    try:
        text = file.read_text() if file else sys.stdin.read()
    except OSError as error:
        fail(str(error))
    return [line for line in text.splitlines() if line.strip()]


def _payload(line: str, raw: bool) -> Any:
    if raw:
        return line.encode()
    try:
        return json.loads(line)
    except ValueError as error:
        fail(str(InvalidTask(f"{line!r} is no JSON ({error}): quote it as JSON, or send it as it is with --raw")))


def stats(
    queues: Annotated[list[str], typer.Argument(metavar="QUEUE...", help="namespace/name of each queue.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    output: Output = Format.TABLE,
) -> None:
    """How many tasks are ready, in flight, scheduled and dead."""

    async def once(targets: list[Queue]) -> dict[str, QueueStats]:
        return {target.name: await target.stats() for target in targets}

    async def run() -> None:
        async with await connect() as client:
            targets = [await client.queue(name) for name in queues]
            seen = await once(targets)
            if output is Format.JSON:
                print_json(_as_json(seen, single=len(queues) == 1), one_line=watch)
                while watch:
                    await _pause(interval)
                    print_json(_as_json(await once(targets), single=len(queues) == 1), one_line=True)
            elif not watch:
                print_table(_STATS_COLUMNS, _rows(seen))
            else:
                with Live(make_table(_STATS_COLUMNS, _rows(seen)), console=Console(highlight=False)) as live:
                    while True:
                        await _pause(interval)
                        live.update(make_table(_STATS_COLUMNS, _rows(await once(targets))))

    run_async(run)


async def _pause(seconds: float) -> None:
    """Sleep, unless Ctrl-C came together with an answer: before Python 3.12 `wait_for` loses a cancellation then."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)


def _as_json(seen: dict[str, QueueStats], single: bool) -> Any:
    values = [
        {"queue": name, **asdict(one), "oldest_age": one.oldest_age.total_seconds() if one.oldest_age else None}
        for name, one in seen.items()
    ]
    return values[0] if single else values


def _rows(seen: dict[str, QueueStats]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for name, one in seen.items():
        rows.append((name, "", one.ready, one.in_flight, one.scheduled, one.dead, human_age(one.oldest_age)))
        rows += [("", group, of.ready, of.in_flight, "", "", "") for group, of in sorted(one.groups.items())]
    return rows


def peek(
    queue: QueueArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 10,
    output: Output = Format.TABLE,
) -> None:
    """The oldest tasks, waiting or running, without consuming them."""

    async def act(target: Queue) -> list[Task]:
        return await target.peek(limit)

    found = with_queue(queue, act)
    if output is Format.JSON:
        print_json([task_json(task) for task in found])
    else:
        rows = [
            (t.id, t.type, t.priority, t.attempt, moment(t.enqueued_at), payload_text(t.data, _LONGEST_PAYLOAD))
            for t in found
        ]
        columns = ("ID", "TYPE", "PRIORITY", "ATTEMPT", "ENQUEUED", "PAYLOAD")
        print_table(columns, rows, f"no task waits or runs in {queue}")


def cancel(
    queue: QueueArgument,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Task ids.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to look for each.")] = DEFAULT_TIMEOUT_S,
    output: Output = Format.TABLE,
) -> None:
    """Take tasks back that wait, and stop those that run. Exits with status 1 where one is over or unknown."""

    async def act(target: Queue) -> dict[str, bool]:
        return {task_id: await target.cancel(task_id, timeout=timeout) for task_id in ids}

    cancelled = with_queue(queue, act)
    if output is Format.JSON:
        print_json([{"id": task_id, "cancelled": was_there} for task_id, was_there in cancelled.items()])
    else:
        print_table(("ID", "CANCELLED"), [(task_id, "yes" if was else "no") for task_id, was in cancelled.items()])
    if not all(cancelled.values()):
        raise typer.Exit(1)


def purge(
    queue: QueueArgument,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="Those not yet due as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Remove every task of a queue. Dead letters stay."""
    if not yes:
        typer.confirm(f"Remove every task of {queue}?", abort=True, err=True)

    async def act(target: Queue) -> int:
        return await target.purge(scheduled=scheduled)

    removed = with_queue(queue, act)
    if output is Format.JSON:
        print_json({"removed": removed})
    else:
        typer.echo(f"{removed} tasks removed")


def task_json(task: Task) -> dict[str, Any]:
    """A task as the CLI prints it; the payload as text."""
    return {
        "id": task.id,
        "type": task.type,
        "priority": task.priority,
        "attempt": task.attempt,
        "enqueued_at": moment(task.enqueued_at),
        "ordering_key": task.ordering_key,
        "metadata": dict(task.metadata),
        "content_type": task.content_type,
        "payload": payload_text(task.data),
    }

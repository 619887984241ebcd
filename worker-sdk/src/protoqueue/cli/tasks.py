"""Commands on tasks: enqueue, peek, cancel, purge."""

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from protoqueue.admin.peek import ScheduledTask
from protoqueue.cli import values
from protoqueue.cli.backend import TargetQueue
from protoqueue.cli.connection import ConnectedCommand
from protoqueue.cli.failure import fail
from protoqueue.cli.output import (
    Format,
    Output,
    QueueArgument,
    moment,
    payload_text,
    print_data,
    print_table,
    with_queue,
    with_target,
)
from protoqueue.errors import InvalidTask
from protoqueue.queue import Queue
from protoqueue.task import DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, DeadLetterInfo, NewTask, Receipt, Retries, Task

_LONGEST_PAYLOAD = 60


def register(app: typer.Typer) -> None:
    for command in (enqueue, peek, cancel, purge):
        app.command(command.__name__, cls=ConnectedCommand)(command)


def enqueue(
    queue: QueueArgument,
    payload: Annotated[
        str, typer.Argument(metavar="PAYLOAD", help="JSON, or '-' for one JSON value per line of stdin.")
    ],
    task_type: Annotated[str, typer.Option("--type", "-t", help="Task type, which selects the handler.")] = "",
    priority: Annotated[int, typer.Option("--priority", "-p", help="1 (lowest) to 10.")] = DEFAULT_PRIORITY,
    delay: Annotated[
        str | None,
        typer.Option("--delay", "-d", metavar="DURATION", help="Delay before delivery: 90 (seconds) or 1m30s."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Deliver at this time: 2030-12-24T18:00+01:00.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION|TIME", help="Do not start the task after this.")
    ] = None,
    dedup_id: Annotated[str | None, typer.Option(help="Deduplication id: a second task with it is not stored.")] = None,
    ordering_key: Annotated[str, typer.Option(help="Tasks with the same key run in order.")] = "",
    fairness_key: Annotated[str, typer.Option(help="Keys that have tasks waiting share the workers evenly.")] = "",
    unique: Annotated[
        str | None, typer.Option(help="Key of which at most one task waits, is scheduled or runs.")
    ] = None,
    replace: Annotated[
        str | None, typer.Option(help="Key: the task takes the place of the one of this key that is not yet due.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Attempts of this task, whatever handler, group and queue say.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata of the task; may be repeated.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send the payload as it is instead of as JSON.")] = False,
    file: Annotated[Path | None, typer.Option("--file", help="Read from this file when PAYLOAD is '-'.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Enqueue a task, or one per line of stdin or of a file."""
    lines = _lines(payload, file)
    options: dict[str, Any] = {
        "type": task_type,
        "priority": priority,
        "delay": None if delay is None else values.duration("--delay", delay),
        "at": None if at is None else values.moment("--at", at),
        "expires": None if expires is None else values.duration_or_moment("--expires", expires),
        "ordering_key": ordering_key,
        "fairness_key": fairness_key,
        "metadata": values.pairs("--metadata", metadata or []),
        "retry": None if max_attempts is None else Retries(max_attempts),
    }
    if unique is not None and len(lines) > 1:
        fail("--unique is for one task: all lines would be duplicates of the first")
    if replace is not None and len(lines) > 1:
        fail("--replace is for one task: each line would replace the one before")
    if dedup_id is not None and len(lines) > 1:
        fail("--dedup-id is for one task: all lines would be duplicates of the first")
    items = [
        NewTask(_payload(line, raw), dedup_id=dedup_id, unique=unique, replace=replace, **options) for line in lines
    ]

    async def act(target: TargetQueue) -> Sequence[Receipt]:
        return await target.enqueue_batch(items)

    receipts = with_target(queue, act, f"enqueuing {len(items)} tasks")
    if output is not Format.TABLE:
        print_data([{"id": r.id, "duplicate": r.duplicate, "replaced": r.replaced} for r in receipts], output)
    else:
        rows = [(r.id, "yes" if r.duplicate else "", r.replaced) for r in receipts]
        print_table(("ID", "DUPLICATE", "REPLACED"), rows, "the input has no lines: nothing was enqueued")


def _lines(payload: str, file: Path | None) -> list[str]:
    if payload != "-":
        if file:
            fail("--file requires '-' as the PAYLOAD")
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
        fail(
            str(
                InvalidTask(f"{line!r} is not valid JSON ({error}): quote it as JSON, or use --raw to send it as it is")
            )
        )


def peek(
    queue: QueueArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number.")] = 10,
    scheduled: Annotated[
        bool, typer.Option("--scheduled", help="Show tasks that are not due yet, retries included.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the oldest tasks, waiting or running, without consuming them."""
    if scheduled:
        _peek_scheduled(queue, limit, output)
        return

    async def act(target: Queue) -> list[Task]:
        return await target.peek(limit)

    found = with_queue(queue, act)
    if output is not Format.TABLE:
        print_data([task_json(task) for task in found], output)
    else:
        rows = [
            (t.id, t.type, t.priority, t.attempt, moment(t.enqueued_at), payload_text(t.data, _LONGEST_PAYLOAD))
            for t in found
        ]
        columns = ("ID", "TYPE", "PRIORITY", "ATTEMPT", "ENQUEUED", "PAYLOAD")
        spare = ("PRIORITY", "ATTEMPT", "ENQUEUED", "TYPE")
        print_table(columns, rows, f"no tasks waiting or in flight in {queue}", spare)


def _peek_scheduled(queue: str, limit: int, output: Format) -> None:
    async def act(target: Queue) -> list[ScheduledTask]:
        return await target.peek_scheduled(limit)

    found = with_queue(queue, act)
    if output is not Format.TABLE:
        print_data([task_json(one.task) | {"due_at": moment(one.due_at)} for one in found], output)
    else:
        rows = [
            (
                one.task.id,
                moment(one.due_at),
                one.task.type,
                one.task.attempt,
                payload_text(one.task.data, _LONGEST_PAYLOAD),
            )
            for one in found
        ]
        print_table(
            ("ID", "DUE", "TYPE", "ATTEMPT", "PAYLOAD"),
            rows,
            f"no scheduled tasks in {queue}",
            ("ATTEMPT", "TYPE", "PAYLOAD"),
        )


def cancel(
    queue: QueueArgument,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Task ids.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Timeout for each task, in seconds.")] = DEFAULT_TIMEOUT_S,
    output: Output = Format.TABLE,
) -> None:
    """Cancel tasks, waiting or running. Exits with status 1 if one has finished or is unknown."""

    async def act(target: TargetQueue) -> dict[str, bool]:
        return {task_id: await target.cancel(task_id, timeout=timeout) for task_id in ids}

    cancelled = with_target(queue, act, "looking for the tasks")
    if output is not Format.TABLE:
        print_data([{"id": task_id, "cancelled": was_there} for task_id, was_there in cancelled.items()], output)
    else:
        print_table(("ID", "CANCELLED"), [(task_id, "yes" if was else "no") for task_id, was in cancelled.items()])
    if not all(cancelled.values()):
        raise typer.Exit(1)


def purge(
    queue: QueueArgument,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="Delete tasks that are not due yet, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete all tasks of a queue. Dead letters are kept."""
    if not yes:
        typer.confirm(f"Delete all tasks of {queue}?", abort=True, err=True)

    async def act(target: TargetQueue) -> int:
        return await target.purge(scheduled=scheduled)

    removed = with_target(queue, act, "deleting tasks")
    if output is not Format.TABLE:
        print_data({"removed": removed}, output)
    else:
        typer.echo(f"{removed} tasks deleted")


def task_json(task: Task) -> dict[str, Any]:
    """A task as the CLI prints it; the payload as text."""
    return {
        "id": task.id,
        "type": task.type,
        "priority": task.priority,
        "attempt": task.attempt,
        "enqueued_at": moment(task.enqueued_at),
        "ordering_key": task.ordering_key,
        "fairness_key": task.fairness_key,
        "metadata": dict(task.metadata),
        "content_type": task.content_type,
        "payload": payload_text(task.data),
    } | ({"dead_letter": _dead_letter_json(task.dead_letter)} if task.dead_letter else {})


def _dead_letter_json(info: DeadLetterInfo) -> dict[str, Any]:
    """Without what is empty."""
    told: dict[str, Any] = {known.name: getattr(info, known.name) for known in fields(info)}
    told["failed_at"] = moment(info.failed_at)
    told["previous"] = _dead_letter_json(info.previous) if info.previous else None
    return {name: value for name, value in told.items() if value}

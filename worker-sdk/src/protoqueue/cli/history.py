"""`protoqueue history`: what became of tasks."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from protoqueue.cli import values
from protoqueue.cli.connection import ConnectedCommand
from protoqueue.cli.output import (
    Format,
    GroupOption,
    Output,
    QueueArgument,
    moment,
    payload_text,
    print_data,
    print_table,
    with_queue,
)
from protoqueue.history.model import RecordedValue, TaskRecord, TaskStatus
from protoqueue.queue import Queue

_LONGEST_ERROR = 60


def register(app: typer.Typer) -> None:
    app.command("history", cls=ConnectedCommand)(history)


def history(
    queue: QueueArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Only attempts that failed.")] = False,
    task_type: Annotated[str | None, typer.Option("--type", "-t", help="Only tasks of this type.")] = None,
    error_type: Annotated[str | None, typer.Option(help="Only attempts that failed with this error.")] = None,
    group: GroupOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Only what was recorded since: 1h, or 2030-12-24T18:00+01:00."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """Show the newest finished attempts, newest first. The Queue has to have spec.history."""
    begin = None if since is None else values.duration_or_moment("--since", since)

    async def act(target: Queue) -> list[TaskRecord]:
        return await target.history(
            failed=True if failed else None, type=task_type, error_type=error_type, group=group, since=begin,
            limit=limit,
        )  # fmt: skip

    found = with_queue(queue, act, "looking through the history")
    if output is not Format.TABLE:
        print_data([record_json(record) for record in found], output)
    else:
        rows = [
            (moment(r.finished_at), r.id, r.type, r.outcome, r.attempt, took(r), error_text(r, _LONGEST_ERROR))
            for r in found
        ]
        columns = ("FINISHED", "ID", "TYPE", "OUTCOME", "ATTEMPT", "TOOK", "ERROR")
        print_table(columns, rows, f"no matching records in {queue}", ("TOOK", "ATTEMPT", "TYPE", "FINISHED", "ERROR"))


def took(record: TaskRecord) -> str:
    """For how long the attempt ran: `12ms`, `1.5s`, `3m10s`; `-` where it was never started."""
    if record.started_at is None or record.finished_at is None:
        return "-"
    return _short(record.finished_at - record.started_at)


def _short(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{1000 * seconds:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    return str(timedelta(seconds=round(seconds)))


def error_text(record: TaskRecord, limit: int | None = None) -> str:
    """What the attempt failed with, in one line."""
    text = f"{record.error_type}: {record.error}" if record.error_type else record.error
    text = " ".join(text.split())
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def record_json(record: TaskRecord) -> dict[str, Any]:
    """A record as the CLI prints it; result and payload as text."""
    return {
        "id": record.id,
        "outcome": record.outcome.value,
        "attempt": record.attempt,
        **fields_json(record),
        "payload": _value_json(record.payload),
    }


def fields_json(found: TaskRecord | TaskStatus) -> dict[str, Any]:
    """The fields that a record of an attempt and the status of a task share."""
    return {
        "type": found.type,
        "group": found.group,
        "worker": found.worker,
        "priority": found.priority,
        "enqueued_at": moment(found.enqueued_at),
        "due_at": moment(found.due_at),
        "started_at": moment(found.started_at),
        "finished_at": moment(found.finished_at),
        "reason": found.reason,
        "error": found.error,
        "error_type": found.error_type,
        "traceback": found.traceback,
        "metadata": dict(found.metadata),
        "result": _value_json(found.result),
    }


def _value_json(value: RecordedValue | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if value.omitted:
        return {"omitted": value.omitted}
    return {"content_type": value.content_type, "data": payload_text(value.data)}

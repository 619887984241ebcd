"""`protoqueue task`: one task, by its id."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from protoqueue.cli.connection import ConnectedCommand, ConnectedGroup
from protoqueue.cli.failure import fail
from protoqueue.cli.history import error_text, fields_json, record_json, took
from protoqueue.cli.output import Format, Output, moment, payload_text, print_data, print_fields, print_table, run_async
from protoqueue.cli.progress import shown
from protoqueue.client import Client
from protoqueue.connection import connect
from protoqueue.history.model import TaskState, TaskStatus
from protoqueue.queue import Queue
from protoqueue.task import DEFAULT_TIMEOUT_S

T = TypeVar("T")

app = typer.Typer(
    cls=ConnectedGroup, help="Show, cancel or run one task.", no_args_is_help=True, pretty_exceptions_enable=False
)


def register(whole: typer.Typer) -> None:
    whole.add_typer(app, name="task")


Words = Annotated[
    list[str],
    typer.Argument(metavar="[QUEUE] ID", help="The task's id; without its queue, namespace/name, all are searched."),
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Timeout for each queue, in seconds.")]

_QUEUES_AT_ONCE = 16
_LONGEST_ERROR = 60


@app.command(cls=ConnectedCommand)
def show(words: Words, timeout: Timeout = DEFAULT_TIMEOUT_S, output: Output = Format.TABLE) -> None:
    """Show where a task is, or what became of it, with its attempts. Exits with status 1 if it is not known."""

    async def look(queue: Queue, task_id: str) -> TaskStatus | None:
        status = await queue.status(task_id, timeout=timeout)
        return None if status.state is TaskState.UNKNOWN else status

    queue, status = _with_task(words, look)
    if output is not Format.TABLE:
        print_data({"queue": queue, **status_json(status)}, output)
        return
    print_fields(_fields(queue, status))
    if status.records:
        typer.echo()
        rows = [
            (r.attempt, r.outcome, moment(r.started_at), took(r), r.worker, error_text(r, _LONGEST_ERROR))
            for r in status.records
        ]
        columns = ("ATTEMPT", "OUTCOME", "STARTED", "TOOK", "WORKER", "ERROR")
        print_table(columns, rows, spare=("TOOK", "STARTED", "WORKER"))


@app.command(cls=ConnectedCommand)
def cancel(words: Words, timeout: Timeout = DEFAULT_TIMEOUT_S, output: Output = Format.TABLE) -> None:
    """Cancel a task, waiting or running. Exits with status 1 if it has finished or is unknown."""

    async def act(queue: Queue, task_id: str) -> bool | None:
        return await queue.cancel(task_id, timeout=timeout) or None

    queue, _ = _with_task(words, act)
    _tell(queue, words[-1], "cancelled", output)


@app.command(cls=ConnectedCommand)
def run(words: Words, timeout: Timeout = DEFAULT_TIMEOUT_S, output: Output = Format.TABLE) -> None:
    """Have a task run now that is not due yet. Exits with status 1 if there is no such task."""

    async def act(queue: Queue, task_id: str) -> bool | None:
        return await queue.run_now(task_id, timeout=timeout) or None

    queue, _ = _with_task(words, act)
    _tell(queue, words[-1], "due", output)


def _tell(queue: str, task_id: str, what: str, output: Format) -> None:
    if output is not Format.TABLE:
        print_data({"queue": queue, "id": task_id, what: True}, output)
    else:
        typer.echo(f"task {task_id} of {queue} is {what}" + (" now" if what == "due" else ""))


def _with_task(words: list[str], act: Callable[[Queue, str], Awaitable[T | None]]) -> tuple[str, T]:
    """The queue where `act` finds the task, and what it gives there; ends with status 1 where none does."""
    if len(words) > 2:
        fail("give a queue (namespace/name) and the id of one task, or the id alone")
    *named, task_id = words

    async def look() -> tuple[str, T] | None:
        async with connect() as client:
            return await _first(client, named or await client.queue_names(), task_id, act)

    found = run_async(lambda: shown(look(), "looking for the task"))
    if found is None:
        where = named[0] if named else "any queue"
        fail(f"task {task_id} is not found in {where}: it is unknown, or what became of it is not kept (spec.history)")
    return found


async def _first(
    client: Client, names: list[str], task_id: str, act: Callable[[Queue, str], Awaitable[T | None]]
) -> tuple[str, T] | None:
    looking = asyncio.Semaphore(_QUEUES_AT_ONCE)
    found: list[tuple[str, T]] = []

    async def look(name: str) -> None:
        async with looking:
            if found:
                return
            value = await act(await client.queue(name), task_id)
            if value is not None:
                found.append((name, value))

    await asyncio.gather(*map(look, names))
    return found[0] if found else None


def status_json(status: TaskStatus) -> dict[str, Any]:
    """A status as the CLI prints it; the result as text."""
    return {
        "id": status.id,
        "state": status.state.value,
        "attempts": status.attempts,
        **fields_json(status),
        "records": [record_json(record) for record in status.records],
    }


def _fields(queue: str, status: TaskStatus) -> list[tuple[str, Any]]:
    """What there is to say, in the order in which it happened."""
    error = f"{status.error_type}: {status.error}" if status.error_type else status.error
    result: str | None = None
    if status.result is not None:
        result = status.result.omitted or payload_text(status.result.data)
    fields = [
        ("Task", status.id),
        ("Queue", queue),
        ("State", status.state),
        ("Attempts", status.attempts),
        ("Type", status.type),
        ("Group", status.group),
        ("Worker", status.worker),
        ("Priority", status.priority),
        ("Enqueued", moment(status.enqueued_at)),
        ("Due", moment(status.due_at)),
        ("Started", moment(status.started_at)),
        ("Finished", moment(status.finished_at)),
        ("Reason", status.reason),
        ("Error", error),
        ("Traceback", status.traceback),
        ("Result", result),
        ("Metadata", dict(status.metadata) or None),
    ]
    return [(name, value) for name, value in fields if value not in (None, "")]

"""`protoqueue dead`: the dead letters."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from protoqueue.cli.connection import connected
from protoqueue.cli.output import (
    Format,
    GroupOption,
    Output,
    QueueArgument,
    fail,
    moment,
    print_json,
    print_table,
    with_queue,
)
from protoqueue.cli.tasks import task_json
from protoqueue.client import Queue
from protoqueue.dead_letters import DeadLetter
from protoqueue.outcomes import Reason

app = typer.Typer(help="Tasks that were given up.", no_args_is_help=True)

IdArguments = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Task ids.")]
TypeOption = Annotated[str | None, typer.Option("--type", "-t", help="Only tasks of this type.")]
ReasonOption = Annotated[Reason | None, typer.Option("--reason", help=f"Only {', '.join(Reason)}.")]
LimitOption = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every dead letter.")]


@app.command("list")
@connected
def list_letters(
    queue: QueueArgument,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    output: Output = Format.TABLE,
) -> None:
    """The dead letters, oldest first."""

    async def act(target: Queue) -> list[DeadLetter]:
        return await _find(target, group, task_type, reason, None, limit)

    letters = with_queue(queue, act)
    if output is Format.JSON:
        print_json([letter_json(letter) for letter in letters])
    else:
        rows = [
            (
                le.task.id,
                le.task.type,
                le.reason,
                le.attempts,
                le.group,
                moment(le.failed_at),
                f"{le.error_type}: {le.error}",
            )
            for le in letters
        ]
        such = " such" if group or task_type or reason else ""
        columns = ("ID", "TYPE", "REASON", "ATTEMPTS", "GROUP", "FAILED", "ERROR")
        print_table(columns, rows, f"no{such} dead letters in {queue}")


@app.command("show")
@connected
def show(
    queue: QueueArgument, task_id: Annotated[str, typer.Argument(metavar="ID")], output: Output = Format.TABLE
) -> None:
    """One dead letter with its payload."""

    async def act(target: Queue) -> list[DeadLetter]:
        return await _find(target, None, None, None, {task_id}, None)

    letters = with_queue(queue, act)
    if not letters:
        fail(f"no dead letter of {queue} has the id {task_id}")
    if output is Format.JSON:
        print_json(letter_json(letters[0]))
    else:
        fields = letter_json(letters[0])
        task = fields.pop("task")
        print_table(("FIELD", "VALUE"), [*task.items(), *fields.items()])


@app.command("redrive")
@connected
def redrive(
    queue: QueueArgument,
    ids: IdArguments = None,
    every: AllOption = False,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many a second.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Put dead letters back into the queue: those of the ids given, or what the filters choose, or --all.

    Exits with status 1 where one of the ids is not among them.
    """
    _need_choice(ids, every, group, task_type, reason, limit)

    async def act(target: Queue) -> tuple[int, set[str]]:
        if not ids:
            return await target.redrive(limit=limit, rate=rate, group=group, type=task_type, reason=reason), set()
        letters = await _find(target, group, task_type, reason, set(ids), limit)
        for letter in letters:
            await letter.redrive()
        return len(letters), _missing(ids, letters)

    _say(*with_queue(queue, act), "redriven", output)


@app.command("delete")
@connected
def delete(
    queue: QueueArgument,
    ids: IdArguments = None,
    every: AllOption = False,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Forget dead letters: those of the ids given, or what the filters choose, or --all.

    Exits with status 1 where one of the ids is not among them.
    """
    _need_choice(ids, every, group, task_type, reason, limit)

    async def act(target: Queue) -> tuple[int, set[str]]:
        letters = await _find(target, group, task_type, reason, set(ids) if ids else None, limit)
        return sum([await letter.delete() for letter in letters]), _missing(ids or (), letters)

    _say(*with_queue(queue, act), "deleted", output)


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as the CLI prints it."""
    return {
        "task": task_json(letter.task),
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error": letter.error,
        "attempts": letter.attempts,
        "group": letter.group,
        "worker": letter.worker,
        "failed_at": moment(letter.failed_at),
        "redrives": letter.redrives,
        "sequence": letter.sequence,
    }


async def _find(
    queue: Queue, group: str | None, task_type: str | None, reason: str | None, ids: set[str] | None, limit: int | None
) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    async for letter in queue.dead_letters(group=group):
        if limit is not None and len(found) >= limit:
            break
        if letter.matches(task_type, reason) and (ids is None or letter.task.id in ids):
            found.append(letter)
    return found


def _need_choice(*chosen: object) -> None:
    if not any(chosen):
        fail("which ones? Name ids, choose with --group, --type, --reason or --limit, or say --all")


def _missing(ids: Iterable[str], found: Iterable[DeadLetter]) -> set[str]:
    return set(ids) - {letter.task.id for letter in found}


def _say(count: int, missing: set[str], what: str, output: Format) -> None:
    if output is Format.JSON:
        print_json({what: count})
    else:
        typer.echo(f"{count} dead letters {what}")
    if missing:
        fail(f"no such dead letter: {', '.join(sorted(missing))}")

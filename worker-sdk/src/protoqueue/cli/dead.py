"""`protoqueue dead`: the dead letters."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from protoqueue.cli.backend import Letter, TargetQueue
from protoqueue.cli.connection import ConnectedCommand
from protoqueue.cli.failure import fail
from protoqueue.cli.output import (
    Format,
    GroupOption,
    Output,
    QueueArgument,
    human_age,
    moment,
    print_data,
    print_fields,
    print_table,
    with_queue,
    with_target,
)
from protoqueue.cli.progress import say
from protoqueue.cli.table import one_line
from protoqueue.cli.tasks import task_json
from protoqueue.observability.log import printable
from protoqueue.outcomes import Reason
from protoqueue.queue import Queue

app = typer.Typer(help="Show, redrive and delete dead letters: tasks that failed for good.", no_args_is_help=True)


def register(whole: typer.Typer) -> None:
    whole.add_typer(app, name="dead")


_LONGEST_ERROR = 200
_COLUMNS = ("ID", "AGE", "REASON", "TYPE", "ATTEMPTS", "GROUP", "ERROR")
_SPARE = ("GROUP", "ATTEMPTS", "TYPE", "REASON", "AGE")

IdArguments = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Task ids.")]
TypeOption = Annotated[str | None, typer.Option("--type", "-t", help="Only tasks of this type.")]
ReasonOption = Annotated[Reason | None, typer.Option("--reason", help=f"Only {', '.join(Reason)}.")]
LimitOption = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Maximum number.")]
AllOption = Annotated[bool, typer.Option("--all", help="Select all dead letters.")]


@app.command("list", cls=ConnectedCommand)
def list_letters(
    queue: QueueArgument,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    output: Output = Format.TABLE,
) -> None:
    """List dead letters, oldest first, one per line."""

    async def act(target: TargetQueue) -> tuple[list[Letter], str]:
        return await _find(target, group, task_type, reason, None, limit), _elsewhere(target)

    letters, elsewhere = with_target(queue, act)
    if output is not Format.TABLE:
        print_data([letter_json(letter) for letter in letters], output)
    else:
        rows = [
            (
                letter.task.id,
                _age(letter),
                letter.reason,
                letter.task.type,
                letter.attempts,
                letter.group,
                one_line(f"{letter.error_type}: {letter.error}", _LONGEST_ERROR),
            )
            for letter in letters
        ]
        matching = " matching" if group or task_type or reason else ""
        print_table(_COLUMNS, rows, f"no{matching} dead letters in {queue}{elsewhere}", _SPARE)


@app.command("summary", cls=ConnectedCommand)
def summary(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Count dead letters by reason, task type and error type, largest count first."""

    async def act(target: TargetQueue) -> tuple[list[Letter], str]:
        return await _find(target, group, None, None, None, None), _elsewhere(target)

    letters, elsewhere = with_target(queue, act)
    found = summarize(letters)
    if output is not Format.TABLE:
        print_data(found, output)
    else:
        columns = ("COUNT", "REASON", "TYPE", "ERROR TYPE", "NEWEST", "EXAMPLE", "ERROR")
        rows = [
            (
                one["count"],
                one["reason"],
                one["type"],
                one["error_type"],
                _ago(one["newest"]),
                one["example"],
                one_line(one["error"], _LONGEST_ERROR),
            )
            for one in found
        ]
        print_table(
            columns, rows, f"no dead letters in {queue}{elsewhere}", ("NEWEST", "ERROR TYPE", "TYPE", "EXAMPLE")
        )


@app.command("show", cls=ConnectedCommand)
def show(
    queue: QueueArgument, task_id: Annotated[str, typer.Argument(metavar="ID")], output: Output = Format.TABLE
) -> None:
    """Show one dead letter with its error and payload."""

    async def act(target: TargetQueue) -> list[Letter]:
        return await _find(target, None, None, None, {task_id}, None)

    letters = with_target(queue, act)
    if not letters:
        fail(f"dead letter {task_id} not found in {queue}: list them with `protoqueue dead list {queue}`")
    if output is not Format.TABLE:
        print_data(letter_json(letters[0]), output)
    else:
        fields = letter_json(letters[0])
        task, traceback = fields.pop("task"), fields.pop("traceback")
        died_before = task.pop("dead_letter", None)
        print_fields([*task.items(), *fields.items()])
        if traceback:
            typer.echo(f"\n{printable(traceback)}")
        while died_before:
            where = f"{died_before['queue']}, group {died_before['group']}"
            typer.echo(f"\nBefore that it was given up by {where}:\n")
            traceback, following = died_before.pop("traceback", ""), died_before.pop("previous", None)
            print_fields([*died_before.items()])
            if traceback:
                typer.echo(f"\n{printable(traceback)}")
            died_before = following


@app.command("redrive", cls=ConnectedCommand)
def redrive(
    queue: QueueArgument,
    ids: IdArguments = None,
    every: AllOption = False,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Maximum number per second.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Put dead letters back into the queue: the given ids, those that match the filters, or --all.

    Exits with status 1 if an id is not found.
    """
    _need_choice(ids, every, group, task_type, reason, limit)

    async def act(target: TargetQueue) -> tuple[int, set[str]]:
        if not ids:
            return await target.redrive(limit=limit, rate=rate, group=group, type=task_type, reason=reason), set()
        letters = await _find(target, group, task_type, reason, set(ids), limit)
        for number, letter in enumerate(letters):
            say(f"redriving dead letters, {number} of {len(letters)}")
            await letter.redrive()
        return len(letters), _missing(ids, letters)

    _say(*with_target(queue, act, "redriving dead letters"), "redriven", output)


@app.command("forward", cls=ConnectedCommand)
def forward(
    queue: QueueArgument,
    every: AllOption = False,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Make dead letters tasks of the queue in deadLetter.queueRef: those that match the filters, or --all.

    What dies goes there by itself; this is for what lay here before, or could not go there.
    """
    _need_choice(every, group, task_type, reason, limit)

    async def act(target: Queue) -> int:
        return await target.forward_dead_letters(limit=limit, group=group, type=task_type, reason=reason)

    _say(with_queue(queue, act, "forwarding dead letters"), set(), "forwarded", output)


@app.command("delete", cls=ConnectedCommand)
def delete(
    queue: QueueArgument,
    ids: IdArguments = None,
    every: AllOption = False,
    group: GroupOption = None,
    task_type: TypeOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete dead letters: the given ids, those that match the filters, or --all.

    Asks for confirmation unless ids or --yes are given. Exits with status 1 if an id is not found.
    """
    _need_choice(ids, every, group, task_type, reason, limit)

    async def find(target: TargetQueue) -> list[Letter]:
        return await _find(target, group, task_type, reason, set(ids) if ids else None, limit)

    confirmed: set[int] | None = None
    if not ids and not yes:
        confirmed = {letter.sequence for letter in with_target(queue, find)}
        typer.confirm(f"Delete {len(confirmed)} dead letters of {queue} for good?", abort=True, err=True)

    async def act(target: TargetQueue) -> tuple[int, set[str]]:
        letters = [each for each in await find(target) if confirmed is None or each.sequence in confirmed]
        deleted = 0
        for number, letter in enumerate(letters):
            say(f"deleting dead letters, {number} of {len(letters)}")
            deleted += await letter.delete()
        return deleted, _missing(ids or (), letters)

    _say(*with_target(queue, act), "deleted", output)


def summarize(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    """Pure. One entry per reason, task type and error type; the error and the id are those of its newest letter."""
    groups: defaultdict[tuple[str, str, str], list[Letter]] = defaultdict(list)
    for letter in letters:
        groups[letter.reason, letter.task.type, letter.error_type].append(letter)
    found = [_summary(*key, members) for key, members in groups.items()]
    return sorted(found, key=lambda one: -one["count"])


def _summary(reason: str, task_type: str, error_type: str, letters: Sequence[Letter]) -> dict[str, Any]:
    return {
        "count": len(letters),
        "reason": reason,
        "type": task_type,
        "error_type": error_type,
        "error": letters[-1].error,
        "oldest": moment(letters[0].failed_at),
        "newest": moment(letters[-1].failed_at),
        "example": letters[-1].task.id,
    }


def letter_json(letter: Letter) -> dict[str, Any]:
    """A dead letter as the CLI prints it."""
    return {
        "task": task_json(letter.task),
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error": letter.error,
        "traceback": letter.traceback,
        "attempts": letter.attempts,
        "group": letter.group,
        "worker": letter.worker,
        "failed_at": moment(letter.failed_at),
        "redrives": letter.redrives,
        "sequence": letter.sequence,
    }


def _age(letter: Letter) -> str:
    return _ago(moment(letter.failed_at))


def _ago(when: str | None) -> str:
    return human_age(datetime.now(UTC) - datetime.fromisoformat(when) if when else None)


async def _find(
    queue: TargetQueue,
    group: str | None,
    task_type: str | None,
    reason: str | None,
    ids: set[str] | None,
    limit: int | None,
) -> list[Letter]:
    found: list[Letter] = []
    async for letter in queue.dead_letters(group=group):
        if letter.sequence % 100 == 0:
            say(f"reading dead letters, {len(found)} found")
        if limit is not None and len(found) >= limit:
            break
        if letter.matches(task_type, reason) and (ids is None or letter.task.id in ids):
            found.append(letter)
    return found


def _elsewhere(queue: TargetQueue) -> str:
    """What to add where a queue has no dead letters although tasks may have failed."""
    other = queue.dead_letter_queue
    return f": they are tasks of {other}, see protoqueue peek {other}" if other else ""


def _need_choice(*chosen: object) -> None:
    if not any(chosen):
        fail("no dead letters selected: give ids, filter with --group, --type, --reason or --limit, or use --all")


def _missing(ids: Iterable[str], found: Iterable[Letter]) -> set[str]:
    return set(ids) - {letter.task.id for letter in found}


def _say(count: int, missing: set[str], what: str, output: Format) -> None:
    if output is not Format.TABLE:
        print_data({what: count}, output)
    else:
        typer.echo(f"{count} dead letters {what}")
    if missing:
        fail(f"dead letters not found: {', '.join(sorted(missing))}")

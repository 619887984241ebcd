"""`protoqueue redrive`: creates a `Redrive`, which the operator runs, and tells how far it is."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from protoqueue.cli import kubectl
from protoqueue.cli.connection import ConnectedCommand
from protoqueue.cli.failure import fail
from protoqueue.cli.output import Format, GroupOption, Output, QueueArgument, print_data, run_async
from protoqueue.errors import ConfigurationError, ProtoQueueError
from protoqueue.outcomes import Reason
from protoqueue.protocol.names import QueueName

_KIND = "redrives.protoqueue.dev"
_LOOK_S = 0.5


def register(app: typer.Typer) -> None:
    app.command("redrive", cls=ConnectedCommand)(redrive)


def redrive(
    queue: QueueArgument,
    group: GroupOption = None,
    task_type: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only tasks of this type. Repeatable.")
    ] = None,
    reason: Annotated[
        list[Reason] | None, typer.Option("--reason", help=f"Only {', '.join(Reason)}. Repeatable.")
    ] = None,
    error_type: Annotated[
        list[str] | None, typer.Option(help="Only those whose last error was of this type. Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Maximum number.")] = None,
    rate: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Maximum number per second.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Count those that match, and move none.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it has finished, and tell how far it is.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Have the operator put dead letters back with fresh attempts: create a Redrive. Requires kubectl.

    It goes on when this command is interrupted: `kubectl get redrives` shows it, and deleting it stops it. Exits with
    status 1 if letters could not be moved.
    """
    try:
        name = QueueName.parse(queue)
    except ValueError as error:
        fail(str(error))
    chosen = {"reasons": reason, "types": task_type, "errorTypes": error_type}
    matching = {field: [str(each) for each in values] for field, values in chosen.items() if values}
    spec: dict[str, Any] = {
        "queueRef": {"name": name.name},
        "dryRun": dry_run,
        **({"group": group} if group else {}),
        **({"filter": matching} if matching else {}),
        **({"rate": {"tasks": rate, "per": "1s"}} if rate else {}),
        **({"limit": limit} if limit else {}),
    }

    async def run() -> dict[str, Any]:
        try:
            created = await asyncio.to_thread(kubectl.create, manifest(name, spec))
            return await _finished(created) if wait else created
        except kubectl.KubectlFailed as error:
            raise ConfigurationError(str(error)) from error

    found = run_async(run)
    if output is not Format.TABLE:
        print_data({"name": found["metadata"]["name"], **found.get("status", {})}, output)
    else:
        typer.echo(outcome(found))
    if condition(found, "Failed").get("status") == "True":
        raise typer.Exit(1)


def manifest(queue: QueueName, spec: dict[str, Any]) -> dict[str, Any]:
    """Pure. Named after its queue; the API server makes the name unique."""
    return {
        "apiVersion": "protoqueue.dev/v1alpha1",
        "kind": "Redrive",
        "metadata": {"generateName": f"{queue.name[:200]}-", "namespace": queue.namespace},
        "spec": spec,
    }


def outcome(found: dict[str, Any]) -> str:
    """Pure. One line that says what a Redrive came to, or where to look."""
    name, status = found["metadata"]["name"], found.get("status", {})
    if not status.get("completionTime"):
        return f"redrive {name} started: kubectl get redrive {name} -n {found['metadata']['namespace']}"
    failed = condition(found, "Failed")
    if failed.get("status") == "True":
        return f"redrive {name}: {status.get('moved', 0)} dead letters redriven; {failed.get('message', '')}"
    if found["spec"].get("dryRun"):
        return f"{status.get('matched', 0)} dead letters match"
    return f"{status.get('moved', 0)} dead letters redriven"


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


async def _finished(redrive: dict[str, Any]) -> dict[str, Any]:
    """The Redrive once it has finished; meanwhile a bar on a terminal's stderr."""
    name, namespace = redrive["metadata"]["name"], redrive["metadata"]["namespace"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"redrive {name}", total=None)
        while not (status := redrive.get("status", {})).get("completionTime"):
            progressing = condition(redrive, "Progressing")
            text = progressing.get("message") if progressing.get("status") == "False" else None
            moved, remaining = status.get("moved", 0), status.get("remaining")
            total = None if remaining is None else moved + remaining
            bar.update(task, total=total, completed=moved, description=text or f"redrive {name}")
            await asyncio.sleep(_LOOK_S)
            try:
                redrive = await asyncio.to_thread(kubectl.get, _KIND, name, "-n", namespace)
            except kubectl.NotThere:
                raise ProtoQueueError(f"redrive {name} was deleted: what it had moved stays moved") from None
    return redrive

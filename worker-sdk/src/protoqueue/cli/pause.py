"""`protoqueue pause` and `resume`: they edit the resource, since it is what the operator and everyone else go by."""

import json
import subprocess
from typing import Annotated

import typer

from protoqueue.cli.output import Format, Output, QueueArgument, fail, failures_told, print_json
from protoqueue.errors import ConfigurationError
from protoqueue.naming import QueueName

GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="This consumer group only.")]


def register(app: typer.Typer) -> None:
    app.command("pause")(pause)
    app.command("resume")(resume)


def pause(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Deliver nothing more of a queue, or to a group; producers may go on. Needs kubectl."""
    _patch(queue, group, output, paused=True)


def resume(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Deliver again. Needs kubectl."""
    _patch(queue, group, output, paused=False)


def _patch(queue: str, group: str | None, output: Format, *, paused: bool) -> None:
    with failures_told():
        try:
            name = QueueName.parse(queue)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    resource = f"consumergroups.protoqueue.dev/{group}" if group else f"queues.protoqueue.dev/{name.name}"
    patch = json.dumps({"spec": {"paused": paused}})
    command = ["kubectl", "patch", resource, "-n", name.namespace, "--type", "merge", "-p", patch]
    as_json = output is Format.JSON
    try:
        status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if as_json else None).returncode
    except FileNotFoundError:
        fail("kubectl is not on PATH: set spec.paused of the resource in another way")
    if as_json and not status:
        print_json({"queue": str(name), "group": group, "paused": paused})
    raise typer.Exit(status)

"""`protoqueue pause` and `resume`: they edit the resource, since it is what the operator and everyone else go by."""

import json
import subprocess
from typing import Annotated

import typer

from protoqueue.cli.connection import ConnectedCommand, selected_server
from protoqueue.cli.failure import errors_reported, fail
from protoqueue.cli.output import Format, Output, QueueArgument, print_data, run_async
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.names import QueueName

GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Only this consumer group.")]


def register(app: typer.Typer) -> None:
    app.command("pause", cls=ConnectedCommand)(pause)
    app.command("resume", cls=ConnectedCommand)(resume)


def pause(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Pause delivery from a queue, or to one consumer group; producers go on. Requires kubectl, or --server."""
    _set(queue, group, output, paused=True)


def resume(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Resume delivery. Requires kubectl, or --server."""
    _set(queue, group, output, paused=False)


def _set(queue: str, group: str | None, output: Format, *, paused: bool) -> None:
    with errors_reported():
        try:
            name = QueueName.parse(queue)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    if server := selected_server():
        _over_http(server, name, group, paused=paused)
        if output is Format.TABLE:
            typer.echo(f"{name} {'paused' if paused else 'resumed'}")
    else:
        _patch(name, group, output, paused=paused)
    if output is not Format.TABLE:
        print_data({"queue": str(name), "group": group, "paused": paused}, output)


def _over_http(server: str, name: QueueName, group: str | None, *, paused: bool) -> None:
    if group is not None:
        fail("--group does not work over --server: a gateway pauses whole queues; use kubectl for one group")

    async def run() -> None:
        from protoqueue.cli.gateway import GatewayClient

        async with GatewayClient(server, None) as client:
            await (await client.queue(str(name))).pause(paused=paused)

    run_async(run)


def _patch(name: QueueName, group: str | None, output: Format, *, paused: bool) -> None:
    resource = f"consumergroups.protoqueue.dev/{group}" if group else f"queues.protoqueue.dev/{name.name}"
    patch = json.dumps({"spec": {"paused": paused}})
    command = ["kubectl", "patch", resource, "-n", name.namespace, "--type", "merge", "-p", patch]
    as_data = output is not Format.TABLE
    try:
        status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if as_data else None).returncode
    except FileNotFoundError:
        fail("kubectl not found on PATH: install it, or set spec.paused of the resource by other means")
    if status:
        raise typer.Exit(status)

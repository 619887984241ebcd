"""`protoqueue pause` and `resume`: they edit the resource, since it is what the operator and everyone else go by."""

import asyncio
import json
import subprocess
from typing import Annotated

import typer

from protoqueue.admin.throttles import end_throttle
from protoqueue.cli.connection import ConnectedCommand, selected_server
from protoqueue.cli.failure import errors_reported, fail
from protoqueue.cli.output import Format, Output, QueueArgument, print_data, run_async
from protoqueue.connection import connect
from protoqueue.errors import ConfigurationError, ProtoQueueError, QueueNotFound
from protoqueue.protocol.names import GroupName, QueueName

_CONNECT_S = 5.0

GroupOption = Annotated[str | None, typer.Option("--group", "-g", help="Only this consumer group.")]


def register(app: typer.Typer) -> None:
    app.command("pause", cls=ConnectedCommand)(pause)
    app.command("resume", cls=ConnectedCommand)(resume)


def pause(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Pause delivery from a queue, or to one consumer group; producers go on. Requires kubectl, or --server."""
    _set(queue, group, output, paused=True)


def resume(queue: QueueArgument, group: GroupOption = None, output: Output = Format.TABLE) -> None:
    """Resume delivery, also where a handler's Throttle has stopped it. Requires kubectl, or --server."""
    _set(queue, group, output, paused=False)
    if not selected_server():
        _end_throttles(QueueName.parse(queue), group)


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


def _end_throttles(name: QueueName, group: str | None) -> None:
    """Of all groups, or of one. What NATS does not let us see is told, and no error: delivery is resumed."""
    try:
        ended = asyncio.run(_ended_throttles(name, group))
    except QueueNotFound:
        return
    except (ProtoQueueError, OSError) as error:
        typer.echo(f"a Throttle that a handler has raised goes on, if there is one: {error}", err=True)
        return
    for each in ended:
        typer.echo(f"Throttle of {each} ended", err=True)


async def _ended_throttles(name: QueueName, group: str | None) -> list[str]:
    async with connect(timeout=_CONNECT_S) as client:
        queue = await client.queue(str(name))
        groups = [group] if group else sorted((await queue.stats()).groups)
        return [
            each
            for each in groups
            if await end_throttle(queue._broker, GroupName(name, each), _CONNECT_S)  # noqa: SLF001
        ]


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

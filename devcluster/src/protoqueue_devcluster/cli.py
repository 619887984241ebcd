"""`protoqueue up` and `protoqueue down`: their words. What they do is in `commands`.

Every `protoqueue` command loads this module, the ones that workers start with included, so it imports next to nothing.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]
Directory = Annotated[Path, typer.Option("--dir", help="Where state, logs and NATS data are kept.")]
Manifests = Annotated[
    list[Path] | None,
    typer.Option("--filename", "-f", exists=True, help="A manifest, or a directory of them, to apply. Repeatable."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")]
WorkingDir = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Working directory of worker pods; default: this one.")
]


_LEAST_START_S = 30.0
"""A short --ready-timeout is meant for what was applied, not for the cluster that it is applied to."""


def register(app: typer.Typer) -> None:
    """Add the commands to the `protoqueue` command line."""
    app.command(name="up")(up)
    app.command(name="down")(down)


def up(
    manifests: Manifests = None,
    directory: Directory = Path(".protoqueue"),
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready.")] = False,
    nats_port: Port = 0,
    api_port: Port = 0,
    gateway_port: Port = 0,
    gateway_host: Annotated[str, typer.Option(help="Address the gateway listens at.")] = "127.0.0.1",
    gateway: Annotated[bool, typer.Option("--gateway/--no-gateway", help="Serve the queues over HTTP.")] = True,
    workdir: WorkingDir = None,
    ready_timeout: Annotated[
        float, typer.Option(help="Seconds until what was applied is to be Ready, and until each part is to answer.")
    ] = 60.0,
    logs: Annotated[bool, typer.Option("--logs/--no-logs", help="Show what workers print, and their crashes.")] = True,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart workers when a .py, .js, .mjs or .ts file of --workdir changes.")
    ] = False,
    output: Output = Format.TABLE,
    report_to: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a whole ProtoQueue on this machine: Kubernetes API, NATS, operator, HTTP gateway and worker processes.

    With -o json or yaml, stdout has the addresses, the key and what is not ready; the rest goes to stderr.
    """
    from protoqueue_devcluster import commands

    options = commands.UpOptions(
        commands.ClusterOptions(
            directory.resolve(),
            (workdir or Path.cwd()).resolve(),
            api_port,
            nats_port,
            gateway=gateway,
            gateway_host=gateway_host,
            gateway_port=gateway_port,
            start_timeout_s=max(ready_timeout, _LEAST_START_S),
        ),
        [path.resolve() for path in manifests or []],
        ready_timeout,
        logs=logs and not detach,
        reload=reload,
    )
    try:
        if detach:
            commands.up_in_background(options, output)
        else:
            commands.up_in_foreground(options, output, report_to)
    except commands.CommandFailed as error:
        _fail(str(error))


def down(
    directory: Directory = Path(".protoqueue"),
    purge: Annotated[bool, typer.Option("--purge", help="Remove NATS data and logs too.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Stop what `protoqueue up` started; queues and tasks stay on disk unless purged."""
    from protoqueue_devcluster import commands

    try:
        commands.down(directory.resolve(), purge, output)
    except commands.CommandFailed as error:
        _fail(str(error))


def _fail(message: str) -> None:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)

"""`protoqueue up` and `protoqueue down`."""

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from protoqueue_devcluster.background import NotStopped, send_report, start_detached, stop_detached
from protoqueue_devcluster.cluster import ClusterOptions
from protoqueue_devcluster.foreground import UpOptions, run_up
from protoqueue_devcluster.lifeline import DirectoryInUse
from protoqueue_devcluster.manifests import ManifestRefused
from protoqueue_devcluster.processes import StartFailed
from protoqueue_devcluster.supervision import ComponentLost

Directory = Annotated[Path, typer.Option("--dir", help="Where state, logs and NATS data are kept.")]
Manifests = Annotated[
    list[Path] | None,
    typer.Option("--filename", "-f", exists=True, help="A manifest, or a directory of them, to apply. Repeatable."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")]
WorkingDir = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Working directory of worker pods; default: this one.")
]


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
    workdir: WorkingDir = None,
    ready_timeout: Annotated[float, typer.Option(help="Seconds that what was applied may take to get Ready.")] = 60.0,
    report_to: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a whole ProtoQueue on this machine: Kubernetes API, NATS, operator and worker processes."""
    paths = [path.resolve() for path in manifests or []]
    if detach:
        options = ["--nats-port", str(nats_port), "--api-port", str(api_port), "--ready-timeout", str(ready_timeout)]
        _up_detached(directory, paths, options, workdir)
        return
    console = Console()
    # Through the console, so that a warning does not tear the live table apart.
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    cluster = ClusterOptions(
        directory=directory,
        working_dir=(workdir or Path.cwd()).resolve(),
        api_port=api_port,
        nats_port=nats_port,
    )

    def report(problem: str) -> None:
        if report_to is not None:
            send_report(report_to, problem)

    try:
        asyncio.run(run_up(UpOptions(cluster, paths, ready_timeout), console, report))
    except DirectoryInUse:
        _fail(f"a cluster runs in {directory} already: `protoqueue down --dir {directory}` stops it")
    except ManifestRefused as error:
        _fail(f"kubectl could not apply the manifests, everything was stopped again:\n{error}")
    except (StartFailed, ComponentLost, FileNotFoundError) as error:
        _fail(f"everything was stopped: {error}")


def down(
    directory: Directory = Path(".protoqueue"),
    purge: Annotated[bool, typer.Option("--purge", help="Remove NATS data and logs too.")] = False,
) -> None:
    """Stop what `protoqueue up` started; queues and tasks stay on disk unless purged."""
    if not directory.exists():
        typer.echo(f"nothing runs in {directory}")
        return
    try:
        stopped = stop_detached(directory)
    except NotStopped as error:
        _fail(str(error))
    typer.echo(f"stopped {directory}" if stopped else f"nothing runs in {directory}")
    if purge:
        for name in ("nats", "node", "logs", "crds"):
            shutil.rmtree(directory / name, ignore_errors=True)
        (directory / "nats.conf").unlink(missing_ok=True)
        typer.echo(f"purged {directory}")


def _up_detached(directory: Path, manifests: list[Path], options: list[str], workdir: Path | None) -> None:
    arguments = ["--dir", str(directory.resolve()), *options]
    for path in manifests:
        arguments += ["-f", str(path)]
    if workdir is not None:
        arguments += ["--workdir", str(workdir.resolve())]
    try:
        problem = start_detached(directory.resolve(), arguments)
    except StartFailed as error:
        _fail(f"ProtoQueue did not start:\n{error}")
    typer.echo(f"ProtoQueue is up. Next: source {directory / 'env'}; `protoqueue down --dir {directory}` stops it")
    if problem:
        _fail(problem)


def _fail(message: str) -> NoReturn:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)

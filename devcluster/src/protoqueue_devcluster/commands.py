"""What `protoqueue up` and `down` do, their errors as sentences for the user."""

import asyncio
import logging
import os
import shutil
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from protoqueue_devcluster.background import NotStopped, send_report, start_detached, stop_detached
from protoqueue_devcluster.cluster import ClusterOptions
from protoqueue_devcluster.foreground import UpOptions, run_up
from protoqueue_devcluster.lifeline import DirectoryInUse
from protoqueue_devcluster.manifests import ManifestRefused
from protoqueue_devcluster.processes import StartFailed
from protoqueue_devcluster.supervision import ComponentLost

__all__ = ["ClusterOptions", "CommandFailed", "UpOptions", "down", "up_in_background", "up_in_foreground"]

_PURGED = ("nats", "node", "logs", "crds")


class CommandFailed(Exception):
    """The message is what the user is told."""


def up_in_foreground(options: UpOptions, report_to: int | None = None) -> None:
    """Run until a signal; `report_to` is the descriptor of a parent that waits for the start. Raises CommandFailed."""
    console = Console()
    # Through the console, so that a warning does not tear the live table apart.
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])

    def report(problem: str) -> None:
        if report_to is not None:
            send_report(report_to, problem)

    shown = _shown(options.cluster.directory)
    try:
        asyncio.run(run_up(options, console, report))
    except DirectoryInUse as error:
        raise CommandFailed(f"a cluster runs in {shown} already: `protoqueue down --dir {shown}` stops it") from error
    except ManifestRefused as error:
        raise CommandFailed(f"kubectl could not apply the manifests, everything was stopped again:\n{error}") from error
    except (StartFailed, ComponentLost, FileNotFoundError) as error:
        raise CommandFailed(f"everything was stopped: {error}") from error


def up_in_background(options: UpOptions) -> None:
    """Start, wait until everything is ready, and leave it running. Raises CommandFailed."""
    cluster = options.cluster
    arguments = ["--dir", str(cluster.directory), "--workdir", str(cluster.working_dir)]
    arguments += ["--nats-port", str(cluster.nats_port), "--api-port", str(cluster.api_port)]
    arguments += ["--ready-timeout", str(options.ready_timeout_s)]
    for path in options.manifests:
        arguments += ["-f", str(path)]
    try:
        problem = start_detached(cluster.directory, arguments)
    except StartFailed as error:
        raise CommandFailed(f"ProtoQueue did not start:\n{error}") from error
    shown = _shown(cluster.directory)
    Console().print(
        f"ProtoQueue is up. Next: source {shown}/env; `protoqueue down --dir {shown}` stops it",
        highlight=False,
        soft_wrap=True,
    )
    if problem:
        raise CommandFailed(problem)


def down(directory: Path, purge: bool) -> None:
    """Stop the directory's cluster; with `purge` remove its data. Raises CommandFailed."""
    shown, console = _shown(directory), Console(soft_wrap=True, highlight=False)
    try:
        stopped = directory.exists() and stop_detached(directory)
    except NotStopped as error:
        raise CommandFailed(str(error)) from error
    console.print(f"stopped {shown}" if stopped else f"nothing runs in {shown}")
    if purge:
        for name in _PURGED:
            shutil.rmtree(directory / name, ignore_errors=True)
        (directory / "nats.conf").unlink(missing_ok=True)
        console.print(f"purged {shown}")


def _shown(directory: Path) -> str:
    """The directory as the user would type it."""
    relative = os.path.relpath(directory)
    return str(directory) if relative.startswith("..") else relative

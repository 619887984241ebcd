"""What `protoqueue up` and `down` do, their errors as sentences for the user."""

import asyncio
import logging
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from protoqueue_devcluster.background import NotStopped, send_report, start_detached, stop_detached
from protoqueue_devcluster.cli import Format
from protoqueue_devcluster.cluster import ClusterOptions
from protoqueue_devcluster.first_key import KEY_FILE
from protoqueue_devcluster.foreground import UpOptions, run_up
from protoqueue_devcluster.lifeline import DirectoryInUse
from protoqueue_devcluster.manifests import ManifestRefused
from protoqueue_devcluster.output import print_data
from protoqueue_devcluster.processes import StartFailed
from protoqueue_devcluster.supervision import ComponentLost

__all__ = ["ClusterOptions", "CommandFailed", "UpOptions", "down", "up_in_background", "up_in_foreground"]

_APPLY_S = 60.0
_PURGED = ("nats", "node", "logs", "crds", "objects")


class CommandFailed(Exception):
    """The message is what the user is told."""


def up_in_foreground(options: UpOptions, output: Format, report_to: int | None = None) -> None:
    """Run until a signal; `report_to` is the descriptor of a parent that waits for the start. Raises CommandFailed."""
    console = Console(stderr=output is not Format.TABLE)
    # Through the console, so that a warning does not tear the live table apart.
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])

    def report(problem: str) -> None:
        if output is not Format.TABLE:
            print_data(_started(options.cluster.directory, problem), output)
        if report_to is not None:
            send_report(report_to, problem)

    try:
        asyncio.run(run_up(options, console, report))
    except DirectoryInUse as error:
        raise _in_use(options.cluster.directory) from error
    except ManifestRefused as error:
        raise CommandFailed(f"kubectl could not apply the manifests, everything was stopped again:\n{error}") from error
    except (StartFailed, ComponentLost, FileNotFoundError) as error:
        raise CommandFailed(f"everything was stopped: {error}") from error


def up_in_background(options: UpOptions, output: Format) -> None:
    """Start, wait until everything is ready, and leave it running. Raises CommandFailed."""
    cluster = options.cluster
    arguments = ["--dir", str(cluster.directory), "--workdir", str(cluster.working_dir)]
    arguments += ["--nats-port", str(cluster.nats_port), "--api-port", str(cluster.api_port)]
    arguments += ["--gateway-port", str(cluster.gateway_port), "--gateway-host", cluster.gateway_host]
    arguments += ["--gateway" if cluster.gateway else "--no-gateway"]
    arguments += ["--ready-timeout", str(options.ready_timeout_s), "--no-logs"]
    arguments += ["--reload"] if options.reload else []
    for path in options.manifests:
        arguments += ["-f", str(path)]
    # Two waves of parts, then the manifests, each with a time of its own: this one is for when none of them is kept.
    timeout_s = 2 * cluster.start_timeout_s + options.ready_timeout_s + _APPLY_S
    try:
        problem = start_detached(cluster.directory, arguments, timeout_s)
    except DirectoryInUse as error:
        raise _in_use(cluster.directory) from error
    except StartFailed as error:
        raise CommandFailed(f"ProtoQueue did not start:\n{error}") from error
    if output is Format.TABLE:
        _tell_started(cluster.directory)
    else:
        print_data(_started(cluster.directory, problem), output)
    if problem:
        raise CommandFailed(problem)


def _tell_started(directory: Path) -> None:
    shown = _shown(directory)
    Console().print(
        f"ProtoQueue is up. Next: source {shown}/env; `protoqueue down --dir {shown}` stops it",
        highlight=False,
        soft_wrap=True,
    )
    made = _variables(directory / "env")
    if url := made.get("PROTOQUEUE_GATEWAY_URL"):
        Console().print(
            f"Queues over HTTP: {url} with the key {made['PROTOQUEUE_API_KEY']}, which may do everything\n"
            f"In a browser, with the same key: {url}/dashboard",
            highlight=False,
            soft_wrap=True,
        )


def _started(directory: Path, problem: str) -> dict[str, Any]:
    """What `-o` tells of a cluster that is up."""
    made = _variables(directory / "env")
    gateway = made.get("PROTOQUEUE_GATEWAY_URL")
    return {
        "directory": str(directory),
        "env": str(directory / "env"),
        "kubeconfig": made.get("KUBECONFIG"),
        "nats_url": made.get("PROTOQUEUE_NATS_URL"),
        "gateway_url": gateway,
        "dashboard_url": f"{gateway}/dashboard" if gateway else None,
        "api_key": made.get("PROTOQUEUE_API_KEY"),
        "not_ready": problem.splitlines(),
    }


def _variables(file: Path) -> dict[str, str]:
    lines = [line.removeprefix("export ").partition("=") for line in file.read_text().splitlines()]
    return {name: shlex.split(value)[0] for name, _, value in lines}


def _in_use(directory: Path) -> CommandFailed:
    shown = _shown(directory)
    return CommandFailed(f"a cluster runs in {shown} already: `protoqueue down --dir {shown}` stops it")


def down(directory: Path, purge: bool, output: Format) -> None:
    """Stop the directory's cluster; with `purge` remove its data. Raises CommandFailed."""
    shown, console = _shown(directory), Console(soft_wrap=True, highlight=False, quiet=output is not Format.TABLE)
    try:
        stopped = directory.exists() and stop_detached(directory)
    except NotStopped as error:
        raise CommandFailed(str(error)) from error
    console.print(f"stopped {shown}" if stopped else f"nothing runs in {shown}")
    if purge:
        for name in _PURGED:
            shutil.rmtree(directory / name, ignore_errors=True)
        for name in ("nats.conf", KEY_FILE):
            (directory / name).unlink(missing_ok=True)
        console.print(f"purged {shown}")
    if output is not Format.TABLE:
        print_data({"directory": str(directory), "stopped": stopped, "purged": purge}, output)


def _shown(directory: Path) -> str:
    """The directory as the user would type it."""
    relative = os.path.relpath(directory)
    return str(directory) if relative.startswith("..") else relative

"""`protoqueue up` while it runs: start, apply, show, and an orderly end."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from protoqueue_devcluster.cluster import Cluster, ClusterOptions, running_cluster
from protoqueue_devcluster.dashboard import rows, table
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, KubeClient
from protoqueue_devcluster.kube.informer import Informer
from protoqueue_devcluster.manifests import apply_manifests, wait_until_ready
from protoqueue_devcluster.reload import Reloader, read_sources
from protoqueue_devcluster.supervision import ComponentLost
from protoqueue_devcluster.worker_logs import WorkerLogs

Report = Callable[[str], None]
"""Told once how the start went: empty when everything is ready, else what is not."""


@dataclass(frozen=True)
class UpOptions:
    cluster: ClusterOptions
    manifests: Sequence[Path]
    ready_timeout_s: float
    logs: bool = True
    """Whether to show what workers print."""
    reload: bool = False
    """Whether to restart workers when their source changes."""


async def run_up(options: UpOptions, console: Console, report: Report) -> None:
    """Run a cluster until a signal; raises ComponentLost, StartFailed, ManifestRefused or DirectoryInUse."""
    _cancel_on_signals()
    try:
        await _run(options, console, report)
    except asyncio.CancelledError:
        console.print("stopped")


async def _run(options: UpOptions, console: Console, report: Report) -> None:
    started = time.monotonic()
    root, data = options.cluster.working_dir, options.cluster.directory
    sources = await asyncio.to_thread(read_sources, root, data) if options.reload else {}
    async with running_cluster(options.cluster) as cluster, KubeClient(cluster.kubeconfig, "protoqueue-up") as client:
        problem = await _apply(options, cluster, client, console)
        console.print(_welcome(cluster, time.monotonic() - started), highlight=False, soft_wrap=True)
        report(problem)
        beside = [asyncio.create_task(_show(client, console, logs=options.logs))]
        if options.reload:
            reloader = Reloader(client, root, data, lambda line: _print_line(console, line))
            beside.append(asyncio.create_task(reloader.run(sources)))
        try:
            await asyncio.wait({cluster.lost})
        finally:
            for task in beside:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            console.print("stopping everything…")
    raise ComponentLost(cluster.lost.result())


async def _apply(options: UpOptions, cluster: Cluster, client: KubeClient, console: Console) -> str:
    """Apply and wait until Ready; returns what is not when the time is up, else an empty text."""
    applied = await apply_manifests(cluster.kubeconfig, options.manifests)
    problem = ""
    async for unready in wait_until_ready(client, applied, options.ready_timeout_s):
        problem = "\n".join(f"not ready: {found}" for found in unready)
    if problem:
        console.print(problem, style="yellow", highlight=False)
    return problem


async def _show(client: KubeClient, console: Console, *, logs: bool) -> None:
    """Keep the table current below what workers print; without a terminal print a line for every row that changes."""
    changed = asyncio.Event()
    informers = [Informer(client, kind) for kind in (QUEUES, CONSUMER_GROUPS)]
    for informer in informers:
        informer.listen(lambda _: changed.set())
    caption = "Ctrl-C stops everything"
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(Live(console=console, auto_refresh=False)) if console.is_terminal else None
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            if logs:
                group.create_task(WorkerLogs(client, lambda line: _print_line(console, line)).run())
            shown: set[str] = set()
            while True:
                content = rows(*informers)
                if live is not None:
                    live.update(table(content, caption), refresh=True)
                else:
                    lines = [str(row) for row in content]
                    for line in lines:
                        if line not in shown:
                            console.print(line, highlight=False, soft_wrap=True)
                    shown = set(lines)
                await changed.wait()
                changed.clear()
                await asyncio.sleep(0.25)  # changes come in bursts: one refresh for all of them


def _print_line(console: Console, line: str) -> None:
    """A line of a worker as it is, except for what a terminal would obey."""
    shown = "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)
    console.print(Text(shown), soft_wrap=True)


def _welcome(cluster: Cluster, seconds: float) -> str:
    relative = os.path.relpath(cluster.directory)
    env = cluster.directory / "env" if relative.startswith("..") else Path(relative) / "env"
    lines = [f"ProtoQueue is up after {seconds:.1f} s. In another shell: source {env}"]
    if cluster.gateway:
        url, key = cluster.gateway["PROTOQUEUE_GATEWAY_URL"], cluster.gateway["PROTOQUEUE_API_KEY"]
        lines.append(f"Queues over HTTP: {url} with the key {key}, which may do everything")
        lines.append(f"In a browser, with the same key: {url}/dashboard")
    return "\n".join(lines)


def _cancel_on_signals() -> None:
    """The first signal cancels the current task; a second one ends at once, and the lifeline kills what is left."""
    task = asyncio.current_task()
    assert task is not None
    signalled = False

    def on_signal() -> None:
        nonlocal signalled
        if signalled:
            os._exit(130)
        signalled = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)

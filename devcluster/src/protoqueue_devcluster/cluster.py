"""A whole ProtoQueue on this machine, from the Kubernetes API to the HTTP gateway, as one process tree."""

import asyncio
import contextlib
import json
import os
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from protoqueue_devcluster.components import (
    NODE_NAME,
    answers_ok,
    api_is_ready,
    apiserver_command,
    controllers_command,
    crds_command,
    gateway_command,
    node_command,
    node_is_ready,
    operator_command,
)
from protoqueue_devcluster.first_key import first_key
from protoqueue_devcluster.kube.client import KubeClient
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.manifests import apply_manifests
from protoqueue_devcluster.nats import jetstream_answers, nats_command
from protoqueue_devcluster.processes import Process, StartFailed, free_port, log_tail, spawn
from protoqueue_devcluster.supervision import Component, Supervised

SUPERVISOR_FILE = "up.json"


@dataclass(frozen=True)
class ClusterOptions:
    """Where the cluster keeps its state and what it listens on; port 0 means a free one."""

    directory: Path
    working_dir: Path = field(default_factory=Path.cwd)
    api_port: int = 0
    nats_port: int = 0
    nats_sync_interval: str | None = None
    gateway: bool = False
    """Whether the queues are served over HTTP."""
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 0
    restart_backoff_s: float | None = None
    start_timeout_s: float = 60.0
    """Seconds that each part may take until it answers."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `lost` resolves to a reason when a part ends that cannot be restarted."""

    directory: Path
    kubeconfig: Path
    nats_url: str
    components: dict[str, Supervised]
    lost: "asyncio.Future[str]"
    gateway: dict[str, str] = field(default_factory=dict)
    """Where the gateway is and the key to it, as variables of the environment; empty without one."""

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to use the cluster."""
        return {"KUBECONFIG": str(self.kubeconfig), "PROTOQUEUE_NATS_URL": self.nats_url, **self.gateway}

    def process(self, name: str) -> Process:
        """The process of `apiserver`, `nats`, `controllers`, `node`, `operator` or `gateway`."""
        return self.components[name].process


@contextlib.asynccontextmanager
async def running_cluster(options: ClusterOptions | Path) -> AsyncIterator[Cluster]:
    """Start everything, give the cluster to the block once all of it is ready, stop everything after it.

    Raises DirectoryInUse if a cluster runs there already, StartFailed if a part does not come up.
    """
    if isinstance(options, Path):
        options = ClusterOptions(options)
    directory = options.directory.resolve()
    async with contextlib.AsyncExitStack() as stack:
        timeout_s = 0.0 if recorded_supervisor(directory) else 5.0
        lifeline = stack.enter_context(Lifeline(directory, timeout_s))
        stack.enter_context(_prepared(directory))
        yield await _start(options, directory, lifeline, stack)


async def _start(
    options: ClusterOptions, directory: Path, lifeline: Lifeline, stack: contextlib.AsyncExitStack
) -> Cluster:
    """Two waves: what nothing depends on, then what needs the API server."""
    nats_port = free_port(options.nats_port)
    lost = asyncio.get_running_loop().create_future()
    cluster = Cluster(directory, directory / "kubeconfig", f"nats://127.0.0.1:{nats_port}", {}, lost)
    stack.push_async_callback(_stop_all, cluster)

    async def start(component: Component) -> None:
        supervised = cluster.components[component.command.name] = Supervised(
            component, lifeline, lost, options.start_timeout_s
        )
        await supervised.start()

    nats = nats_command(directory, nats_port, options.nats_sync_interval)
    crds = directory / "crds"
    await _together(
        start(_apiserver(options, cluster)),
        start(Component(nats, lambda: jetstream_answers(nats_port))),
        _write_crds(crds, lifeline),
    )
    client = await stack.enter_async_context(KubeClient(cluster.kubeconfig, "protoqueue-devcluster"))
    await _together(
        _install_crds(cluster.kubeconfig, crds),
        start(Component(controllers_command(cluster.kubeconfig, directory), _at_once)),
        start(_node(options, cluster, client)),
        start(_operator(cluster)),
        *([_serve_http(options, cluster, client, start)] if options.gateway else []),
    )
    _write_private(directory / "env", environment_file(cluster.env))
    return cluster


async def _serve_http(
    options: ClusterOptions,
    cluster: Cluster,
    client: KubeClient,
    start: Callable[[Component], Coroutine[Any, Any, None]],
) -> None:
    port = free_port(options.gateway_port)
    url = f"http://127.0.0.1:{port}"
    key = await first_key(client, cluster.directory)
    command = gateway_command(cluster.kubeconfig, cluster.nats_url, cluster.directory, options.gateway_host, port)
    await start(Component(command, lambda: answers_ok(f"{url}/healthz")))
    cluster.gateway.update({"PROTOQUEUE_GATEWAY_URL": url, "PROTOQUEUE_API_KEY": key})


def _write_private(file: Path, text: str) -> None:
    """For its owner alone: it holds a key."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


def environment_file(variables: Mapping[str, str]) -> str:
    """Each variable once for programs that read `NAME=value` lines, and once for the shells that source the file."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    return "".join([*lines, *(f"export {line}" for line in lines)])


def _apiserver(options: ClusterOptions, cluster: Cluster) -> Component:
    command = apiserver_command(cluster.directory, options.api_port, keep=cluster.directory / "objects" / "objects.db")
    return Component(command, lambda: api_is_ready(cluster.kubeconfig), essential=True)


def _node(options: ClusterOptions, cluster: Cluster, client: KubeClient) -> Component:
    command = node_command(
        cluster.kubeconfig,
        cluster.directory,
        working_dir=options.working_dir,
        restart_backoff_s=options.restart_backoff_s,
    )
    return Component(command, lambda: node_is_ready(client, NODE_NAME), grace_s=20)


def _operator(cluster: Cluster) -> Component:
    liveness = f"http://127.0.0.1:{free_port()}/healthz"
    command = operator_command(cluster.kubeconfig, cluster.nats_url, cluster.directory, ["--liveness", liveness])
    return Component(command, lambda: answers_ok(liveness))


async def _at_once() -> bool:
    """For the controllers, whose work shows in the resources only."""
    return True


async def _write_crds(target: Path, lifeline: Lifeline) -> None:
    process = await spawn(crds_command(target, target.parent), lifeline)
    if code := await process.wait():
        raise StartFailed(f"the resource definitions were not written, code {code}:\n{log_tail(process.log)}")


async def _install_crds(kubeconfig: Path, directory: Path) -> None:
    await apply_manifests(kubeconfig, [directory])


async def _stop_all(cluster: Cluster) -> None:
    """The operator first, so that it does not react to the end; NATS after the workers, which hand back tasks."""
    for name in ("gateway", "operator", "node", "controllers", "nats", "apiserver"):
        if name in cluster.components:
            await cluster.components[name].stop()


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def recorded_supervisor(directory: Path) -> psutil.Process | None:
    """The process in charge of the directory's cluster, if it still runs."""
    try:
        record = json.loads((directory / SUPERVISOR_FILE).read_text())
        process = psutil.Process(record["pid"])
        # The start time tells it from a later process of the same number.
        return process if abs(process.create_time() - record["created"]) < 1 else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


@contextlib.contextmanager
def _prepared(directory: Path) -> Iterator[None]:
    """Directories, and word for `protoqueue down` of the process in charge.

    What leads to a cluster goes with it: a stale kubeconfig only puzzles.
    """
    (directory / "crds").mkdir(exist_ok=True)
    (directory / ".gitignore").write_text("*\n")  # the kubeconfig holds a token
    traces = [directory / name for name in ("kubeconfig", "env", SUPERVISOR_FILE)]
    for path in traces:
        path.unlink(missing_ok=True)
    record = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    (directory / SUPERVISOR_FILE).write_text(json.dumps(record))
    try:
        yield
    finally:
        for path in traces:
            path.unlink(missing_ok=True)

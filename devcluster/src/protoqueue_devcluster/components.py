"""The processes a devcluster consists of, each also to be had alone, against any cluster."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from protoqueue_devcluster.kube.access import UnusableKubeconfig, read_access
from protoqueue_devcluster.kube.client import NODES, ApiError, KubeClient
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.processes import Command, Process, running, wait_ready

NODE_NAME = "process-node"


def apiserver_command(directory: Path, port: int, request_log: Path | None = None, keep: Path | None = None) -> Command:
    arguments = ["--dir", str(directory), "--port", str(port)]
    if keep is not None:
        arguments += ["--keep", str(keep)]
    if request_log is not None:
        arguments += ["--request-log", str(request_log)]
    return _python("apiserver", "protoqueue_devcluster.apiserver", arguments, directory)


def controllers_command(kubeconfig: Path, directory: Path) -> Command:
    return _python("controllers", "protoqueue_devcluster.controllers", ["--kubeconfig", str(kubeconfig)], directory)


def node_command(
    kubeconfig: Path,
    directory: Path,
    name: str = NODE_NAME,
    working_dir: Path | None = None,
    bind: bool = False,
    restart_backoff_s: float | None = None,
) -> Command:
    arguments = ["--kubeconfig", str(kubeconfig), "--name", name, "--dir", str(directory / "node")]
    if working_dir is not None:
        arguments += ["--workdir", str(working_dir)]
    if restart_backoff_s is not None:
        arguments += ["--restart-backoff", str(restart_backoff_s)]
    return _python("node", "protoqueue_devcluster.node", [*arguments, *(["--bind"] if bind else [])], directory)


def operator_command(
    kubeconfig: Path,
    nats_url: str,
    directory: Path,
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Command:
    variables = {"KUBECONFIG": str(kubeconfig), "PROTOQUEUE_NATS_URL": nats_url, **(env or {})}
    return _python("operator", "protoqueue_operator", ["run", *arguments], directory, variables)


def gateway_command(kubeconfig: Path, nats_url: str, directory: Path, host: str, port: int) -> Command:
    variables = {"KUBECONFIG": str(kubeconfig), "PROTOQUEUE_NATS_URL": nats_url}
    return _python("gateway", "protoqueue_gateway", ["--host", host, "--port", str(port)], directory, variables)


def crds_command(target: Path, directory: Path) -> Command:
    return _python("crds", "protoqueue_operator", ["crds", str(target)], directory)


def _python(
    name: str, module: str, arguments: Sequence[str], directory: Path, env: Mapping[str, str] | None = None
) -> Command:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
    return Command(name, [sys.executable, "-m", module, *arguments], environment, directory / "logs" / f"{name}.log")


async def node_is_ready(client: KubeClient, name: str) -> bool:
    """Whether the node has registered and says that it is ready."""
    try:
        node = await client.get(NODES, name)
    except (ApiError, aiohttp.ClientError, TimeoutError):
        return False
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


async def answers_ok(url: str) -> bool:
    """Whether an HTTP GET is answered with 200."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def api_is_ready(kubeconfig: Path) -> bool:
    """Whether the kubeconfig has been written and the server in it answers."""
    try:
        async with KubeClient(kubeconfig, "protoqueue-devcluster") as client:
            await client.list(NODES)
    except (ApiError, aiohttp.ClientError, TimeoutError, OSError, UnusableKubeconfig):
        return False
    return True


@dataclass(frozen=True)
class ApiServer:
    """A running API server."""

    kubeconfig: Path
    url: str
    pid: int


@contextlib.asynccontextmanager
async def running_apiserver(
    directory: Path, port: int = 0, request_log: Path | None = None, *, lifeline: Lifeline | None = None
) -> AsyncIterator[ApiServer]:
    """An API server that answers, its kubeconfig in `directory`; with `request_log`, a JSON line there per request.

    Raises StartFailed.
    """
    kubeconfig = directory / "kubeconfig"
    kubeconfig.unlink(missing_ok=True)  # an earlier server's would be taken for this one's
    with _hold(directory / "apiserver-owner", lifeline) as hold:
        async with running(apiserver_command(directory, port, request_log), hold) as process:
            await wait_ready(process, lambda: api_is_ready(kubeconfig))
            yield ApiServer(kubeconfig, read_access(kubeconfig).server, process.pid)


@contextlib.asynccontextmanager
async def running_controllers(
    kubeconfig: Path, directory: Path, lifeline: Lifeline | None = None
) -> AsyncIterator[Process]:
    """The Deployment, ReplicaSet, StatefulSet controllers and the scheduler."""
    with _hold(directory / "controllers", lifeline) as hold:
        async with running(controllers_command(kubeconfig, directory), hold) as process:
            yield process


@contextlib.asynccontextmanager
async def running_node(
    kubeconfig: Path,
    directory: Path,
    name: str = NODE_NAME,
    *,
    working_dir: Path | None = None,
    bind: bool = False,
    restart_backoff_s: float | None = None,
    lifeline: Lifeline | None = None,
) -> AsyncIterator[Process]:
    """A process node, registered and ready; `bind` makes it the guest of a real cluster."""
    command = node_command(kubeconfig, directory, name, working_dir, bind, restart_backoff_s)
    with _hold(directory / "node-owner", lifeline) as hold:
        async with running(command, hold, grace_s=20) as process, KubeClient(kubeconfig, "running-node") as client:
            await wait_ready(process, lambda: node_is_ready(client, name))
            yield process


@contextlib.asynccontextmanager
async def running_operator(
    kubeconfig: Path,
    nats_url: str,
    directory: Path,
    *,
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    lifeline: Lifeline | None = None,
) -> AsyncIterator[Process]:
    """The real operator as a process. It is given to the block as soon as it runs: its work shows in the resources."""
    with _hold(directory / "operator-owner", lifeline) as hold:
        async with running(operator_command(kubeconfig, nats_url, directory, arguments, env), hold) as process:
            yield process


@contextlib.contextmanager
def _hold(directory: Path, lifeline: Lifeline | None) -> Iterator[Lifeline]:
    """The given lifeline, or one of its own for the duration of the block."""
    if lifeline is not None:
        yield lifeline
    else:
        with Lifeline(directory) as own:
            yield own

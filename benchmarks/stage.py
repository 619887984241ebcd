"""What the operator's benchmarks run on: NATS, embedded Kubernetes API and operator, or a cluster that is there."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from protoqueue_devcluster.components import answers_ok, api_is_ready, apiserver_command, operator_command
from protoqueue_devcluster.kube.client import NAMESPACES, ApiError, KubeClient
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.manifests import apply_manifests
from protoqueue_devcluster.nats import running_nats
from protoqueue_devcluster.processes import Process, free_port, running, spawn, wait_ready

T = TypeVar("T")

USER_AGENT = "protoqueue-benchmark"
CRDS = Path(__file__).resolve().parent.parent / "crds"
_DELETION_PATIENCE_S = 300
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class Requests:
    """What the embedded API server was asked to write by anybody but the benchmark."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def writes(self) -> Counter[str]:
        """How many so far, by verb and resource."""
        found: Counter[str] = Counter()
        if not self._path.exists():
            return found
        for line in self._path.read_text(encoding="utf-8").splitlines():
            request = json.loads(line)
            if request["verb"] in _WRITES and request["userAgent"] != USER_AGENT:
                what = "/".join(filter(None, (request["resource"], request["subresource"])))
                found[f"{request['verb']} {what}"] += 1
        return found


class Operator:
    """The operator as a process of ours: to be weighed and restarted."""

    def __init__(self, kubeconfig: Path, nats_url: str, directory: Path, lifeline: Lifeline) -> None:
        self._liveness = f"http://127.0.0.1:{free_port()}/healthz"
        self._command = operator_command(kubeconfig, nats_url, directory, ["--liveness", self._liveness])
        self._lifeline = lifeline
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def start(self) -> None:
        """Return once it answers its liveness probe. Raises StartFailed."""
        self._process = await spawn(self._command, self._lifeline)
        await wait_ready(self._process, lambda: answers_ok(self._liveness))

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def stop(self) -> None:
        if self._process:
            await self._process.stop()
            self._process = None


@dataclass(frozen=True)
class Stage:
    """`operator`, `requests` and the other processes' numbers are known only of what the benchmark started itself."""

    kubeconfig: Path
    nats_url: str
    client: KubeClient
    operator: Operator | None = None
    requests: Requests | None = None
    nats_pid: int | None = None
    apiserver_pid: int | None = None

    def meters(self) -> "dict[str, Meter]":
        """Of what runs besides the operator."""
        pids = {"nats-server": self.nats_pid, "API server": self.apiserver_pid, "benchmark": os.getpid()}
        return {name: Meter(pid) for name, pid in pids.items() if pid}

    def writes(self) -> Counter[str]:
        return self.requests.writes() if self.requests else Counter()


class Meter:
    """CPU time of a process, in cores, since the last reading."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.read()

    def read(self) -> float:
        """Cores used on average since the last call."""
        now, used = time.monotonic(), sum(self._process.cpu_times()[:2])
        before = getattr(self, "_before", (now, used))
        self._before = now, used
        return (used - before[1]) / (now - before[0]) if now > before[0] else 0.0


def readings(meters: dict[str, Meter]) -> str:
    return ", ".join(f"{name} {100 * meter.read():.0f}%" for name, meter in meters.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", type=Path, help="a cluster with the resource definitions; default: embedded")
    parser.add_argument("--nats-url", help="with --kubeconfig: the NATS of that cluster's operator, as seen from here")
    parser.add_argument(
        "--run-operator", action="store_true", help="with --kubeconfig: no operator runs there, run it from here"
    )
    parser.add_argument("--keep", type=Path, help="a new directory for logs and data, kept; default: a temporary one")


def run(main: Coroutine[Any, Any, T], limit_s: float) -> T:
    """As asyncio.run, for so long at most; SIGTERM ends it as Ctrl-C does, with everything stopped that was started."""

    async def bounded() -> T:
        async with asyncio.timeout(limit_s):
            return await main

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return asyncio.run(bounded())


@contextlib.contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    if kept:
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="protoqueue-bench-") as name:
            yield Path(name)


@contextlib.asynccontextmanager
async def staged(options: argparse.Namespace) -> AsyncIterator[Stage]:
    """Everything the options ask for, ready; whatever was started for it is stopped after the block."""
    with _directory(options.keep) as directory:
        async with contextlib.AsyncExitStack() as stack:
            lifeline = stack.enter_context(Lifeline(directory))
            stage = await (_existing if options.kubeconfig else _embedded)(options, directory, lifeline, stack)
            if options.run_operator or not options.kubeconfig:
                operator = Operator(stage.kubeconfig, stage.nats_url, directory, lifeline)
                stack.push_async_callback(operator.stop)
                await operator.start()
                stage = replace(stage, operator=operator)
            yield stage


@contextlib.asynccontextmanager
async def namespace(stage: Stage) -> AsyncIterator[str]:
    """A namespace of our own. Where the cluster outlives the benchmark, it is deleted with all that is in it."""
    created = await stage.client.create(NAMESPACES, {"metadata": {"generateName": "bench-"}})
    name, uid = created["metadata"]["name"], created["metadata"]["uid"]
    try:
        yield name
    finally:
        if stage.requests is None:
            await stage.client.delete(NAMESPACES, name, None, uid)
            await _gone(stage.client, name)


async def _gone(client: KubeClient, name: str) -> None:
    """While the operator still runs: it lets go of what is deleted. Raises TimeoutError."""
    async with asyncio.timeout(_DELETION_PATIENCE_S):
        while True:
            try:
                await client.get(NAMESPACES, name)
            except ApiError as error:
                if error.code == 404:
                    return
                raise
            await asyncio.sleep(0.5)


async def _existing(
    options: argparse.Namespace, _directory: Path, _lifeline: Lifeline, stack: contextlib.AsyncExitStack
) -> Stage:
    if not options.nats_url:
        raise SystemExit("--kubeconfig also needs --nats-url: the benchmark publishes tasks")
    client = await stack.enter_async_context(KubeClient(options.kubeconfig, USER_AGENT))
    return Stage(options.kubeconfig, options.nats_url, client)


async def _embedded(
    _options: argparse.Namespace, directory: Path, lifeline: Lifeline, stack: contextlib.AsyncExitStack
) -> Stage:
    nats = await stack.enter_async_context(running_nats(directory, lifeline=lifeline))
    log, kubeconfig = directory / "requests.jsonl", directory / "kubeconfig"
    command = apiserver_command(directory, 0)
    command = replace(command, arguments=[*command.arguments, "--request-log", str(log)])
    apiserver = await stack.enter_async_context(running(command, lifeline))
    await wait_ready(apiserver, lambda: api_is_ready(kubeconfig))
    await apply_manifests(kubeconfig, [CRDS])
    client = await stack.enter_async_context(KubeClient(kubeconfig, USER_AGENT))
    return Stage(kubeconfig, nats.url, client, requests=Requests(log), nats_pid=nats.pid, apiserver_pid=apiserver.pid)


async def settle(operator: Operator, below_cores: float, timeout_s: float) -> float:
    """Wait for two seconds in a row of less CPU than this; returns how long it took until they began."""
    meter, started, calm = Meter(operator.pid), time.monotonic(), 0
    while calm < 2 and time.monotonic() - started < timeout_s:
        await asyncio.sleep(1)
        calm = calm + 1 if meter.read() < below_cores else 0
    return time.monotonic() - started - calm

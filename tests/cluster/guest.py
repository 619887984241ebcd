"""A process node beside a cluster that was there before the tests and stays when they have gone."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from protoqueue_devcluster.components import running_node
from protoqueue_devcluster.kube.client import NODES, KubeClient


@contextlib.asynccontextmanager
async def running_guest(
    kubeconfig: Path, directory: Path, name: str, *, restart_backoff_s: float
) -> AsyncIterator[None]:
    """A node that stops leaves its object; this takes it along."""
    async with running_node(kubeconfig, directory, name, bind=True, restart_backoff_s=restart_backoff_s):
        yield
    async with KubeClient(kubeconfig, "cluster-tests") as client:
        await client.delete(NODES, name, None, (await client.get(NODES, name))["metadata"]["uid"])

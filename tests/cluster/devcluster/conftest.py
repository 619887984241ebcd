"""A cluster with a process node: the embedded one, or with PROTOQUEUE_TEST_KUBECONFIG any real one."""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cluster.devcluster.pods import Space
from cluster.guest import running_guest
from protoqueue_devcluster.components import running_apiserver, running_controllers, running_node
from protoqueue_devcluster.kube.client import NAMESPACES, KubeClient

RESTART_BACKOFF_S = 0.5


@pytest_asyncio.fixture(scope="session")
async def node_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A cluster with controllers and one process node."""
    directory = tmp_path_factory.mktemp("node-cluster")
    if real := os.environ.get("PROTOQUEUE_TEST_KUBECONFIG"):
        name = f"protoqueue-test-{uuid.uuid4().hex[:8]}"
        async with running_guest(Path(real), directory, name, restart_backoff_s=RESTART_BACKOFF_S):
            yield Path(real)
        return
    async with (
        running_apiserver(directory) as api,
        running_controllers(api.kubeconfig, directory),
        running_node(api.kubeconfig, directory, restart_backoff_s=RESTART_BACKOFF_S),
    ):
        yield api.kubeconfig


@pytest_asyncio.fixture
async def space(node_kubeconfig: Path) -> AsyncIterator[Space]:
    """A namespace of its own for every test."""
    async with KubeClient(node_kubeconfig, "protoqueue-tests") as client:
        namespace = f"node-{uuid.uuid4().hex[:8]}"
        made = await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        yield Space(client, node_kubeconfig, namespace)
        await client.delete(NAMESPACES, namespace, None, made["metadata"]["uid"])

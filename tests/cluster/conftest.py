"""The whole system: an API server, NATS, the operator and a process node, each a process of its own.

By default all of it is a devcluster made for the session. PROTOQUEUE_TEST_KUBECONFIG names a cluster to use instead:
there the definitions are installed, and NATS, the operator and the node are started beside it.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

import nats
from cluster.guest import running_guest
from cluster.lab import DEFINITIONS, Lab, unique
from cluster.operator_process import OperatorProcess
from cluster.rights import RightsProof
from nats_server import NatsServer
from protoqueue_devcluster.components import running_apiserver, running_controllers, running_node
from protoqueue_devcluster.kube.client import NAMESPACES, ApiError, KubeClient
from protoqueue_operator.api.v1alpha1.crd import crds
from waiting import eventually

RESTART_BACKOFF_S = 0.2


@pytest.fixture(scope="session")
async def kubeconfig(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> AsyncIterator[Path]:
    directory = tmp_path_factory.mktemp("cluster")
    log = directory / "requests.jsonl"
    rights = pytestconfig.pluginmanager.get_plugin(RightsProof.__name__)
    async with contextlib.AsyncExitStack() as stack:
        given = os.environ.get("PROTOQUEUE_TEST_KUBECONFIG")
        if given:
            path = Path(given)
            rights.leave_out()
            await stack.enter_async_context(
                running_guest(path, directory / "node", unique("node"), restart_backoff_s=RESTART_BACKOFF_S)
            )
        else:
            stack.callback(lambda: rights.add(log))  # the last thing to happen: every watch has ended by then
            path = (await stack.enter_async_context(running_apiserver(directory / "api", request_log=log))).kubeconfig
            await stack.enter_async_context(running_controllers(path, directory / "controllers"))
            await stack.enter_async_context(running_node(path, directory / "node", restart_backoff_s=RESTART_BACKOFF_S))
        yield path


@pytest.fixture(scope="session")
async def kube(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    async with KubeClient(kubeconfig, "cluster-tests") as client:
        for definition in crds().values():
            await client.apply(DEFINITIONS, definition, definition["metadata"]["name"], "cluster-tests")

        async def established() -> bool:
            for definition in crds().values():
                body = await client.get(DEFINITIONS, definition["metadata"]["name"])
                conditions = body.get("status", {}).get("conditions", [])
                if not any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
                    return False
            return True

        await eventually(established)
        yield client


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
async def connection(server: NatsServer) -> AsyncIterator[Nats]:
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0)
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def operator(
    kubeconfig: Path, kube: KubeClient, server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperatorProcess]:
    directory = tmp_path_factory.mktemp("operator")
    process = OperatorProcess(kubeconfig, server.url, directory, "--target-period", "1")
    process.start()
    yield process
    # While there is an operator: without one nobody would take the finalizers off what the tests have left behind.
    with contextlib.suppress(AssertionError):  # a test that failed has said more than what it leaves
        await eventually(lambda: _namespaces_are_gone(kube), timeout_s=120, interval_s=0.5)
    process.stop()


async def _namespaces_are_gone(kube: KubeClient) -> bool:
    mine = f"test-{os.getpid()}-"
    items = (await kube.list(NAMESPACES, None))["items"]
    return not any(each["metadata"]["name"].startswith(mine) for each in items)


@pytest.fixture
async def lab(
    kube: KubeClient, operator: OperatorProcess, server: NatsServer, connection: Nats, tmp_path: Path
) -> AsyncIterator[Lab]:
    """A namespace of this test's own. Its streams go with it, as far as the test has left them behind."""
    name = unique("test")
    await kube.create(NAMESPACES, {"metadata": {"name": name}})
    lab = Lab(kube, connection, server.url, name, tmp_path)
    yield lab
    with contextlib.suppress(ApiError):  # a test may have deleted it itself
        await lab.delete_namespace()

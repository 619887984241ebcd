"""One API server for the whole run; widgets defined once; a namespace of its own for each test.

The server is the embedded one, or the real cluster whose kubeconfig PROTOQUEUE_TEST_KUBECONFIG names (with a token or
client certificate that may do everything; what the tests make there, they remove).
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.kubeapi import Api, connected, real_cluster
from conformance.kubectl import Kubectl
from conformance.widgets import Widgets, definition, unique
from protoqueue_devcluster.components import running_apiserver
from waiting import eventually


@pytest.fixture(scope="session")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    kubeconfig: Path | None = real_cluster()
    if kubeconfig is not None:
        async with connected(kubeconfig) as client:
            yield client
        return
    async with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        async with connected(server.kubeconfig) as client:
            yield client


@pytest.fixture(scope="session")
def embedded() -> None:
    """For what only the embedded server can be asked to do."""
    if real_cluster() is not None:
        pytest.skip("needs the embedded API server")


@pytest.fixture(scope="session")
async def group(api: Api) -> AsyncIterator[str]:
    """The API group of the widgets, defined and served."""
    name = f"{unique('lab')}.example.com"
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await api.post(definitions, definition(name))).status == 201

    async def served() -> bool:
        return (await api.get(f"/apis/{name}/v1/widgets")).status == 200

    await eventually(served)
    yield name
    await api.delete(f"{definitions}/widgets.{name}")


@pytest.fixture
async def namespace(api: Api) -> AsyncIterator[str]:
    name = unique("conformance")
    assert (await api.post("/api/v1/namespaces", {"metadata": {"name": name}})).status == 201
    yield name
    await api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def widgets(group: str, namespace: str) -> Widgets:
    return Widgets(group, namespace)


@pytest.fixture
def kubectl(api: Api, namespace: str, tmp_path: Path) -> Kubectl:
    return Kubectl(api.kubeconfig, namespace, tmp_path)

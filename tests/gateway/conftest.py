"""A whole cluster of this session, and real gateways in front of it."""

import base64
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from gateway.api import Api
from gateway.gateway_process import GatewayProcess
from gateway.visitor import Visitor, signed_in
from protoqueue_devcluster.cluster import Cluster, running_cluster
from protoqueue_devcluster.kube.client import SECRETS, ApiError, KubeClient
from protoqueue_gateway.auth.keys import digest_of

_numbers = itertools.count(1)
_SECRET = "keys-of-the-tests"

StartGateway: TypeAlias = Callable[..., Awaitable[GatewayProcess]]


class Keys:
    """API keys of the tests' own."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    async def make(self, *allow: dict[str, Any], expires: timedelta | None = None) -> str:
        """The text of a new key; a gateway knows it within ten seconds."""
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
        entry: dict[str, Any] = {"sha256": digest_of(secret), "name": "test", "allow": list(allow)}
        if expires is not None:
            entry["expires"] = (datetime.now(UTC) + expires).isoformat()
        await self.write({key_id: entry})
        return f"pq_{key_id}_{secret}"

    async def write(self, entries: dict[str, Any]) -> None:
        data = {
            name: None if entry is None else base64.b64encode(json.dumps(entry).encode()).decode()
            for name, entry in entries.items()
        }
        try:
            await self._kube.merge(SECRETS, {"data": data}, _SECRET, "default")
        except ApiError:
            labels = {"protoqueue.dev/api-keys": "true"}
            await self._kube.create(SECRETS, {"metadata": {"name": _SECRET, "labels": labels}, "data": data}, "default")

    async def revoke(self, key: str) -> None:
        await self.write({key.split("_")[1]: None})


EVERYTHING = {"queues": ["*"], "actions": ["admin"]}


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def kube(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster.kubeconfig, "gateway-tests") as client:
        yield client


@pytest.fixture(scope="session")
async def keys(kube: KubeClient) -> Keys:
    return Keys(kube)


@pytest.fixture(scope="session")
async def admin_key(keys: Keys) -> str:
    return await keys.make(EVERYTHING)


@pytest.fixture(scope="session")
async def gateway(
    cluster: Cluster, admin_key: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    process = GatewayProcess(cluster.kubeconfig, cluster.nats_url, tmp_path_factory.mktemp("gateway"))
    await process.start()
    yield process
    log = process.log.read_text()
    status = await process.stop()
    assert status == 0, log
    assert "Traceback" not in log, log


@pytest.fixture
async def start_gateway(cluster: Cluster, admin_key: str, tmp_path: Path) -> AsyncIterator[StartGateway]:
    """More gateways: `await start_gateway("--insecure-no-auth", PORT="0")`."""
    started: list[GatewayProcess] = []

    async def start(*arguments: str, **variables: str) -> GatewayProcess:
        directory = tmp_path / f"gateway-{len(started)}"
        process = GatewayProcess(cluster.kubeconfig, cluster.nats_url, directory, *arguments, variables=variables)
        started.append(process)
        await process.start()
        return process

    yield start
    for process in started:
        await process.kill()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        yield session


@pytest.fixture
def api(session: aiohttp.ClientSession, gateway: GatewayProcess, admin_key: str) -> Api:
    return Api(session, gateway.url, admin_key)


@pytest.fixture
def name() -> str:
    """The name of a queue that no other test has."""
    return f"q{next(_numbers)}"


@pytest.fixture
async def plain() -> AsyncIterator[aiohttp.ClientSession]:
    """No cookies are kept but by the visitors themselves."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        yield session


@pytest.fixture
def visitor(plain: aiohttp.ClientSession, gateway: GatewayProcess) -> Callable[..., Visitor]:
    return lambda url=gateway.url: Visitor(plain, url)


@pytest.fixture
async def admin(visitor: Callable[..., Visitor], admin_key: str) -> Visitor:
    return await signed_in(visitor(), admin_key)

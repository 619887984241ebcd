"""One real nats-server for the whole session; a queue of its own for every test."""

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

import nats
import protoqueue
from nats_server import NatsServer
from provisioning import GroupSpec, QueueSpec, provision

_numbers = itertools.count(1)
MakeQueue = Callable[..., Awaitable[protoqueue.Queue]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nc(server: NatsServer) -> AsyncIterator[Nats]:
    connection = await nats.connect(server.url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def client(server: NatsServer) -> AsyncIterator[protoqueue.Client]:
    async with await protoqueue.connect(server.url) as client:
        yield client


@pytest.fixture
def queue_name() -> str:
    """A name that no other test has."""
    return f"q{next(_numbers)}"


@pytest.fixture
def make_queue(nc: Nats, client: protoqueue.Client, queue_name: str) -> MakeQueue:
    """Provision this test's queue: `await make_queue(GroupSpec(...), levels=1)`."""

    async def make(*groups: GroupSpec, **spec: object) -> protoqueue.Queue:
        await provision(nc, QueueSpec(queue_name, **spec), groups or (GroupSpec(),))  # type: ignore[arg-type]
        return await client.queue(f"default/{queue_name}")

    return make


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on what the shell has set."""
    for name in [name for name in os.environ if name.startswith(("PROTOQUEUE_", "NATS_URL"))]:
        with contextlib.suppress(KeyError):
            monkeypatch.delenv(name)
    yield

"""One real nats-server for the whole session; a queue of its own for every test."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

import nats
import protoqueue
from backends import Backend
from nats_server import NatsServer
from protoqueue.broker.override import use_broker
from protoqueue.testing import InMemory
from provisioning import GroupSpec, QueueSpec, group_config, provision, queue_config
from worker_process import WorkerProcess

_numbers = itertools.count(1)
MakeQueue: TypeAlias = Callable[..., Awaitable[protoqueue.Queue]]
MakeWorker: TypeAlias = Callable[..., protoqueue.Worker]
Start: TypeAlias = Callable[[protoqueue.Worker], asyncio.Task[None]]
HandBack: TypeAlias = Callable[[int], Awaitable[None]]
StartProcess: TypeAlias = Callable[..., WorkerProcess]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    server.kill()  # an orderly shutdown of a thousand streams takes ten seconds


@pytest_asyncio.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One for this test alone, which may stop and kill it."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    yield server
    server.kill()


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
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name)


@pytest.fixture
def make_queue(nc: Nats, client: protoqueue.Client, queue_name: str) -> MakeQueue:
    """Provision this test's queue: `await make_queue(GroupSpec(...), levels=1)`."""

    async def make(*groups: GroupSpec, **spec: object) -> protoqueue.Queue:
        await provision(nc, QueueSpec(queue_name, **spec), groups or (GroupSpec(),))  # type: ignore[arg-type]
        return await client.queue(f"default/{queue_name}")

    return make


@pytest.fixture
def make_worker(server: NatsServer, queue_name: str) -> MakeWorker:
    """A worker of this test's queue, in this process: `make_worker(group=..., concurrency=...)`."""

    def make(**options: Any) -> protoqueue.Worker:
        return protoqueue.Worker(f"default/{queue_name}", **{"group": "mailers", "url": server.url} | options)

    return make


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    """Run workers until the test ends; a worker that fails fails the test."""
    running: list[tuple[protoqueue.Worker, asyncio.Task[None]]] = []

    def begin(worker: protoqueue.Worker) -> asyncio.Task[None]:
        task = asyncio.create_task(worker.serve())
        running.append((worker, task))
        return task

    yield begin
    for worker, _ in running:
        worker.stop()
    await asyncio.wait_for(asyncio.gather(*(task for _, task in running)), 60)


@pytest_asyncio.fixture(params=["nats", "memory"])
async def backend(request: pytest.FixtureRequest, server: NatsServer, nc: Nats) -> AsyncIterator[Backend]:
    if request.param == "nats":

        async def on_nats(spec: QueueSpec, *groups: GroupSpec) -> None:
            await provision(nc, spec, groups)

        async with await protoqueue.connect(server.url) as client:
            yield Backend(client, server.url, on_nats)
        return
    memory = InMemory()

    async def in_memory(spec: QueueSpec, *groups: GroupSpec) -> None:
        memory.add_queue(queue_config(spec), max_tasks=spec.limits.get("max_msgs", -1))
        for group in groups:
            memory.add_group(group_config(spec, group), start_from="All" if group.deliver_all else "New")

    with use_broker(memory.broker):
        async with memory.client as client:
            yield Backend(client, None, in_memory)


@pytest.fixture
def hand_back(make_worker: MakeWorker) -> HandBack:
    """Have a worker begin a task and stop before it is done, so many times: what a rolling deployment does."""

    async def repeat(times: int) -> None:
        for _ in range(times):
            worker, started = make_worker(grace_s=0), asyncio.Event()

            @worker.handler
            async def hang(payload: Any, *, started: asyncio.Event = started) -> None:
                started.set()
                await asyncio.sleep(60)

            serving = asyncio.create_task(worker.serve())
            await asyncio.wait_for(started.wait(), 60)
            worker.stop()
            await asyncio.wait_for(serving, 60)

    return repeat


@pytest.fixture
def processes(server: NatsServer, queue_name: str, tmp_path: Path) -> Iterator[StartProcess]:
    """Workers in processes of their own, from a module's text: `processes(text, concurrency=1)`."""
    started: list[WorkerProcess] = []

    def begin(text: str, *, queue: str = f"default/{queue_name}", **options: Any) -> WorkerProcess:
        process = WorkerProcess(text, server.url, queue, tmp_path / str(len(started)), **options)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on what the shell has set."""
    for name in [name for name in os.environ if name.startswith(("PROTOQUEUE_", "NATS_URL"))]:
        monkeypatch.delenv(name)

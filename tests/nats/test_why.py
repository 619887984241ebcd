"""What `protoqueue why` finds without a cluster: in NATS, and by asking the workers."""

import asyncio
from typing import Any

import pytest

from nats_server import NatsServer
from ports import free_port
from protoqueue import NewTask, Reject, Throttle
from protoqueue.cli.why import look
from protoqueue.diagnosis.diagnose import diagnose
from protoqueue.diagnosis.facts import Finding
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec, api
from waiting import eventually


@pytest.fixture(autouse=True)
def no_cluster(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOQUEUE_NATS_URL", server.url)
    monkeypatch.setenv("PATH", "/nowhere")


async def findings(queue_name: str) -> list[Finding]:
    facts = await look(QueueName("default", queue_name), 0.1)
    assert facts.kubernetes_problem == "conditions not shown: kubectl not found on PATH"
    return diagnose(facts)


async def finds(queue_name: str, cause: str, *words: str) -> None:
    async def found() -> bool:
        (first, *_) = await findings(queue_name) or [Finding("", "nothing was found", "")]
        assert first.cause == cause, first
        assert not [word for word in words if word not in f"{first.what} {first.todo}"], first
        return True

    await eventually(found)


async def test_nats_that_is_away_is_the_cause(queue_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOQUEUE_NATS_URL", f"nats://127.0.0.1:{free_port()}")
    await finds(queue_name, "NatsAway", "127.0.0.1", "PROTOQUEUE_NATS_URL")


async def test_tasks_that_nobody_works_on(make_queue, queue_name: str) -> None:
    queue = await make_queue()
    await queue.enqueue(1)
    await finds(queue_name, "NoWorkers", "1 task is waiting and no worker of mailers responds", "protoqueue worker")


async def test_a_rate_limit_that_holds_workers_back(make_queue, make_worker, start, queue_name: str) -> None:
    queue, worker = await make_queue(rate_limit={"tasks": 1, "per": 3600, "burst": 1}), make_worker()
    done: list[int] = []

    @worker.handler
    async def work(payload: int) -> None:
        done.append(payload)

    await queue.enqueue_batch([1, 2, 3])
    start(worker)
    await eventually(lambda: done)
    await finds(queue_name, "RateLimited", "1 per 1h", "spec.rateLimit")


async def test_a_handler_that_has_closed_its_group(make_queue, make_worker, start, queue_name: str) -> None:
    queue, worker = await make_queue(), make_worker()

    @worker.handler
    async def ask(payload: int) -> None:
        raise Throttle(delay=3600, why="429 from the bank")

    await queue.enqueue_batch([1, 2])
    start(worker)
    await finds(queue_name, "Throttled", "429 from the bank", "it ends by itself")


async def test_outcomes_that_cannot_be_stored(make_queue, make_worker, start, nc: Any, queue_name: str) -> None:
    queue = await make_queue(GroupSpec(visibility_s=2))
    await api(nc, f"STREAM.DELETE.{QueueName('default', queue_name).dead_letter_stream}", {})
    worker = make_worker(concurrency=2)

    @worker.handler
    async def refuse(payload: int) -> None:
        raise Reject("bad")

    await queue.enqueue_batch([NewTask(number) for number in range(4)])
    start(worker)
    await finds(queue_name, "Unsettled", "outcomes cannot be stored", "protoqueue logs")


async def test_an_ordered_partition_that_stands(make_queue, make_worker, start, queue_name: str) -> None:
    retry = {"initial_delay": 3600, "max_delay": 3600}
    queue = await make_queue(GroupSpec(retry=retry), partitions=2)
    worker, failed = make_worker(), asyncio.Event()

    @worker.handler
    async def fail(payload: int) -> None:
        failed.set()
        raise RuntimeError("the bank does not answer")

    first = await queue.enqueue(1, ordering_key="a", type="charge")
    await queue.enqueue_batch([NewTask(number, ordering_key="a") for number in range(5)])
    start(worker)
    await asyncio.wait_for(failed.wait(), 60)
    cancel = f"protoqueue cancel default/{queue_name} {first.id}"
    await finds(queue_name, "StuckPartition", "5 tasks wait behind it", cancel)


async def test_tasks_that_kill_their_workers(make_queue, processes, queue_name: str) -> None:
    queue = await make_queue(GroupSpec(visibility_s=1, retry={"max_crashes": 1}))
    text = "import os\n\n@worker.handler('render')\nasync def die(payload: int) -> None:\n    os._exit(9)\n"
    receipt = await queue.enqueue(1, type="render")
    first = processes(text)
    await eventually(lambda: not first.alive)
    processes(text)
    show = f"protoqueue dead show default/{queue_name} {receipt.id}"
    await finds(queue_name, "PoisonTask", "1 task of type render killed the workers", show)


async def test_nothing_is_found_where_all_is_well(make_queue, make_worker, start, queue_name: str) -> None:
    queue, worker = await make_queue(), make_worker(grace_s=0)
    running = asyncio.Event()

    @worker.handler
    async def work(payload: int) -> None:
        running.set()
        await asyncio.sleep(3600)

    await queue.enqueue(1)
    start(worker)
    await asyncio.wait_for(running.wait(), 60)
    assert await findings(queue_name) == []

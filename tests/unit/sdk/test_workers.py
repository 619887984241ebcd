"""Several workers in one process."""

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.error import HTTPError

import pytest
import pytest_asyncio

import protoqueue
from protoqueue import ConfigurationError, Worker
from protoqueue.testing import InMemory, in_memory
from protoqueue.workers import serve_workers
from waiting import eventually


@pytest_asyncio.fixture
async def memory() -> AsyncIterator[InMemory]:
    async with in_memory("shop/emails", group="mailers") as backend:
        backend.add_queue("shop/webhooks")
        backend.add_group("shop/webhooks", "callers")
        yield backend


def worker_of(queue: str, seen: list[object], **options: object) -> Worker:
    worker = Worker(queue, **options)

    @worker.handler
    async def work(payload: object) -> None:
        seen.append((queue, payload))

    return worker


async def served(*workers: Worker) -> tuple[asyncio.Task[None], asyncio.Event]:
    stop = asyncio.Event()
    return asyncio.create_task(serve_workers(workers, stop)), stop


async def test_each_worker_works_on_its_own_queue_with_slots_of_its_own_until_all_are_told_to_stop(memory) -> None:
    seen, blocked = [], asyncio.Event()
    emails, webhooks = Worker("shop/emails", concurrency=1), worker_of("shop/webhooks", seen, concurrency=2)

    @emails.handler
    async def slow(payload: object) -> None:
        seen.append(("shop/emails", payload))
        await blocked.wait()
        seen.append("finished")

    serving, stop = await served(emails, webhooks)
    async with protoqueue.connect() as client:
        for number in range(3):
            await (await client.queue("shop/emails")).enqueue(number)
            await (await client.queue("shop/webhooks")).enqueue(number)
        await eventually(lambda: len(seen) == 4)
        assert [queue for queue, _ in seen].count("shop/emails") == 1
        stop.set()
        await asyncio.sleep(0)
        assert not serving.done()
        blocked.set()
        await serving
    assert "finished" in seen


async def test_when_one_ends_the_others_finish_and_what_it_raised_is_raised(memory) -> None:
    seen: list[object] = []
    emails, webhooks = worker_of("shop/emails", seen), worker_of("shop/webhooks", seen)

    @webhooks.lifespan
    async def broken():
        raise OSError("no database")
        yield

    serving, stop = await served(emails, webhooks)
    with pytest.raises(OSError, match="no database"):
        await serving
    assert not stop.is_set()


async def test_one_that_is_told_to_stop_stops_all(memory) -> None:
    seen: list[object] = []
    emails, webhooks = worker_of("shop/emails", seen), worker_of("shop/webhooks", seen)
    serving, _ = await served(emails, webhooks)
    async with protoqueue.connect() as client:
        await (await client.queue("shop/emails")).enqueue(1)
    await eventually(lambda: seen)
    emails.stop()
    await serving


@pytest.mark.parametrize("group", [None, "mailers"])
async def test_two_workers_of_one_group_are_refused(memory, group) -> None:
    with pytest.raises(ConfigurationError, match=r"two workers are for .*shop/emails.*: raise the concurrency of one"):
        await serve_workers([worker_of("shop/emails", [], group=group) for _ in range(2)], asyncio.Event())


async def test_the_group_of_the_environment_is_one_of_the_queue_there(memory, monkeypatch) -> None:
    monkeypatch.setenv("PROTOQUEUE_QUEUE", "shop/emails")
    monkeypatch.setenv("PROTOQUEUE_GROUP", "mailers")
    emails, webhooks = worker_of("", []), worker_of("shop/webhooks", [])
    assert [str(worker.identity()[1]) for worker in (emails, webhooks)] == ["shop/emails/mailers", "None"]
    assert str(worker_of("shop/emails", []).identity()[1]) == "shop/emails/mailers"


async def test_one_server_answers_for_all_and_describes_each_metric_once(memory, monkeypatch) -> None:
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port))
    goes_on, seen = asyncio.Event(), []
    emails, webhooks = worker_of("shop/emails", seen), worker_of("shop/webhooks", seen)

    @webhooks.lifespan
    async def slow_to_start():
        await goes_on.wait()
        yield

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    async def ask(path: str) -> tuple[int, str]:
        with suppress(OSError):
            return await asyncio.to_thread(get, path)
        return 0, ""

    serving, stop = await served(emails, webhooks)

    async def one_is_ready() -> bool:
        status, text = await ask("/readyz")
        return status == 503 and json.loads(text) == {"workers": "1 of 2 have not started"}

    await eventually(one_is_ready)
    goes_on.set()

    async def is_ready() -> bool:
        return (await ask("/readyz"))[0] == 200

    await eventually(is_ready)
    _, metrics = await ask("/metrics")
    assert metrics.count("# TYPE protoqueue_running_tasks gauge") == 1
    for queue, group in (("shop/emails", "mailers"), ("shop/webhooks", "callers")):
        assert f'protoqueue_running_tasks{{group="{group}",queue="{queue}"}} 0.0' in metrics
    stop.set()
    await serving

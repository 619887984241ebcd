"""What users get for their own tests."""

import asyncio

import pytest

import protoqueue
from protoqueue.testing import in_memory
from protoqueue.testing.streams import matches
from waiting import eventually

worker = protoqueue.Worker("default/email", group="mailers")
sent: list[str] = []


@worker.handler
async def send(payload: dict[str, str]) -> None:
    sent.append(payload["to"])


async def test_a_worker_written_for_a_server_runs_in_memory_and_time_can_be_moved() -> None:
    sent.clear()
    async with in_memory("default/email", group="mailers") as memory:
        queue = await memory.client.queue("default/email")
        await queue.enqueue({"to": "a@b.c"}, delay=3600)
        assert await worker.run_once() == 0
        await memory.advance(3600)
        assert await worker.run_once() == 1
        assert sent == ["a@b.c"]


async def test_connect_gives_the_queue_in_memory_whatever_the_url() -> None:
    async with in_memory("default/email", group="mailers"):
        async with await protoqueue.connect("nats://nowhere:1") as client:
            await (await client.queue("default/email")).enqueue({"to": "x"})
        async with await protoqueue.connect() as client:
            assert (await (await client.queue("default/email")).stats()).ready == 1


def test_a_worker_that_was_stopped_can_serve_again_also_in_another_event_loop() -> None:
    sent.clear()

    async def serve_one(address: str) -> None:
        async with in_memory("default/email", group="mailers") as memory:
            await (await memory.client.queue("default/email")).enqueue({"to": address})
            serving = asyncio.create_task(worker.serve())
            await eventually(lambda: address in sent)
            worker.stop()
            await serving

    for address in ("first", "second"):
        asyncio.run(serve_one(address))
    assert sent == ["first", "second"]


async def test_a_worker_runs_once_at_a_time() -> None:
    async with in_memory("default/email", group="mailers"):
        serving = asyncio.create_task(worker.serve())
        await asyncio.sleep(0)
        for again in (worker.serve, worker.run_once):
            with pytest.raises(protoqueue.ConfigurationError, match="runs already"):
                await again()
        worker.stop()
        await asyncio.wait_for(serving, 10)
        assert await worker.run_once() == 0


def test_subjects_match_as_in_nats() -> None:
    for pattern, subject, expected in (
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.b", "a.c", False),
        ("a.b.c", "a.b", False),
    ):
        assert matches(pattern, subject) is expected, (pattern, subject)

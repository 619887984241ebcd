"""What workers and clients are given at their edges: odd functions, odd settings, the end of the process."""

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel, Field

import protoqueue
from ports import free_port
from protoqueue import ConfigurationError, InvalidTask
from protoqueue.protocol.payloads import decoder_for, encode_payload
from protoqueue.testing import in_memory
from waiting import eventually


class Email(BaseModel):
    to: str


def worker_of(**options: Any) -> protoqueue.Worker:
    return protoqueue.Worker("default/q", group="g", **options)


@pytest.mark.parametrize("annotation", [Email, dict, str, dict[str, int], tuple[int, str]])
def test_a_batch_handler_that_is_annotated_with_one_payload_is_refused_with_what_to_write(annotation: Any) -> None:
    async def store(payloads: Any) -> None: ...

    store.__annotations__["payloads"] = annotation
    with pytest.raises(ConfigurationError, match=r"store is called with a list of payloads: annotate with list\["):
        worker_of().batch(store)


async def test_a_batch_that_the_concurrency_makes_smaller_is_said_when_the_worker_runs(caplog) -> None:
    worker = worker_of(concurrency=10)

    @worker.batch(max_size=11)
    async def store(payloads: list[int]) -> None: ...

    async with in_memory("default/q", group="g"):
        await worker.run_once()
    (said,) = [record.getMessage() for record in caplog.records if "batch handler" in record.getMessage()]
    assert "max_size 11 but gets at most 10" in said


def test_a_batch_handler_of_a_worker_that_is_served_again_in_another_event_loop_gets_its_batches() -> None:
    worker, stored = worker_of(grace_s=0), []

    @worker.batch(max_size=5, max_wait=0.05)
    async def store(payloads: list[int]) -> None:
        stored.append(payloads)

    async def begin_a_batch_that_is_never_full() -> None:
        async with in_memory("default/q", group="g") as memory:
            await (await memory.client.queue("default/q")).enqueue(1)
            serving = asyncio.create_task(worker.serve())
            (handler,) = worker._handlers._handlers.values()
            await eventually(lambda: handler._items)
            worker.stop()
            await serving

    async def another() -> None:
        async with in_memory("default/q", group="g") as memory:
            await (await memory.client.queue("default/q")).enqueue(2)
            assert await worker.run_once(timeout=20) == 1

    (handler,) = worker._handlers._handlers.values()
    handler._max_wait_s = 60
    asyncio.run(begin_a_batch_that_is_never_full())
    handler._max_wait_s = 0.05
    asyncio.run(another())
    assert stored == [[2]]


def driven(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain wrapper that runs an async function to its end by itself."""

    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return asyncio.run(function(*arguments))

    return wrapper


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain wrapper that gives back the coroutine."""

    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


@pytest.mark.parametrize("wrapped", [driven, passed_on])
async def test_a_plain_wrapper_around_an_async_function_runs_it_once(wrapped: Callable[..., Any]) -> None:
    worker, seen = worker_of(), []

    @worker.handler
    @wrapped
    async def work(payload: int) -> None:
        await asyncio.sleep(0)
        seen.append(payload)

    async with in_memory("default/q", group="g") as memory:
        queue = await memory.client.queue("default/q")
        await queue.enqueue(1)
        assert await worker.run_once(timeout=20) == 1
        stats = await queue.stats()
    assert (seen, stats.scheduled, stats.dead) == ([1], 0, 0)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [SystemExit, StopIteration, GeneratorExit, ValueError])
async def test_whatever_a_dead_letter_function_raises_ends_nothing(error: type[BaseException], is_async: bool) -> None:
    worker, told = worker_of(), []

    @worker.handler
    async def refuse(payload: int) -> None:
        raise protoqueue.Reject("no")

    def note(task: protoqueue.Task, reason: str, text: str) -> None:
        told.append(reason)
        raise error

    async def note_async(task: protoqueue.Task, reason: str, text: str) -> None:
        note(task, reason, text)

    worker.dead_letter(note_async if is_async else note)
    async with in_memory("default/q", group="g") as memory:
        queue = await memory.client.queue("default/q")
        await queue.enqueue_batch([1, 2])
        assert await worker.run_once(timeout=20) == 2
    assert told == ["Rejected", "Rejected"]


LEAVING = """
import atexit, signal, sys, threading, time
import protoqueue
from protoqueue.consumer.exit import exit_process

atexit.register(lambda: print("at exit"))
threading.Thread(target=time.sleep, args=(600,)).start()
print("written")
exit_process(7)
"""


def test_a_process_that_leaves_its_threads_behind_flushes_and_runs_what_is_to_run_at_exit() -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout.split("\n")) == (7, ["written", "at exit", ""])


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_health_is_served_on_both_families_of_addresses(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port, worker = free_port(), worker_of()
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port))

    @worker.handler
    async def work(payload: int) -> None: ...

    async with in_memory("default/q", group="g"), aiohttp.ClientSession() as session:
        serving = asyncio.create_task(worker.serve())

        async def answers() -> bool:
            try:
                async with session.get(f"http://{host}:{port}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await eventually(answers)
        worker.stop()
        await serving


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("PROTOQUEUE_CONCURRENCY", "ten", "an integer of at least 1"),
        ("PROTOQUEUE_CONCURRENCY", "0", "an integer of at least 1"),
        ("PROTOQUEUE_CONCURRENCY", "2.5", "an integer of at least 1"),
        ("PROTOQUEUE_QUEUE", "email", "<namespace>/<name>"),
        ("PROTOQUEUE_GROUP", "Mailers", "a DNS label"),
        ("PROTOQUEUE_METRICS_PORT", "http", "a port, 1 to 65535"),
        ("PROTOQUEUE_METRICS_PORT", "70000", "a port, 1 to 65535"),
    ],
)
async def test_a_wrong_value_in_the_environment_is_told_with_its_variable_and_what_is_allowed(
    variable: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PROTOQUEUE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROTOQUEUE_QUEUE", "default/q")
    monkeypatch.setenv("PROTOQUEUE_GROUP", "g")
    monkeypatch.setenv(variable, value)
    worker = protoqueue.Worker()

    @worker.handler
    async def work(payload: int) -> None: ...

    async with in_memory("default/q", group="g"):
        with pytest.raises(ConfigurationError) as raised:
            await worker.run_once(timeout=20)
    for part in (variable, repr(value), allowed):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("PROTOQUEUE_NATS_SECRET_DIR", "/nowhere"), ("PROTOQUEUE_NATS_CREDS", "/nowhere/creds")]
)
async def test_credentials_that_are_not_there_are_told_with_their_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable}.*{value}"):
        await protoqueue.connect("nats://127.0.0.1:1", timeout=5)


class Item(BaseModel):
    count: int = Field(serialization_alias="n")


class Order(BaseModel):
    order_id: int = Field(serialization_alias="orderId")
    sender: str = Field(alias="from")
    items: list[Item] = []
    note: str = Field("", validation_alias="remark")


class Plain(BaseModel):
    sender: str = Field(alias="from")


def test_a_model_with_aliases_of_any_kind_comes_back_as_it_was() -> None:
    order = Order.model_validate({"order_id": 7, "from": "ada", "items": [{"count": 2}], "remark": "soon"})
    data, content_type = encode_payload(order)
    assert decoder_for(Order)(data, content_type) == order
    data, content_type = encode_payload(plain := Plain.model_validate({"from": "ada"}))
    assert data == b'{"from":"ada"}'  # what other languages read
    assert decoder_for(Plain)(data, content_type) == plain


async def test_a_queue_that_is_asked_for_twice_at_once_is_one_object() -> None:
    async with in_memory("default/q") as memory:
        one, other = await asyncio.gather(memory.client.queue("default/q"), memory.client.queue("default/q"))
        assert one is other
        assert len(memory.client._watches) == 1


async def test_a_reason_is_read_in_any_case_and_an_unknown_one_is_refused_with_the_known() -> None:
    worker = worker_of()

    @worker.handler
    async def refuse(payload: int) -> None:
        raise protoqueue.Reject("no")

    async with in_memory("default/q", group="g") as memory:
        queue = await memory.client.queue("default/q")
        await queue.enqueue(1)
        await worker.run_once()
        assert await queue.redrive(reason="expired") == 0
        with pytest.raises(InvalidTask, match="Undecodable, NoHandler, Crashed, Expired, not 'refused'"):
            await queue.redrive(reason="refused")
        assert await queue.redrive(reason="rejected") == 1


async def test_the_client_of_a_worker_is_there_only_while_it_runs() -> None:
    worker = worker_of()

    @worker.handler
    async def work(payload: int) -> None:
        assert worker.client

    async with in_memory("default/q", group="g") as memory:
        await (await memory.client.queue("default/q")).enqueue(1)
        assert await worker.run_once(raise_errors=True) == 1
    with pytest.raises(protoqueue.ConfigurationError, match="not running"):
        _ = worker.client

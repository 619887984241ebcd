"""The Python client, sync and async, passes the common cases."""

import asyncio
import json
import logging
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from clients.case_server import CASES, KEY, Server, serve, unpacked
from protoqueue import Retries, http
from waiting import eventually

SUITE = json.loads(CASES.read_text())["cases"]
NAMES = [case["name"] for case in SUITE]
HANDLED = [number for number, case in enumerate(SUITE) if case["steps"][0]["call"] == "consume"]
SNAKE = {
    "contentType": "content_type",
    "dedupId": "dedup_id",
    "orderingKey": "ordering_key",
    "fairnessKey": "fairness_key",
    "uniqueUntil": "unique_until",
    "maxMessages": "max_messages",
    "maxAttempts": "max_attempts",
    "initialDelay": "initial_delay",
    "maxDelay": "max_delay",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Each case once for the async client, once for the sync one, and once for what else plays it."""
    running = serve(SUITE * 3)
    yield running
    running.shutdown()
    running.server_close()


def base_url(server: Server, number: int, time: int) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{time * len(SUITE) + number}"


def of_case(number: int) -> dict[str, Any]:
    options = SUITE[number].get("options", {})
    return {name: options[name] for name in ("retries", "timeout") if name in options}


def report(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/report") as answer:
        return json.load(answer)


async def reported(address: str) -> dict[str, Any]:
    return await asyncio.to_thread(report, address)


@pytest.mark.parametrize("number", range(len(SUITE)), ids=NAMES)
async def test_the_async_client_passes(number: int, server: Server) -> None:
    address = base_url(server, number, 0)
    async with http.AsyncQueues(KEY, address, **of_case(number)) as queues:
        for step in SUITE[number]["steps"]:
            if step["call"] == "consume":
                await consume(queues, queues, step, address)
            else:
                await check(lambda step=step: getattr(queues, verb(step))(**arguments(step)), step)
    assert await reported(address) == {"done": True, "unused": [], "problems": []}


@pytest.mark.parametrize("number", [n for n in range(len(SUITE)) if n not in HANDLED], ids=lambda n: NAMES[n])
async def test_the_sync_client_passes(number: int, server: Server) -> None:
    address = base_url(server, number, 1)
    with http.Queues(KEY, address, **of_case(number)) as queues:
        for step in SUITE[number]["steps"]:
            call = getattr(queues, verb(step))
            await check(lambda call=call, step=step: asyncio.to_thread(call, **arguments(step)), step)
    assert await reported(address) == {"done": True, "unused": [], "problems": []}


@pytest.mark.parametrize("number", HANDLED, ids=lambda n: NAMES[n])
async def test_the_sync_client_runs_plain_handlers(number: int, server: Server) -> None:
    address = base_url(server, number, 1)
    queues = http.Queues(KEY, address, **of_case(number))
    (step,) = SUITE[number]["steps"]
    await consume(queues, InThread(queues), step, address)
    assert await reported(address) == {"done": True, "unused": [], "problems": []}


class InThread:
    """`run` of the sync client, awaited."""

    def __init__(self, queues: http.Queues) -> None:
        self.queues = queues

    async def run(self) -> None:
        await asyncio.to_thread(self.queues.run)

    def stop(self) -> None:
        self.queues.stop()


def verb(step: dict[str, Any]) -> str:
    return "enqueue_batch" if step["call"] == "enqueueBatch" else step["call"]


def arguments(step: dict[str, Any]) -> dict[str, Any]:
    given = {SNAKE.get(name, name): value for name, value in unpacked(step["args"]).items()}
    if "retry" in given:
        given["retry"] = Retries(**{SNAKE.get(name, name): value for name, value in given["retry"].items()})
    if "id" in given:
        given["message"] = given.pop("id")
    if "messages" in given:
        given["messages"] = [{SNAKE.get(name, name): value for name, value in one.items()} for one in given["messages"]]
    return given


async def check(call: Callable[[], Awaitable[Any]], step: dict[str, Any]) -> None:
    if "error" in step:
        with pytest.raises(Exception) as raised:  # noqa: PT011  # `same` looks at it
            await call()
        same(raised.value, step["error"])
    else:
        result = await call()
        if "result" in step:
            subset(plain(result), unpacked(step["result"]))


def same(error: Exception, expected: dict[str, Any]) -> None:
    assert KEY not in str(error)
    assert KEY not in repr(error)
    if "kind" in expected:
        assert type(error) is getattr(http, expected["kind"]), error
    for field, name in (("status", "status"), ("retryAfter", "retry_after")):
        if field in expected:
            assert getattr(error, name) == expected[field]
    if "errors" in expected:
        assert isinstance(error, http.ApiError)
        assert [{"pointer": field.pointer, "detail": field.detail} for field in error.errors] == expected["errors"]
    assert expected.get("contains", "") in str(error)


async def consume(queues: Any, runner: Any, step: dict[str, Any], address: str) -> None:
    handled: list[str] = []
    errors: list[tuple[Exception, str | None]] = []
    plans = step["handler"]

    def begin(message: http.Message) -> str:
        handled.append(message.id)
        if step.get("stopAt") == message.id:
            runner.stop()
        return plans[message.id]

    async def handler(message: http.Message) -> None:
        match begin(message).split():
            case ["until", "aborted"]:
                await asyncio.Event().wait()
            case ["until", "answered"]:
                await eventually(lambda: nothing_unused(address))
            case ["hold", seconds]:
                await asyncio.sleep(float(seconds))
            case ["ack"]:
                await queues.ack(message.id)
            case [other]:
                failing(other)

    def plain_handler(message: http.Message) -> None:
        match begin(message).split():
            case ["until", "aborted"]:
                message.cancelled.wait(60)
                raise RuntimeError("cancelled")
            case ["until", "answered"]:
                asyncio.run(eventually(lambda: nothing_unused(address)))
            case ["hold", seconds]:
                threading.Event().wait(float(seconds))
            case ["ack"]:
                queues.ack(message.id)
            case [other]:
                failing(other)

    def on_error(error: Exception, message: http.Message | None) -> None:
        errors.append((error, message and message.id))

    options = {"grace_period": step["gracePeriod"]} if "gracePeriod" in step else {}
    registered = handler if isinstance(queues, http.AsyncQueues) else plain_handler
    assert queues.consumer(**step["args"], on_error=on_error, **options)(registered) is registered
    running = asyncio.create_task(runner.run())
    if "error" in step:
        await check(lambda: running, step)
        return
    if "stopAt" not in step:
        await eventually(lambda: done(address))
        await eventually(lambda: len(errors) >= len(step.get("errors", ())))
        runner.stop()
    await running
    assert sorted(handled) == step["handled"]
    if "errors" in step:
        assert len(errors) == len(step["errors"]), errors
        errors.sort(key=lambda error: error[1] or "")  # handlers run side by side: which fails first is left open
        for (error, message), expected in zip(errors, step["errors"], strict=True):
            same(error, expected)
            assert message == expected.get("message")


async def nothing_unused(address: str) -> bool:
    return not (await reported(address))["unused"]


async def done(address: str) -> bool:
    return bool((await reported(address))["done"])


def failing(what: str) -> None:
    if what == "fail":
        raise ValueError("the handler failed")
    if what == "reject":
        raise http.Reject("never")
    if what == "retry":
        raise http.Retry(delay=7)
    if what == "throttle":
        raise http.Throttle(30, "429 from the API")


def plain(result: Any) -> Any:
    """As the cases have it."""
    if isinstance(result, list):
        return [plain(item) for item in result]
    if isinstance(result, http.QueueInfo):
        return {"name": result.name}
    fields = {name: getattr(result, name) for name in type(result).__slots__}
    shown = {
        "".join([first, *map(str.title, rest)]): fields["_".join((first, *rest))] for first, *rest in split(fields)
    }
    return shown | {"enqueuedAt": (at := fields.get("enqueued_at")) and at.isoformat().replace("+00:00", "Z")}


def split(fields: dict[str, Any]) -> list[list[str]]:
    return [name.split("_") for name in fields]


def subset(seen: Any, expected: Any) -> None:
    """What is expected is there; there may be more fields."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            subset(seen[name], value)
    elif isinstance(expected, list):
        assert len(seen) == len(expected)
        for one, other in zip(seen, expected, strict=True):
            subset(one, other)
    else:
        assert seen == expected


@pytest.mark.parametrize(
    ("key", "address", "says"),
    [
        (None, "http://gateway", "PROTOQUEUE_API_KEY"),
        ("k", None, "PROTOQUEUE_GATEWAY_URL"),
        ("k", "gateway:8080", "http://"),
        ("k", "http://user:pw@gateway", "user"),
        ("k\n", "http://gateway", "characters"),
    ],
)
def test_what_is_set_up_wrongly_is_told_at_once(
    key: str | None, address: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROTOQUEUE_API_KEY", raising=False)
    monkeypatch.delenv("PROTOQUEUE_GATEWAY_URL", raising=False)
    for kind in (http.Queues, http.AsyncQueues):
        with pytest.raises(http.ConfigurationError, match=says):
            kind(key, address)


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("PROTOQUEUE_API_KEY", KEY)
    monkeypatch.setenv("PROTOQUEUE_GATEWAY_URL", base_url(server, NAMES.index("a message is stored"), 2))
    assert http.Queues().enqueue("email", {"n": 1}).id == "t1"


def test_a_misspelt_option_is_refused_and_nothing_is_sent() -> None:
    with pytest.raises(TypeError, match="dedupe_id"):
        http.Queues("k", "http://gateway").enqueue("email", {}, dedupe_id="x")  # type: ignore[call-arg]


def test_a_client_runs_nothing_without_a_consumer() -> None:
    with pytest.raises(http.ConfigurationError, match="no consumer"):
        http.Queues("k", "http://gateway").run()


@pytest.mark.parametrize("concurrency", [0, -1, 1.5])
def test_a_concurrency_that_cannot_be_is_refused_where_it_is_written(concurrency: Any) -> None:
    with pytest.raises(http.ConfigurationError, match="concurrency"):
        http.Queues("k", "http://gateway").consumer("email", concurrency=concurrency)(print)


def test_a_failure_without_on_error_is_logged_with_its_message(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    number = NAMES.index("what a handler raises returns to the queue, and is told")
    queues = http.Queues(KEY, base_url(server, number, 2))

    @queues.consumer("email", concurrency=4)
    async def handler(message: http.Message) -> None:
        if message.id == "b":
            queues.stop()
        raise ValueError("boom")

    with caplog.at_level(logging.ERROR):
        queues.run()
    assert "message=a" in caplog.text
    assert "boom" in caplog.text

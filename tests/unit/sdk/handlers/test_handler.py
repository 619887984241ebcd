from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from protoqueue import ConfigurationError, NoHandler, Task, Worker
from protoqueue.handlers.handler import Handler
from protoqueue.handlers.registry import Registry
from protoqueue.testing import in_memory

TASK = Task(id="1", data=b'{"a": 1}', content_type="application/json")


async def payload_alone(payload: dict[str, Any]) -> None: ...
async def payload_and_task(payload: dict[str, Any], task: Task) -> None: ...
async def task_alone(task: Task) -> None: ...
async def task_if_wanted(payload: dict[str, Any], task: Task | None = None) -> None: ...
async def with_own_default(payload: dict[str, Any], retries: int = 3, *, verbose: bool = False) -> None: ...


class Callable:
    async def __call__(self, payload: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (payload_alone, ({"a": 1},)),
        (payload_and_task, ({"a": 1}, TASK)),
        (task_alone, (TASK,)),
        (task_if_wanted, ({"a": 1}, TASK)),
        (with_own_default, ({"a": 1},)),
        (Callable(), ({"a": 1},)),
        (lambda payload: None, ({"a": 1},)),
    ],
)
def test_a_handler_gets_what_its_signature_asks_for(function: Any, arguments: tuple[Any, ...]) -> None:
    handler = Handler.read(function)
    assert handler.arguments(TASK) == arguments
    assert handler.function.is_async == (getattr(function, "__name__", "") != "<lambda>")


def none() -> None: ...
def three(a: int, b: Task, c: int) -> None: ...
def task_first(task: Task, payload: dict[str, Any]) -> None: ...
def unknown(payload: "NotDefinedAnywhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def that_yields(payload: dict[str, Any]) -> Iterator[None]:
    yield


async def that_yields_async(payload: dict[str, Any]) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [none, three, task_first, unknown, that_yields, that_yields_async])
def test_a_function_that_cannot_be_a_handler_is_refused_when_it_is_registered(function: Any) -> None:
    with pytest.raises(ConfigurationError, match=function.__name__):
        Worker().handler(function)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"timeout": -1}, "negative"),
        ({"timeout": 0}, "no attempt could succeed"),
        ({"timeout": float("nan")}, "timeout of handler"),
        ({"timeout": "5"}, "timeout of handler"),
        ({"executor": "fibre"}, "fibre"),
        ({"executor": "process"}, "top of an importable module"),
    ],
)
def test_a_setting_that_no_attempt_could_meet_is_refused_when_it_is_made(setting: dict[str, Any], says: str) -> None:
    def note(payload: dict[str, Any]) -> None: ...

    with pytest.raises(ConfigurationError, match=says):
        Worker().handler("note", **setting)(note)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"max_size": 0}, "max_size"),
        ({"max_size": "10"}, "max_size"),
        ({"max_wait": -1}, "max_wait"),
        ({"max_wait": float("nan")}, "max_wait"),
        ({"max_wait": "1s"}, "max_wait"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_so_is_one_of_a_batch_handler(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Worker().batch(**setting)(lambda payloads: None)


def test_durations_are_seconds_or_timedeltas() -> None:
    assert Handler.read(payload_alone, timedelta(minutes=1)).timeout_s == 60
    Worker().batch(max_wait=timedelta(milliseconds=50))(lambda payloads: None)


async def test_decorators_may_stand_without_parentheses() -> None:
    got: list[Any] = []
    for decorate in (Worker.handler, Worker.batch):
        worker = Worker("default/email", group="mailers", concurrency=1)

        def note(payload: Any) -> None:
            got.append(payload)

        assert decorate(worker, note) is note
        async with in_memory("default/email", group="mailers") as memory:
            await (await memory.client.queue("default/email")).enqueue({"a": 1})
            assert await worker.run_once() == 1
    assert got == [{"a": 1}, [{"a": 1}]]


async def test_a_lifespan_needs_neither_a_decorator_of_its_own_nor_anything_to_give() -> None:
    happened: list[str] = []
    worker = Worker("default/email", group="mailers")

    @worker.lifespan
    async def around() -> AsyncIterator[None]:
        happened.append("entered")
        yield
        happened.append("left")

    @worker.handler
    async def note(payload: Any) -> None:
        happened.append("worked")

    async with in_memory("default/email", group="mailers") as memory:
        await (await memory.client.queue("default/email")).enqueue({})
        await worker.run_once()
    assert happened == ["entered", "worked", "left"]


def test_a_task_type_is_a_string() -> None:
    with pytest.raises(ConfigurationError, match="5"):
        Worker().handler(5)  # type: ignore[call-overload]


def test_a_type_has_one_handler_and_the_default_takes_the_rest() -> None:
    registry, default, report = Registry(), Handler.read(payload_alone), Handler.read(task_alone)
    with pytest.raises(NoHandler, match="'report'"):
        registry.find("report")
    registry.add("report", report)
    registry.add(None, default)
    assert registry.find("report") is report
    assert registry.find("other") is registry.find("") is default
    with pytest.raises(ConfigurationError, match="already"):
        registry.add("report", default)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "PROTOQUEUE_QUEUE"),
        ({"PROTOQUEUE_QUEUE": "email", "PROTOQUEUE_GROUP": "g"}, "namespace"),
        ({"PROTOQUEUE_QUEUE": "a/b", "PROTOQUEUE_GROUP": "g", "PROTOQUEUE_CONCURRENCY": "many"}, "many"),
        ({"PROTOQUEUE_QUEUE": "a/b", "PROTOQUEUE_GROUP": "g", "PROTOQUEUE_CONCURRENCY": "-1"}, "at least 1"),
    ],
)
async def test_a_worker_that_is_set_up_wrongly_says_how_at_once(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    for name in ("QUEUE", "GROUP", "CONCURRENCY"):
        monkeypatch.delenv(f"PROTOQUEUE_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    worker = Worker()
    worker.handler(payload_alone)
    with pytest.raises(ConfigurationError, match=says):
        await worker.serve()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"queue": 5}, "'5' is not a queue name"),
        ({"group": "*"}, "consumer group"),
        ({"group": "a.b"}, "consumer group"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "many"}, "concurrency"),
        ({"concurrency": 2.5}, "concurrency"),
    ],
)
async def test_so_does_one_with_such_arguments(arguments: dict[str, Any], says: str) -> None:
    worker = Worker(**{"queue": "default/email", "group": "mailers"} | arguments)
    worker.handler(payload_alone)
    with pytest.raises(ConfigurationError, match=says):
        await worker.serve()


async def test_a_worker_without_handlers_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no handler"):
        await Worker("default/email", group="mailers").serve()

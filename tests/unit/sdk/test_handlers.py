from typing import Any

import pytest

from protoqueue import ConfigurationError, NoHandler, Task, Worker
from protoqueue.handlers import Handler
from protoqueue.registry import Registry

TASK = Task(id="1", data=b'{"a": 1}', content_type="application/json")


async def payload_alone(payload: dict[str, Any]) -> None: ...
async def payload_and_task(payload: dict[str, Any], task: Task) -> None: ...
async def task_alone(task: Task) -> None: ...
async def with_own_default(payload: dict[str, Any], retries: int = 3, *, verbose: bool = False) -> None: ...


class Callable:
    async def __call__(self, payload: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (payload_alone, ({"a": 1},)),
        (payload_and_task, ({"a": 1}, TASK)),
        (task_alone, (TASK,)),
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
def unknown(payload: "NotDefinedAnywhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [none, three, unknown])
def test_a_function_that_cannot_be_a_handler_is_refused_when_it_is_registered(function: Any) -> None:
    with pytest.raises(ConfigurationError, match=function.__name__):
        Worker().handler(function)


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
        ({"PROTOQUEUE_QUEUE": "default/email"}, "PROTOQUEUE_GROUP"),
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


async def test_a_worker_without_handlers_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no handler"):
        await Worker("default/email", group="mailers").serve()

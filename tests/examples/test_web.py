"""The web example in memory: both applications, their client and the worker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient

from examples.loading import example_module
from protoqueue.testing import SyncInMemory, sync_in_memory

Post = Callable[[Any], Any]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SyncInMemory]:
    monkeypatch.setenv("SIGNUP_DIRECTORY", str(tmp_path))
    with sync_in_memory("default/signups", group="welcomers") as memory:
        yield memory


@pytest.fixture(params=["fastapi_app", "flask_app"])
def app(request: pytest.FixtureRequest, memory: SyncInMemory) -> Iterator[ModuleType]:
    with example_module("web", request.param) as module:
        yield module


@pytest.fixture
def post(app: ModuleType) -> Post:
    """Send a form; the answer has `status_code` and `headers`."""
    browser = TestClient(app.app) if app.__name__ == "fastapi_app" else app.app.test_client()
    return lambda form: browser.post("/signups", json=form)


def test_a_form_becomes_a_letter(post: Post, memory: SyncInMemory, tmp_path: Path) -> None:
    assert post({"email": "ada@example.org", "plan": "gold"}).status_code == 202
    assert post({"email": "ada@example.org"}).status_code == 202
    with example_module("web", "workers") as workers:
        assert memory.run_once(workers.worker) == 1
    (letter,) = tmp_path.glob("*.txt")
    assert letter.read_text() == "Dear ada@example.org, enjoy the gold plan.\n"


@pytest.mark.parametrize("form", [{}, {"email": 7}, [], None])
def test_a_form_that_is_wrong_is_refused_and_nothing_is_stored(post: Post, memory: SyncInMemory, form: Any) -> None:
    assert post(form).status_code == 422
    assert memory.client.queue("default/signups").stats().waiting == 0


def test_a_visitor_may_come_again_where_the_queue_is_full(post: Post, memory: SyncInMemory) -> None:
    memory.add_queue("default/signups", max_tasks=1)
    assert post({"email": "ada@example.org"}).status_code == 202
    refused = post({"email": "eve@example.org"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")

"""A Secret that changes is noticed by asking for its version, and costs nothing while it does not."""

import asyncio
import base64
from typing import Any, cast

import pytest

from protoqueue.aio import cancel
from protoqueue_operator.api.v1alpha1.errors import Refusal
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.caches import Caches
from protoqueue_operator.nats import secret_poller
from protoqueue_operator.nats.secret_poller import SecretPoller
from protoqueue_operator.runtime.client import ApiError, Gone
from unit.operator.samples import queue_body
from unit.operator.wired import make_pool
from waiting import eventually


class Api:
    """Secrets by name, each as (version, URL)."""

    def __init__(self, **held: tuple[str, str]) -> None:
        self.held = held
        self.versions_asked: list[str] = []
        self.refuses = False

    async def get(self, key: Key) -> dict[str, Any]:
        version, url = self._find(key)
        data = {"url": base64.b64encode(url.encode()).decode()} if url else {}
        return {"metadata": {"resourceVersion": version}, "data": data}

    async def version(self, key: Key) -> str:
        self.versions_asked.append(key.name)
        return self._find(key)[0]

    def _find(self, key: Key) -> tuple[str, str]:
        if self.refuses:
            raise ApiError(403, "Forbidden", "not yours")
        if key.name not in self.held:
            raise Gone(404, "NotFound", "")
        return self.held[key.name]


class Watcher:
    def __init__(self) -> None:
        self.settled: list[str] = []

    def broker_opened(self, broker: Any) -> None:
        broker.connection.open = lambda: None

    def broker_closed(self, _: object) -> None: ...

    def home_changed(self, queue: Key) -> None:
        self.settled.append(queue.name)


class Setting:
    def __init__(self, api: Api, **queues: str) -> None:
        """Queues by name, each with the name of its Secret."""
        self.api, self.caches, self.watcher = api, Caches(), Watcher()
        self.brokers = make_pool(api, self.watcher)
        self.looked_at: set[str] = set()
        look_again = lambda key: self.looked_at.add(key.name)  # noqa: E731
        self.poller = SecretPoller(cast("Any", api), self.caches.queues, self.brokers, look_again)
        for name, secret in queues.items():
            self.caches.queues.observe(queue_body({"nats": {"connectionSecretRef": {"name": secret}}}, name=name))

    async def look(self, queue: str, secret: str) -> None:
        try:
            await self.brokers.resolve(Key("Queue", "default", queue), secret)
        except Refusal:
            return

    async def go_round(self) -> list[str]:
        """Until each Secret was asked for twice since now; returns which queues were looked at."""
        self.looked_at.clear()
        self.api.versions_asked.clear()
        running = asyncio.create_task(self.poller.run())
        named = len(self.poller._named())
        await eventually(lambda: len(self.api.versions_asked) > 2 * named, interval_s=0.001)
        await cancel(running)
        return sorted(self.looked_at)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_poller, "ROUND_S", 0.01)


URL = "nats://127.0.0.1:1"


async def test_only_the_queues_of_a_secret_that_has_changed_are_looked_at() -> None:
    setting = Setting(Api(one=("1", URL), two=("1", URL)), a="one", b="one", c="two")
    for queue, secret in (("a", "one"), ("b", "one"), ("c", "two")):
        await setting.look(queue, secret)
    assert await setting.go_round() == []
    setting.api.held["one"] = ("2", URL)
    assert await setting.go_round() == ["a", "b"]
    await setting.look("a", "one")
    assert await setting.go_round() == ["b"], "who has not seen it yet"


async def test_a_secret_is_asked_for_once_a_round_however_many_queues_name_it() -> None:
    setting = Setting(Api(one=("1", URL)), **{f"q{number}": "one" for number in range(100)})
    await setting.go_round()
    assert len(setting.api.versions_asked) <= 5


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, ("1", URL)), (("1", ""), ("2", URL)), (("1", URL), None)],
    ids=["came", "mended", "went"],
)
async def test_a_secret_that_comes_is_mended_or_goes_is_noticed(before: Any, after: Any) -> None:
    setting = Setting(Api(**({"one": before} if before else {})), a="one")
    assert await setting.go_round() == [], "nobody has looked at the queue yet, so somebody is about to"
    await setting.look("a", "one")
    assert await setting.go_round() == []
    setting.api.held = {"one": after} if after else {}
    assert await setting.go_round() == ["a"]


async def test_what_may_not_be_read_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    setting = Setting(Api(one=("1", URL)), a="one")
    await setting.look("a", "one")
    setting.api.refuses = True
    assert await setting.go_round() == []
    assert caplog.text.count("secret not read") == 1
    setting.api.refuses = False
    setting.api.held["one"] = ("2", URL)
    assert await setting.go_round() == ["a"]


async def test_whoever_finds_a_secret_changed_calls_the_queue_and_its_groups() -> None:
    setting = Setting(Api(one=("1", URL)), a="one")
    await setting.look("a", "one")
    assert setting.watcher.settled == []
    setting.api.held["one"] = ("2", "")
    for _ in range(3):
        await setting.look("a", "one")
    assert setting.watcher.settled == ["a"]


async def test_workers_are_told_of_changed_data_and_of_nothing_else_in_a_secret() -> None:
    setting = Setting(Api(one=("1", URL)), a="one")

    async def digest() -> str:
        return (await setting.brokers.connect("default", "one")).digest

    first = await digest()
    setting.api.held["one"] = ("2", URL)
    assert await digest() == first, "only its version is another, as after an annotation"
    setting.api.held["one"] = ("3", "nats://127.0.0.1:2")
    assert await digest() != first

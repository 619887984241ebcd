"""A Secret that changes is noticed by asking for its version, and costs nothing while it does not."""

import asyncio
import base64
from typing import Any, cast

import pytest

from protoqueue.cancellation import cancel
from protoqueue_operator.adapters.kubernetes import ApiError, Gone
from protoqueue_operator.core.refusals import Refusal
from protoqueue_operator.core.resources import Key
from protoqueue_operator.reconcile import secrets
from protoqueue_operator.reconcile.brokers import Brokers
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.secrets import SecretRounds
from unit.operator.samples import queue_body
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

    def queue_settled(self, queue: Key) -> None:
        self.settled.append(queue.name)


class Setting:
    def __init__(self, api: Api, **queues: str) -> None:
        """Queues by name, each with the name of its Secret."""
        self.api, self.cache, self.watcher = api, Cache(), Watcher()
        self.brokers = Brokers(cast("Any", None), cast("Any", api), cast("Any", self.watcher))
        self.looked_at: set[str] = set()
        self.rounds = SecretRounds(cast("Any", api), self.cache, self.brokers, lambda key: self.looked_at.add(key.name))
        for name, secret in queues.items():
            self.cache.observe_queue(queue_body({"nats": {"connectionSecretRef": {"name": secret}}}, name=name))

    async def look(self, queue: str, secret: str) -> None:
        try:
            await self.brokers.asked(Key("Queue", "default", queue), secret)
        except Refusal:
            return

    async def go_round(self) -> list[str]:
        """Until each Secret was asked for twice since now; returns which queues were looked at."""
        self.looked_at.clear()
        self.api.versions_asked.clear()
        running = asyncio.create_task(self.rounds.run())
        named = len(self.rounds._named())
        await eventually(lambda: len(self.api.versions_asked) > 2 * named, interval_s=0.001)
        await cancel(running)
        return sorted(self.looked_at)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "ROUND_S", 0.01)


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
    assert caplog.text.count("secret not asked for") == 1
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

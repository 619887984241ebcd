"""Of which queues it is heard that somebody has touched them, with a NATS that says what it is told to."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.caches import DesiredAssets
from protoqueue_operator.jetstream import drift
from protoqueue_operator.jetstream.assets import Consumer
from protoqueue_operator.jetstream.drift import DriftWatch
from unit.operator.samples import group_body, queue_body
from unit.operator.wired import Wired

HERE, ELSEWHERE = Key("Queue", "default", "here"), Key("Queue", "default", "elsewhere")
UPDATED = "$JS.EVENT.ADVISORY.STREAM.UPDATED."


class Nats:
    """Somebody's NATS, on which anybody may publish anything."""

    def __init__(self) -> None:
        self.connection = self
        self.configs = SimpleNamespace(doubt=lambda: None)
        self._heard: dict[str, Callable[[Any], None]] = {}

    async def subscribe(self, subject: str, heard: Callable[[Any], None]) -> None:
        self._heard[subject.rstrip("*>.")] = heard

    def publish(self, subject: str) -> None:
        for prefix, heard in self._heard.items():
            if subject.startswith(prefix):
                heard(SimpleNamespace(subject=subject))


class Looks(list[Key]):
    async def settled(self) -> list[Key]:
        """What was to be looked at, once all that was heard has had its effect."""
        for _ in range(5):
            await asyncio.sleep(0.001)
        return self


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    for name in ("_DONE_S", "_ASKED_FOR_S"):
        monkeypatch.setattr(drift, name, (0.0,))
    return Looks()


@pytest.fixture
async def nats(looks: Looks) -> Nats:
    nats = Nats()
    homes = {HERE: nats, ELSEWHERE: Nats()}
    brokers = SimpleNamespace(known=homes.get, queues_of=lambda broker: {k for k, v in homes.items() if v is broker})
    queues = {key: SimpleNamespace(meta=SimpleNamespace(key=key)) for key in homes}
    nothing: Any = None
    await DriftWatch(cast("Any", nats), cast("Any", brokers), cast("Any", queues), nothing, looks.append).listen()
    return nats


@pytest.mark.parametrize(
    "subject",
    [
        f"{UPDATED}PQ_default_%s",
        f"{UPDATED}PQ_default_%s_LATER",
        "$JS.EVENT.ADVISORY.CONSUMER.DELETED.PQ_default_%s.mailers_p0",
        "$JS.API.CONSUMER.CREATE.PQ_default_%s.mailers_p0.pq.default.%s.task.0",
        "$KV.pq-config.default.%s",
        "$KV.pq-config.default.%s.mailers",
    ],
)
async def test_whoever_has_a_nats_of_their_own_has_no_other_queues_looked_at(
    nats: Nats, looks: Looks, subject: str
) -> None:
    nats.publish(subject.replace("%s", "elsewhere"))
    nats.publish(subject.replace("%s", "unknown"))
    assert await looks.settled() == []
    nats.publish(subject.replace("%s", "here"))
    assert await looks.settled() == [HERE]


async def test_a_bucket_is_of_the_queues_that_live_there(nats: Nats, looks: Looks) -> None:
    nats.publish(f"{UPDATED}KV_pq-config")
    assert await looks.settled() == [HERE]


async def test_however_often_something_is_heard_it_is_looked_at_once(nats: Nats, looks: Looks) -> None:
    for _ in range(100):
        nats.publish(f"{UPDATED}PQ_default_here")
    assert await looks.settled() == [HERE]


@pytest.mark.parametrize(("is_refused", "looked_at"), [(False, ["email"]), (True, [])])
async def test_of_a_group_that_is_refused_no_consumer_is_called_for_again_and_again(
    is_refused: bool, looked_at: list[str]
) -> None:
    """What is recovered from an earlier operator says little of its consumers, and no look could repair them."""
    nothing: Any = None
    wired = Wired()
    group, queue = wired.group(group_body()), wired.queue(queue_body())
    known = Consumer("PQ_default_email", "mailers_p0", None, (), timedelta(seconds=30), 7)
    wired.applied(group, (known,)).is_refused = is_refused
    looks: list[Key] = []
    desired = DesiredAssets(wired.wiring.queue_states, wired.wiring.group_states, wired.caches.groups_of)
    DriftWatch(nothing, nothing, nothing, desired, looks.append).compare_consumers(queue, ())
    assert [key.name for key in looks] == looked_at

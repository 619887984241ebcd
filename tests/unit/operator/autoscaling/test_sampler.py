"""Who waits for whom while backlogs are looked at, with a NATS that answers when it is told to."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling import sampler as sampling
from protoqueue_operator.autoscaling.sampler import Sampler
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.desired import group_consumers
from protoqueue_operator.jetstream.layout import initial_layout
from unit.operator.samples import group_body, queue_body
from unit.operator.wired import Wired
from waiting import eventually

NAMES = ("first", "second")


class Nats:
    """Two queues with one task each, that nobody works on."""

    def __init__(self) -> None:
        self.asked = dict.fromkeys(NAMES, 0)
        self.listed = 0
        self.lists = asyncio.Event()
        self.answers = {name: asyncio.Event() for name in NAMES}
        for event in (self.lists, *self.answers.values()):
            event.set()
        self.infos: dict[str, list[dict[str, Any]]] = {}
        self.told = Counter[str]()
        """By object, how often something was said of it."""
        self.is_away = False

    def report(self, about: Any, *_: object, **__: object) -> None:
        self.told[about.meta.name] += 1

    async def streams(self) -> AsyncIterator[Any]:
        if self.is_away:
            raise BrokerUnavailable("away")
        await self.lists.wait()
        self.listed += 1
        state = {"messages": 1, "first_ts": "2026-01-01T00:00:00Z", "last_seq": 1}
        found = [{"config": {"name": f"PQ_default_{name}"}, "state": state} for name in NAMES]
        yield SimpleNamespace(found=found, missing=())

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        name = stream.rpartition("_")[2]
        self.asked[name] += 1
        await self.answers[name].wait()
        return self.infos[name]

    async def subscribe(self, *_: object, **__: object) -> None:
        """Nothing is ever heard."""


@pytest_asyncio.fixture
async def nats(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Nats, Sampler]]:
    monkeypatch.setattr(sampling, "ROUND_S", 0.08)
    monkeypatch.setattr(sampling, "SWEEP_INTERVAL_S", 0.05)
    monkeypatch.setattr(sampling, "_LONGEST_PAUSE_S", 0.05)
    nats, nothing = Nats(), cast("Any", None)
    broker = Broker(cast("Any", nats), cast("Any", nats), nothing)
    brokers = SimpleNamespace(queues_of=lambda _: wired.caches.queues.keys(), known=lambda _: broker)
    wired = Wired(brokers=brokers, said=nats)
    for name in NAMES:
        queue = wired.queue(queue_body(name=name))
        autoscale = {"fallback": {"replicas": 2}} if name == "second" else {}
        group = wired.group(group_body({"queueRef": {"name": name}, "autoscale": autoscale}, name=name))
        assert isinstance(group.spec, ConsumerGroupSpec)
        assert isinstance(queue.spec, QueueSpec)
        consumers = group_consumers(
            group, effective_spec(group.spec, queue.spec), queue.spec, initial_layout(queue.name, queue.spec)
        )
        wired.applied(group, consumers)
        seen = {"num_pending": 1, "num_ack_pending": 0, "delivered": {"consumer_seq": 0}}
        nats.infos[name] = [
            {"stream_name": each.stream, "name": each.name, "config": each.config(), **seen} for each in consumers
        ]
    sampler = wired.wiring.sampler(broker)
    task = asyncio.create_task(sampler.run())
    yield nats, sampler
    task.cancel()


async def goes_on(nats: Nats, *names: str) -> None:
    """Each of these is asked for again and again."""
    before = dict(nats.asked)
    await eventually(lambda: all(nats.asked[name] > before[name] + 3 for name in names))


async def test_queues_with_work_are_asked_for_while_a_sweep_takes_its_time(nats: tuple[Nats, Sampler]) -> None:
    server, sampler = nats
    await eventually(lambda: server.listed > 1)
    await goes_on(server, *NAMES)
    server.lists.clear()
    await goes_on(server, *NAMES)
    seen = sampler.sampled_at
    await goes_on(server, *NAMES)
    assert sampler.sampled_at == seen, "what hangs shows, however much else goes on"
    server.lists.set()
    await eventually(lambda: sampler.sampled_at > seen)


async def test_a_queue_that_is_not_answered_for_keeps_no_other_waiting_and_is_asked_for_once(
    nats: tuple[Nats, Sampler],
) -> None:
    server, sampler = nats
    await goes_on(server, *NAMES)
    server.answers["first"].clear()
    await goes_on(server, "second")
    stuck, at = server.asked["first"], sampler.sampled_at
    await goes_on(server, "second")
    assert server.asked["first"] == stuck
    assert sampler.sampled_at == at, "what hangs shows, however much else goes on"
    server.answers["first"].set()
    await goes_on(server, *NAMES)
    assert sampler.sampled_at > at


async def test_while_nats_is_away_a_group_that_falls_back_is_decided_on_again_and_others_once(
    nats: tuple[Nats, Sampler],
) -> None:
    server, _ = nats
    await goes_on(server, *NAMES)
    server.is_away = True
    before = server.told["second"]
    await eventually(lambda: server.told["second"] > before + 5)
    held = server.told["first"]
    before = server.told["second"]
    await eventually(lambda: server.told["second"] > before + 5)
    assert server.told["first"] == held

"""Two operators on one NATS account, each of a cluster that knows nothing of the other."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nats_server import NatsServer
from protoqueue.protocol.names import GroupName
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.errors import ForeignAsset, TakenOver
from protoqueue_operator.api.v1alpha1.labels import ADOPT_ANNOTATION, FINALIZER
from protoqueue_operator.api.v1alpha1.objects import parse_group
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.desired import group_consumers, queue_stream_names
from protoqueue_operator.jetstream.diff import CreateConsumer
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.queue.reclaim import FIRST_PAUSE
from unit.operator.samples import group_body, queue_body
from unit.operator.wired import Wired, make_pool
from waiting import eventually

_numbers = itertools.count(1)


class Nobody:
    """Is told of brokers and queues, and of what there is to report."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


class Releasing:
    """An API server that lets everything go."""

    def __init__(self, cluster: str) -> None:
        self.released = 0
        self._cluster = cluster

    async def namespace_uid(self, _: str) -> str:
        return f"namespace-of-{self._cluster}"

    async def set_finalizers(self, *_: object) -> dict[str, Any]:
        self.released += 1
        return queue_body(uid="gone")


class Operator:
    """With `adopts`, its Queue takes over what a Queue of its name in another namespace has made."""

    def __init__(self, cluster: str, server: NatsServer, name: str, *, adopts: bool = True) -> None:
        kubernetes = Releasing(cluster)
        self.brokers = make_pool(kubernetes, Nobody(), Credentials((server.url,)))
        self.later = timedelta(0)
        self._wired = Wired(kubernetes, self.brokers, Nobody(), now=lambda: datetime.now(UTC) + self.later)
        other = "staging" if cluster == "production" else "production"
        self._meta = {"annotations": {ADOPT_ANNOTATION: f"namespace-of-{other}"}} if adopts else {}
        spec = {"schedules": [{"name": "nightly", "cron": "0 3 * * *", "type": "report"}]}
        body = queue_body(spec, name=name, uid=cluster, finalizers=[FINALIZER], **self._meta)
        self._queue = self._wired.queue(body)

    async def deletes(self, policy: str = "Delete") -> bool:
        """Delete its group and its queue, with all that is in it; returns whether nothing holds either any more."""
        name, finalizers = self._queue.meta.name, [FINALIZER]
        wired = self._wired
        body = group_body({"queueRef": {"name": name}}, finalizers=finalizers, deletionTimestamp="2026-01-01T00:00:00Z")
        group = wired.group(body)
        await wired.wiring.groups.reconcile(group)
        wired.caches.groups.remove(group.meta.key, group.meta.uid)
        body = queue_body(
            {"deletionPolicy": policy}, name=name, uid=self._queue.meta.uid, finalizers=finalizers, **self._meta
        )
        await wired.wiring.queue_deletion.delete(
            wired.queue({**body, "metadata": body["metadata"] | {"generation": 2}})
        )
        return bool(wired.kubernetes.released == 2)

    async def makes_a_group(self) -> None:
        """Its consumers and its entry, without its workers."""
        group = parse_group(group_body({"queueRef": {"name": self._queue.meta.name}}, uid=self._queue.meta.uid))
        assert isinstance(group.spec, ConsumerGroupSpec)
        assert isinstance(self._queue.spec, QueueSpec)
        consumers = group_consumers(
            group,
            effective_spec(group.spec, self._queue.spec),
            self._queue.spec,
            initial_layout(self._queue.name, self._queue.spec),
        )
        await apply_plan(self.brokers.own.jetstream, [CreateConsumer(each) for each in consumers], {})
        await self.brokers.own.configs.put(group.name.config_key, b"of the group")

    async def holds(self) -> dict[str, object]:
        """What there is of the queue in NATS but for its streams."""
        name, jetstream, configs = self._queue.name, self.brokers.own.jetstream, self.brokers.own.configs
        entries = (name.config_key, GroupName(name, "mailers").config_key)
        return {
            "entries": [await configs.get(key) is not None for key in entries],
            "consumers": len(await jetstream.consumers(name.stream) or ()),
            "schedules": list(await jetstream.subjects(name.stream, name.all_recurring)),
        }

    def annotate(self, adopts: str) -> None:
        self._meta = {"annotations": {ADOPT_ANNOTATION: adopts}}
        self._queue = replace(self._queue, meta=replace(self._queue.meta, adopts=adopts))

    async def streams(self) -> int:
        infos = [await self.brokers.own.jetstream.stream(name) for name in queue_stream_names(self._queue.name)]
        return sum(info is not None for info in infos)

    async def looks(self) -> str:
        """Look at the queue; returns whose its stream is then."""
        await self._wired.wiring.queues.apply(self._queue)
        info = await self.brokers.own.jetstream.stream(self._queue.name.stream)
        assert info
        owner: str = info["config"]["metadata"]["protoqueue.dev/owner"]
        return owner.rpartition("/")[2]


@asynccontextmanager
async def operators(server: NatsServer, *clusters: str, adopts: bool = True) -> AsyncIterator[list[Operator]]:
    name = f"shared{next(_numbers)}"
    running = [Operator(cluster, server, name, adopts=adopts) for cluster in clusters]
    for each in running:
        each.brokers.start()
        await eventually(lambda each=each: each.brokers.own.connection.is_up)
    yield running
    for each in running:
        await each.brokers.stop()


async def test_two_queues_of_one_name_do_not_take_their_streams_from_each_other_in_turns(server: NatsServer) -> None:
    async with operators(server, "staging", "production") as (staging, production):
        assert await staging.looks() == "staging"
        assert await production.looks() == "production"
        for _ in range(3):
            with pytest.raises(TakenOver, match="give each cluster an account of its own"):
                await staging.looks()
            assert await production.looks() == "production"


async def test_after_a_restart_the_operator_that_is_asked_to_has_them(server: NatsServer) -> None:
    async with operators(server, "staging", "production", "staging") as (staging, production, restarted):
        await staging.looks()
        await production.looks()
        assert await restarted.looks() == "staging"
        with pytest.raises(TakenOver):
            await production.looks()
        assert await staging.looks() == "staging"


async def test_who_has_yielded_takes_its_streams_back_in_time_and_keeps_them_if_nobody_objects(
    server: NatsServer,
) -> None:
    async with operators(server, "staging", "production") as (staging, production):
        await staging.looks()
        await production.looks()
        with pytest.raises(TakenOver, match="taken back at 2"):
            await staging.looks()
        staging.later = FIRST_PAUSE
        assert [await staging.looks() for _ in range(2)] == ["staging"] * 2
        with pytest.raises(TakenOver):
            await production.looks()


async def test_who_loses_them_again_waits_for_longer(server: NatsServer) -> None:
    async with operators(server, "staging", "production", "production") as (staging, production, restarted):
        await staging.looks()
        await production.looks()
        with pytest.raises(TakenOver):
            await staging.looks()
        staging.later = FIRST_PAUSE
        assert await staging.looks() == "staging"
        assert await restarted.looks() == "production"
        for later in (FIRST_PAUSE, 2 * FIRST_PAUSE):
            staging.later = later
            with pytest.raises(TakenOver):
                await staging.looks()
        staging.later = 3 * FIRST_PAUSE
        assert await staging.looks() == "staging"


async def test_who_has_yielded_deletes_nothing_of_what_is_the_others(server: NatsServer) -> None:
    async with operators(server, "staging", "production") as (staging, production):
        await staging.looks()
        await production.looks()
        with pytest.raises(TakenOver):
            await staging.looks()
        assert await staging.deletes()
        assert await production.streams() == 2
        assert await production.deletes()
        assert await production.streams() == 0


async def test_who_has_its_streams_again_because_the_other_is_gone_deletes_them_when_it_goes(
    server: NatsServer,
) -> None:
    async with operators(server, "staging", "production") as (staging, production):
        await staging.looks()
        await production.looks()
        with pytest.raises(TakenOver):
            await staging.looks()
        assert await production.deletes()
        assert await staging.looks() == "staging"
        assert await staging.deletes()
        assert await staging.streams() == 0


async def test_what_is_kept_from_another_namespace_of_the_name_is_not_taken_over_unasked(server: NatsServer) -> None:
    async with operators(server, "first-tenant", "second-tenant", adopts=False) as (first, second):
        assert await first.looks() == "first-tenant"
        with pytest.raises(ForeignAsset, match=f"annotate the Queue with {ADOPT_ANNOTATION}=<uid of that namespace>"):
            await second.looks()
        assert await first.looks() == "first-tenant"
        second.annotate("true")
        with pytest.raises(ForeignAsset):
            await second.looks()
        assert await second.deletes(), "its deletion is not held up"
        assert await first.streams() == 2, "and takes nothing with it, whatever its deletionPolicy"


@pytest.mark.parametrize("policy", ["Delete", "DeleteIfEmpty", "Retain"])
async def test_who_was_refused_the_streams_takes_nothing_of_the_others_with_it(server: NatsServer, policy: str) -> None:
    async with operators(server, "first-tenant", "second-tenant", adopts=False) as (first, second):
        await first.looks()
        await first.makes_a_group()
        before = await first.holds()
        assert before["entries"] == [True, True]
        assert before["schedules"]
        with pytest.raises(ForeignAsset):
            await second.looks()
        assert await second.deletes(policy)
        assert await first.holds() == before
        assert await first.streams() == 2

"""Two operators on one NATS account, each of a cluster that knows nothing of the other."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from nats_server import NatsServer
from protoqueue_operator.core.credentials import Credentials
from protoqueue_operator.core.layout import queue_stream_names
from protoqueue_operator.core.refusals import TakenOver
from protoqueue_operator.core.resources import FINALIZER
from protoqueue_operator.core.yielding import FIRST_PAUSE
from protoqueue_operator.reconcile.brokers import Brokers
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.deletion import delete_group, delete_queue
from protoqueue_operator.reconcile.queues import reconcile_queue
from protoqueue_operator.reconcile.runtime import Runtime
from unit.operator.samples import group_body, queue_body
from waiting import eventually

_numbers = itertools.count(1)


class Nobody:
    """Is told of brokers and queues, and of what there is to report."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


class Releasing:
    """An API server that lets everything go."""

    def __init__(self) -> None:
        self.released = 0

    async def set_finalizers(self, *_: object) -> dict[str, Any]:
        self.released += 1
        return queue_body(uid="gone")


class Operator:
    def __init__(self, cluster: str, server: NatsServer, name: str) -> None:
        nobody, kubernetes = cast("Any", Nobody()), cast("Any", Releasing())
        self.brokers = Brokers(Credentials((server.url,)), kubernetes, nobody)
        self.later = timedelta(0)
        self._runtime = Runtime(
            cast("Any", None), kubernetes, self.brokers, Cache(), nobody, lambda: datetime.now(UTC) + self.later
        )
        self._queue = self._runtime.cache.observe_queue(queue_body(name=name, uid=cluster, finalizers=[FINALIZER]))

    async def deletes(self) -> bool:
        """Delete its group and its queue, with all that is in it; returns whether nothing holds either any more."""
        name, finalizers = self._queue.meta.name, [FINALIZER]
        cache, kubernetes = self._runtime.cache, cast("Any", self._runtime.kubernetes)
        group = cache.observe_group(group_body({"queueRef": {"name": name}}, finalizers=finalizers))
        await delete_group(group, self._runtime)
        cache.remove(group.meta.key, group.meta.uid)
        body = queue_body({"deletionPolicy": "Delete"}, name=name, uid=self._queue.meta.uid, finalizers=finalizers)
        await delete_queue(
            cache.observe_queue({**body, "metadata": body["metadata"] | {"generation": 2}}), self._runtime
        )
        return bool(kubernetes.released == 2)

    async def streams(self) -> int:
        infos = [await self.brokers.own.jetstream.stream(name) for name in queue_stream_names(self._queue.name)]
        return sum(info is not None for info in infos)

    async def looks(self) -> str:
        """Look at the queue; returns whose its stream is then."""
        await reconcile_queue(self._queue, self._runtime)
        info = await self.brokers.own.jetstream.stream(self._queue.name.stream)
        assert info
        owner: str = info["config"]["metadata"]["protoqueue.dev/owner"]
        return owner.rpartition("/")[2]


@asynccontextmanager
async def operators(server: NatsServer, *clusters: str) -> AsyncIterator[list[Operator]]:
    name = f"shared{next(_numbers)}"
    running = [Operator(cluster, server, name) for cluster in clusters]
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
        assert await production.streams() == 3
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

"""A queue whose streams become others, with tasks in all of them: by a new version, and by limits that come and go."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

from nats_server import NatsServer
from protoqueue.protocol.message_headers import schedule_at
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.v1 import config_pb2 as pb
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.errors import Refusal
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.apply import apply_plan, read_config
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.desired import group_consumers, queue_streams, standing_consumers
from protoqueue_operator.jetstream.diff import CreateConsumer, CreateStream
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.nats.credentials import Credentials
from unit.operator.samples import group_body, queue_body
from unit.operator.wired import Wired, make_pool
from waiting import eventually

_numbers = itertools.count(1)
_NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "type": "report"}


class Nobody:
    """Is told of brokers and queues, and of what there is to report."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


class Api:
    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"


class Operator:
    """Its reconciliations, one after the other, of one Queue and its ConsumerGroups."""

    def __init__(self, server: NatsServer, nc: Nats, *groups: str, **spec: Any) -> None:
        self.name = QueueName("default", f"layout{next(_numbers)}")
        self.nc = nc
        self.brokers = make_pool(Api(), Nobody(), Credentials((server.url,)))
        self._wired = Wired(Api(), self.brokers, Nobody())
        self.spec = spec
        self._generation = 0
        self._groups = groups or ("mailers",)
        self._sent = itertools.count(1)
        self.stored: set[str] = set()
        """The data of every task that was acknowledged."""

    @property
    def jetstream(self) -> JetStream:
        return self.brokers.own.jetstream

    def observed(self, **spec: Any) -> tuple[Queue, QueueSpec]:
        self.spec |= spec
        self._generation += 1
        body = queue_body(self.spec, name=self.name.name, generation=self._generation, finalizers=[FINALIZER])
        queue = self._wired.queue(body)
        for name in self._groups:
            of = {"queueRef": {"name": self.name.name}, "startFrom": "All"}
            self._wired.group(group_body(of, name=name, finalizers=[FINALIZER]))
        assert isinstance(queue.spec, QueueSpec), queue.spec
        return queue, queue.spec

    async def begin(self) -> None:
        self.brokers.start()
        await eventually(lambda: self.brokers.own.connection.is_up)

    async def looks(self, **spec: Any) -> None:
        """Bring all to be as `spec` says; what waits for something else is tried again."""
        queue, _ = self.observed(**spec)
        refusals: list[Refusal] = []
        for _ in range(3):
            before = len(refusals)
            try:
                await self._wired.wiring.queues.apply(queue)
            except Refusal as refusal:
                refusals.append(refusal)
            for group in self._wired.caches.groups_of.get(queue.meta.key):
                await self._wired.wiring.groups.apply(group)
            if len(refusals) == before:
                return
        raise AssertionError(refusals)

    async def is_of_the_version_before(self) -> None:
        """Have made what that one makes."""
        queue, spec = self.observed()
        queue = replace(queue, namespace_uid=await Api().namespace_uid(""))
        await apply_plan(self.jetstream, [CreateStream(each) for each in queue_streams(queue, spec, sourced=True)], {})
        layout = Layout(self.name.stream, self.name.later_stream, sourced=True)
        consumers = list(standing_consumers(queue, spec, layout))
        for group in self._wired.caches.groups_of.get(queue.meta.key):
            consumers += group_consumers(group, effective_spec(cast("Any", group.spec), spec), spec, layout)
        await apply_plan(self.jetstream, [CreateConsumer(each) for each in consumers], {})

    async def store(self, subject: str, *, due_in_s: float | None = None) -> str:
        """As a producer: tried until it is acknowledged."""
        task, headers = f"task {next(self._sent)}", {}
        if due_in_s is not None:
            moment = datetime.now(UTC) + timedelta(seconds=due_in_s)
            headers = {"Nats-Schedule": schedule_at(moment), "Nats-Schedule-Target": self.name.due(subject)}
            subject = self.name.scheduled(task.replace(" ", "-"))
        headers["Nats-Msg-Id"] = task
        while True:
            try:
                await self.nc.jetstream().publish(subject, task.encode(), headers=headers)
            except Exception:
                await asyncio.sleep(0.01)
                continue
            self.stored.add(task)
            return task

    async def told(self, kind: Any, key: str) -> Any:
        config = await read_config(self.brokers.own.configs, key, kind)
        assert config
        return config

    async def queue_config(self) -> pb.QueueConfig:
        return cast("pb.QueueConfig", await self.told(pb.QueueConfig, self.name.config_key))

    async def works(self, group: str = "mailers", *, ack: bool = True) -> list[Any]:
        """What a worker gets that follows `pq-config`."""
        config = await self.told(pb.GroupConfig, f"{self.name.config_key}.{group}")
        messages = []
        for consumer in (*config.consumers, *config.moved):
            pull = await self.nc.jetstream().pull_subscribe_bind(consumer.name, consumer.stream)
            try:
                while True:
                    messages += await pull.fetch(100, timeout=0.1)
            except TimeoutError:
                pass
            await pull.unsubscribe()
        for message in messages if ack else ():
            await message.ack_sync()
        return messages

    async def works_until_done(self, group: str = "mailers", *before: Any) -> list[str]:
        """Look and work until all that was stored has come; returns the data of what came, in any order."""
        got = [message.data.decode() for message in before]

        async def all_came() -> bool:
            await self.looks()
            got.extend(message.data.decode() for message in await self.works(group))
            return set(got) >= self.stored

        await eventually(all_came)
        return sorted(got)

    async def streams(self) -> set[str]:
        names = (self.name.stream, self.name.later_stream, self.name.new_stream)
        return {name for name in names if await self.jetstream.stream(name)}


@pytest_asyncio.fixture
async def operator(server: NatsServer, nc: Nats, request: pytest.FixtureRequest) -> AsyncIterator[Operator]:
    groups, spec = getattr(request, "param", ((), {}))
    operator = Operator(server, nc, *groups, **spec)
    await operator.begin()
    yield operator
    await operator.brokers.stop()


@pytest.mark.parametrize(
    "operator", [((), {"schedules": [_NIGHTLY]}), ((), {"limits": {"maxTasks": 100}})], indirect=True
)
async def test_a_new_version_finds_tasks_in_all_places_and_loses_none(operator: Operator) -> None:
    name = operator.name
    await operator.is_of_the_version_before()
    for level in range(3):
        await operator.store(name.task(level))
        await operator.store(name.retry("mailers", level))
    await operator.store(name.task(1), due_in_s=0.1)
    held = await operator.jetstream.stream(name.stream)
    await eventually(lambda: _holds(operator, name.stream, 7))
    pull = await operator.nc.jetstream().pull_subscribe_bind("mailers_p2", name.stream)
    (in_flight,) = await pull.fetch(1)
    for due_in_s in (0.2, 1.5, 3):
        await operator.store(name.task(0), due_in_s=due_in_s)
    dead = name.dead_letter("mailers")
    await operator.nc.jetstream().publish(dead, b"dead")

    await operator.looks()

    config = await operator.queue_config()
    assert list(config.draining_streams) == [name.later_stream]
    await operator.store(name.task(2))
    await operator.store(name.task(2), due_in_s=0.1)
    await in_flight.ack_sync()
    got = await operator.works_until_done("mailers", in_flight)
    assert got == sorted(operator.stored), "each of them once"
    await eventually(lambda: _is_gone(operator, name.later_stream))
    config = await operator.queue_config()
    assert not config.draining_streams
    assert held
    assert (config.later_stream, await operator.jetstream.last_message(name.dead_letter_stream, dead) is None) == (
        name.stream,
        False,
    )
    for stream in await operator.streams():
        info = await operator.jetstream.stream(stream)
        assert info
        assert not info["config"].get("sources")
    recurring = await operator.jetstream.subjects(name.stream, name.all_recurring)
    assert len(recurring) == len(operator.spec.get("schedules", ()))


@pytest.mark.parametrize(
    "operator",
    [(("mailers", "auditors"), {"delivery": "Broadcast", "priorityLevels": 1, "schedules": [_NIGHTLY]})],
    indirect=True,
)
async def test_a_broadcast_queue_of_the_version_before_changes_when_nothing_is_scheduled(operator: Operator) -> None:
    name = operator.name
    await operator.is_of_the_version_before()
    await operator.store(name.task(0))
    await operator.store(name.task(0), due_in_s=2)
    await operator.looks()
    config = await operator.queue_config()
    assert config.later_stream == name.later_stream, "each task there is for two groups"
    for group in ("mailers", "auditors"):
        assert await operator.works_until_done(group) == sorted(operator.stored)
    await eventually(lambda: _is_gone(operator, name.later_stream))
    config = await operator.queue_config()
    assert (config.stream, config.later_stream) == (name.stream, name.stream)
    assert await operator.jetstream.subjects(name.stream, name.all_recurring) == {name.cron("nightly")}
    operator.stored.clear()
    await operator.store(name.task(0))
    await operator.store(name.task(0), due_in_s=0.1)
    for group in ("mailers", "auditors"):
        assert await operator.works_until_done(group) == sorted(operator.stored)
    info = await operator.jetstream.stream(name.stream)
    assert info
    assert info["state"]["messages"] == 1, "the schedule"


@pytest.mark.parametrize(
    "operator",
    [(("mailers",), {}), (("mailers", "auditors"), {"delivery": "Broadcast", "priorityLevels": 1})],
    ids=["WorkQueue", "Broadcast"],
    indirect=True,
)
async def test_limits_come_and_go_while_tasks_do_and_none_is_lost_or_doubled(operator: Operator) -> None:
    name = operator.name
    groups = ["mailers"] if "delivery" not in operator.spec else ["mailers", "auditors"]
    await operator.looks()
    stops = asyncio.Event()

    async def produce() -> None:
        while not stops.is_set():
            await operator.store(name.task(0))
            await operator.store(name.task(0), due_in_s=0.2)
            await asyncio.sleep(0.005)

    producing = asyncio.create_task(produce())
    before = {group: [] for group in groups}
    for limits in ({"maxTasks": 100_000}, {}, {"maxAge": "1h"}, {"maxBytes": "1Gi", "onFull": "DropOldest"}, {}):
        await operator.looks(limits=limits)
        config = await operator.queue_config()
        assert config.stream == (name.new_stream if limits else name.stream)
        for group in groups:
            before[group] += await operator.works(group)
    stops.set()
    await producing
    for group in groups:
        got = await operator.works_until_done(group, *before[group])
        doubled = [task for task, times in Counter(got).items() if times > 1]
        assert (set(got) - operator.stored, doubled) == (set(), [])
    await eventually(lambda: _is_gone(operator, name.new_stream))
    assert await operator.streams() == {name.stream}


async def test_records_of_what_became_of_tasks_come_and_go_with_the_field(operator: Operator) -> None:
    stream = operator.name.history_stream
    await operator.looks()
    assert await operator.jetstream.stream(stream) is None

    await operator.looks(history={"maxTasks": 5})
    for number in range(7):
        await operator.nc.jetstream().publish(operator.name.record("done", f"task{number}"), b"")
    info = await operator.jetstream.stream(stream)
    assert info
    assert (info["state"]["messages"], (await operator.queue_config()).history.stream) == (5, stream)

    await operator.looks(history={"maxTasks": 3, "maxAge": "1h"})
    info = await operator.jetstream.stream(stream)
    assert info
    assert (info["state"]["messages"], info["config"]["max_age"]) == (3, 3600 * 10**9)

    await operator.looks(history={"maxBytes": "32Ki"})
    for number in range(7):
        await operator.nc.jetstream().publish(operator.name.record("done", f"large{number}"), bytes(10_000))
    info = await operator.jetstream.stream(stream)
    assert info
    assert (info["state"]["messages"], info["config"]["max_bytes"]) == (3, 32 * 1024)

    await operator.looks(history=None)
    assert await operator.jetstream.stream(stream) is None
    assert not (await operator.queue_config()).HasField("history")


@pytest.mark.parametrize("operator", [((), {"limits": {"maxTasks": 2, "maxAge": "1h"}})], indirect=True)
async def test_what_comes_due_finds_room_in_a_full_queue(operator: Operator) -> None:
    name = operator.name
    await operator.looks()
    for _ in range(2):
        await operator.store(name.task(0))
    with pytest.raises(Exception, match="maximum messages exceeded"):
        await operator.nc.jetstream().publish(name.task(0), b"one too many")
    for _ in range(3):
        await operator.store(name.task(0), due_in_s=0.1)
    assert await operator.works_until_done() == sorted(operator.stored)


async def _holds(operator: Operator, stream: str, messages: int) -> bool:
    info = await operator.jetstream.stream(stream)
    return bool(info and info["state"]["messages"] == messages)


async def _is_gone(operator: Operator, stream: str) -> bool:
    await operator.looks()
    return await operator.jetstream.stream(stream) is None

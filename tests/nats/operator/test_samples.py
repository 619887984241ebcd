"""What the operator measures of a queue, in a real JetStream and as a client reads it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

import protoqueue
from nats_server import NatsServer
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.samples import COARSE, FINE
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_group, parse_queue
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.kv import SAMPLES, ensure_bucket, samples_of
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.timeseries import recorder as recording
from protoqueue_operator.timeseries.recorder import Recorder
from protoqueue_operator.timeseries.series import Counts, Progress
from protoqueue_operator.timeseries.store import Resized, SeriesStore
from provisioning import QueueSpec, provision
from unit.operator.samples import group_body, queue_body
from waiting import eventually

_numbers = itertools.count(1)


class Clock:
    """The operator's, which a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp() // COARSE.block_s * COARSE.block_s

    def __call__(self) -> float:
        return self.now


class Operator:
    """One process of it after the other, with one queue."""

    def __init__(self, broker: Broker, clock: Clock, **meta: Any) -> None:
        self.broker, self.clock = broker, clock
        self.queue: Queue = parse_queue(queue_body(**{"name": f"sampled{next(_numbers)}", **meta}))
        self.restart()

    def restart(self) -> None:
        self.store = SeriesStore(self.clock)
        self.recorder = Recorder(self.broker, lambda: [self.queue.meta.key], self._find, self.store, lambda _: (2, 1))

    def _find(self, key: Key) -> Queue | None:
        return self.queue if key == self.queue.meta.key else None

    async def step(self, waiting: int, ended: int = 0) -> None:
        groups = {"g": Progress(arrived=waiting + ended, ended=ended)}
        self.recorder.observe(self.queue, Counts(waiting, 0, 0, 0), groups)
        self.clock.now += FINE.step_s
        await self.turn()

    async def turn(self) -> None:
        await self.recorder._take_turn(1)  # a moment of `run`


@pytest_asyncio.fixture
async def broker(server: NatsServer) -> AsyncIterator[Broker]:
    connection = Connection(Credentials((server.url,)), lambda _: None)
    connection.open()
    await eventually(lambda: connection.is_up)
    yield Broker.over(connection)
    await connection.close()


async def read(client: protoqueue.Client, name: QueueName, since: float) -> protoqueue.QueueSamples:
    return await (await client.queue(str(name))).samples(datetime.fromtimestamp(since, UTC))


async def stored(broker: Broker, name: QueueName) -> int:
    stream, within = samples_of(name)
    return len(await broker.jetstream.subjects(stream, within))


async def test_a_client_reads_what_the_operator_has_measured_also_over_its_restarts(
    broker: Broker, client: protoqueue.Client, nc: Any
) -> None:
    operator = Operator(broker, Clock())
    operator.clock.now = datetime.now(UTC).timestamp() // FINE.block_s * FINE.block_s - FINE.block_s
    begins = operator.clock.now
    name = operator.queue.name
    await provision(nc, QueueSpec(name.name))
    assert (await read(client, name, begins)).samples == [], "nothing was measured yet"
    await operator.step(5)
    group = parse_group(group_body({"queueRef": {"name": name.name}}))
    operator.store.resized(Resized(group, 0, 3, "ScaledUp", "5 tasks outstanding"))
    await operator.step(2, ended=4)

    async def arrived(count: int) -> bool:
        return len((await read(client, name, begins)).samples) == count

    await eventually(lambda: arrived(2))
    operator.restart()
    await operator.step(1, ended=5)
    await eventually(lambda: arrived(3))
    found = await read(client, name, begins)
    assert found.step == timedelta(seconds=FINE.step_s)
    assert [sample.at.timestamp() - begins for sample in found.samples] == [0, 10, 20]
    assert [sample.waiting for sample in found.samples] == [5, 2, 1]
    assert [(sample.arrivals, sample.completions) for sample in found.samples] == [(0, 0), (1, 4), (0, 0)]
    assert {(sample.workers_desired, sample.workers_available) for sample in found.samples} == {(2, 1)}
    (change,) = found.changes
    assert (change.group, change.before, change.after, change.message) == ("mailers", 0, 3, "5 tasks outstanding")
    assert len((await read(client, name, begins + 10)).samples) == 2, "`since` is a moment"
    for _ in range(FINE.per_block):
        await operator.step(1, ended=5)

    async def coarse() -> bool:
        return [each.waiting for each in (await read(client, name, begins - 7200)).samples] == [5]

    await eventually(coarse)


async def test_samples_of_a_queue_that_had_the_name_before_go(broker: Broker) -> None:
    clock = Clock()
    operator = Operator(broker, clock)
    await operator.step(5)
    name = operator.queue.name
    await eventually(lambda: _has(broker, name, 1))
    queue = parse_queue(queue_body(name=name.name, uid="another"))
    operator.queue = queue
    operator.restart()
    await operator.step(1)
    await eventually(lambda: _has(broker, name, 1))
    series = operator.store.find(queue)
    assert series is not None
    assert list(series.fine.waiting) == [1]


async def _has(broker: Broker, name: QueueName, count: int) -> bool:
    return await stored(broker, name) == count


async def test_what_is_as_it_was_is_written_once_a_minute(broker: Broker, nc: Any) -> None:
    operator = Operator(broker, Clock())
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    await nc.subscribe(f"$KV.pq-samples.{operator.queue.name.config_key}.>", cb=hear)
    await nc.flush()
    await operator.step(1)
    for _ in range(20):
        operator.clock.now += FINE.step_s
        operator.recorder.swept()
        await operator.turn()
    await eventually(lambda: len(heard) >= 200 // recording.WRITTEN_AGAIN_S)
    await broker.jetstream.stream("nothing")  # all that was sent before has arrived
    await nc.flush()
    assert len(heard) <= 1 + 210 // recording.WRITTEN_AGAIN_S


async def test_a_queue_that_is_being_deleted_leaves_nothing_behind(broker: Broker) -> None:
    operator = Operator(broker, Clock())
    name = operator.queue.name
    await operator.step(5)
    await eventually(lambda: _has(broker, name, 1))
    meta = replace(operator.queue.meta, deleting_since=datetime.now(UTC))
    operator.queue = replace(operator.queue, meta=meta)
    await broker.jetstream.purge(*samples_of(name))
    await operator.step(7)
    await ensure_bucket(broker.jetstream, SAMPLES, 1)  # whatever was sent before this has arrived
    assert await stored(broker, name) == 0


async def test_the_bucket_is_made_again_and_nobody_waits_for_it(broker: Broker, monkeypatch: Any) -> None:
    operator = Operator(broker, Clock())
    monkeypatch.setattr(recording, "_ENSURED_AGAIN_S", 0.0)
    monkeypatch.setattr(recording, "_TURN_S", 0.02)
    await operator.step(5)
    await broker.jetstream.delete_stream(samples_of(operator.queue.name)[0])
    running = asyncio.create_task(operator.recorder.run())
    try:
        await eventually(lambda: broker.jetstream.stream("KV_pq-samples"))
    finally:
        running.cancel()

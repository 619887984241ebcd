"""The operator's side of JetStream, against a real server."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

from nats_server import NatsServer, taken_in
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable
from protoqueue_operator.api.v1alpha1.objects import Group, Queue, parse_group, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling.activation import Activation
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.assets import Consumer, Owner, Stream
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.desired import group_consumers, queue_streams, standing_consumers
from protoqueue_operator.jetstream.diff import Action, plan_consumer, plan_consumers, plan_stream
from protoqueue_operator.jetstream.kv import ConfigBucket
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import Credentials
from unit.operator.samples import group_body, queue_body
from waiting import eventually

_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def connection(server: NatsServer) -> AsyncIterator[Connection]:
    connection = Connection(Credentials((server.url,)), lambda _: None)
    connection.open()
    await eventually(lambda: connection.is_up)
    yield connection
    await connection.close()


@pytest.fixture
def jetstream(connection: Connection) -> JetStream:
    return JetStream(connection)


def queue(**spec: Any) -> tuple[Queue, QueueSpec]:
    made = parse_queue(queue_body(spec, name=f"operated{next(_numbers)}"))
    assert isinstance(made.spec, QueueSpec)
    return made, made.spec


def group(of: Queue, **spec: Any) -> tuple[Group, ConsumerGroupSpec]:
    made = parse_group(group_body({"queueRef": {"name": of.meta.name}, **spec}))
    assert isinstance(made.spec, ConsumerGroupSpec)
    return made, made.spec


async def bring(jetstream: JetStream, streams: tuple[Stream, ...]) -> list[Action]:
    """Plan against what is there, apply, and say what was planned."""
    infos = [await jetstream.stream(stream.name) for stream in streams]
    there = {info["config"]["name"]: info["config"] for info in infos if info}
    plan = [
        action
        for stream in streams
        for action in plan_stream(stream, Stream.observed(there[stream.name]) if stream.name in there else None)
    ]
    await apply_plan(jetstream, plan, there)
    return plan


async def bring_group(jetstream: JetStream, of: Queue, spec: QueueSpec, **group_spec: Any) -> list[Action]:
    made, made_spec = group(of, **group_spec)
    layout = initial_layout(of.name, spec)
    desired = group_consumers(made, effective_spec(made_spec, spec), spec, layout)
    plans = []
    for stream in layout.consumed:
        infos = await jetstream.consumers(stream) or []
        wanted = [consumer for consumer in desired if consumer.stream == stream]
        plan = plan_consumers(wanted, [Consumer.observed(info) for info in infos], Owner.of(made.meta), [])
        await apply_plan(jetstream, plan, {info["name"]: info["config"] for info in infos})
        plans += plan
    return plans


SPECS: list[dict[str, Any]] = [
    {},
    {"delivery": "Broadcast"},
    {"storage": "Memory"},
    {"ordering": {"partitions": 4}},
    {"paused": True},
    {"deadLetter": {"enabled": False}},
    {"deduplicationWindow": "1500ms", "visibilityTimeout": "333ms"},
    {"limits": {"maxTasks": 9, "maxBytes": "3Mi", "maxTaskSize": "1Ki", "maxAge": "90s", "onFull": "DropOldest"}},
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
async def test_what_was_made_reads_back_equal_so_nothing_more_is_planned(
    jetstream: JetStream, spec: dict[str, Any]
) -> None:
    made, made_spec = queue(**spec)
    streams = queue_streams(made, made_spec)
    assert len(await bring(jetstream, streams)) == len(streams)
    assert await bring(jetstream, streams) == []
    assert await bring_group(jetstream, made, made_spec) != []
    assert await bring_group(jetstream, made, made_spec) == []
    for standing in standing_consumers(made, made_spec, initial_layout(made.name, made_spec)):
        await apply_plan(jetstream, plan_consumer(standing, None), {})
        info = await jetstream.consumer(standing.stream, standing.name)
        assert info is not None
        assert plan_consumer(standing, Consumer.observed(info)) == []


async def test_live_changes_are_updates_and_are_settled_by_one(jetstream: JetStream) -> None:
    made, spec = queue()
    await bring(jetstream, queue_streams(made, spec))
    await bring_group(jetstream, made, spec)
    change = spec.model_copy(update={"deduplication_window": spec.deduplication_window * 2})
    assert len(await bring(jetstream, queue_streams(made, change))) == 2
    assert await bring(jetstream, queue_streams(made, change)) == []
    for group_spec in ({"maxInFlight": 5}, {"visibilityTimeout": "7s"}, {"paused": True}, {"paused": False}):
        assert len(await bring_group(jetstream, made, spec, **group_spec)) >= 3
        assert await bring_group(jetstream, made, spec, **group_spec) == []


async def test_an_update_keeps_what_an_administrator_added(jetstream: JetStream) -> None:
    made, spec = queue()
    (tasks,) = [stream for stream in queue_streams(made, spec) if stream.name == made.name.stream]
    await jetstream.create_stream(
        tasks.config() | {"description": "ours", "max_msgs": 3, "metadata": {**tasks.config()["metadata"], "team": "a"}}
    )
    await bring(jetstream, (tasks,))
    info = await jetstream.stream(tasks.name)
    assert info is not None
    assert (info["config"]["description"], info["config"]["metadata"]["team"]) == ("ours", "a")
    assert info["config"]["max_msgs"] == -1


async def test_a_refusal_of_the_server_is_told_in_its_words(jetstream: JetStream) -> None:
    made, spec = queue(replicas=3)
    with pytest.raises(BrokerRefused, match="replicas > 1 not supported"):
        await bring(jetstream, queue_streams(made, spec))


async def test_what_is_absent_reads_as_none_and_is_gone_already(jetstream: JetStream) -> None:
    assert await jetstream.stream("PQ_no_such") is None
    assert await jetstream.consumers("PQ_no_such") is None
    assert await jetstream.consumer("PQ_no_such", "x") is None
    assert await jetstream.last_message("PQ_no_such", "x") is None
    assert await jetstream.subjects("PQ_no_such", ">") == set()
    await jetstream.delete_stream("PQ_no_such")
    await jetstream.delete_consumer("PQ_no_such", "x")
    await jetstream.purge("PQ_no_such", "x")


async def test_more_than_a_page_of_consumers_is_read_whole(jetstream: JetStream) -> None:
    made, spec = queue(priorityLevels=1)
    await bring(jetstream, queue_streams(made, spec))
    (base,) = standing_consumers(made, spec, initial_layout(made.name, spec))
    await asyncio.gather(
        *(
            jetstream.create_consumer(
                base.stream,
                base.config()
                | {"durable_name": f"c{n}", "name": f"c{n}", "filter_subjects": [made.name.scheduled(str(n))]},
            )
            for n in range(300)
        )
    )
    names = [info["name"] for info in await jetstream.consumers(base.stream) or ()]
    assert len(names) == len(set(names))
    assert {f"c{n}" for n in range(300)} <= set(names)


async def test_a_bucket_entry_is_read_by_any_client_and_leaves_a_mark_when_it_goes(
    jetstream: JetStream, nc: Nats
) -> None:
    configs = ConfigBucket(jetstream)
    key = f"default.entry{next(_numbers)}"
    assert await configs.get(key) is None
    await configs.put(key, b"{}")
    assert await configs.get(key) == b"{}"
    bucket = await nc.jetstream().key_value("pq-config")
    assert (await bucket.get(key)).value == b"{}"
    watcher = await bucket.watch(key)
    assert (await watcher.updates()).value == b"{}"  # type: ignore[union-attr]
    await configs.purge(key)
    assert await configs.get(key) is None

    async def told() -> bool:
        entry = await watcher.updates(timeout=1)
        return entry is not None and entry.operation == "PURGE"

    await eventually(told)
    await watcher.stop()


async def test_a_queue_at_zero_is_looked_at_once_and_within_milliseconds(connection: Connection, nc: Nats) -> None:
    looked: list[tuple[QueueName, float]] = []

    async def look(name: QueueName) -> bool:
        looked.append((name, time.monotonic()))
        return True

    async def run(work: Callable[[], Awaitable[object]]) -> None:
        await work()

    activation = Activation(connection, look, lambda work: asyncio.create_task(run(work)))
    name = QueueName("default", f"asleep{next(_numbers)}")
    assert await activation.arm(name)
    assert not await activation.arm(name), "it is armed already"
    await connection.request("$JS.API.INFO", b"", 2)  # the server has read the subscription
    published = time.monotonic()
    for _ in range(3):
        await nc.publish(name.task(0), b"x")
    await taken_in(nc)
    await eventually(lambda: looked, interval_s=0.001)
    assert [each for each, _ in looked] == [name]
    assert looked[0][1] - published < 1
    assert await activation.arm(name), "it can be armed again"
    await activation.disarm(name)
    await nc.publish(name.task(0), b"x")
    await taken_in(nc)
    await connection.request("$JS.API.INFO", b"", 2)
    assert len(looked) == 1


async def test_asking_while_the_server_is_away_fails_at_once_and_works_again_when_it_is_back(tmp_path: Path) -> None:
    changes: list[bool] = []
    server = NatsServer(tmp_path)
    connection = Connection(Credentials((server.url,)), changes.append)
    jetstream = JetStream(connection)
    connection.open()
    with pytest.raises(BrokerUnavailable, match=server.url):
        await jetstream.stream("x")
    await server.start()
    try:
        await eventually(lambda: changes == [True])
        assert await jetstream.stream("x") is None
        server.kill()
        await eventually(lambda: changes == [True, False])
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await jetstream.stream("x")
        assert time.monotonic() - started < 4, "whoever waits for an answer waits for five seconds"
        await server.start()
        await eventually(lambda: changes == [True, False, True])
        assert await jetstream.stream("x") is None
    finally:
        await connection.close()
        server.stop()

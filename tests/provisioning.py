"""What the operator makes in JetStream, made by hand for tests that have no operator."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from nats.aio.client import Client

from protoqueue.naming import CONFIG_BUCKET, DONE_BUCKET, RATE_BUCKET, SCHEDULED_CONSUMER, GroupName, QueueName
from protoqueue.v1 import config_pb2

_S = 1_000_000_000


@dataclass(frozen=True)
class GroupSpec:
    """A ConsumerGroup, as far as JetStream and `pq-config` know it; durations in seconds."""

    name: str = "mailers"
    strict: bool = False
    weights: Sequence[int] | None = None
    max_in_flight: int = 1000
    visibility_s: float = 30
    retry: dict[str, Any] = field(default_factory=dict)
    exactly_once: bool = False
    paused: bool = False
    deliver_all: bool = True
    rate_limit: dict[str, Any] | None = None


@dataclass(frozen=True)
class QueueSpec:
    """A Queue, as far as JetStream and `pq-config` know it; durations in seconds."""

    name: str
    namespace: str = "default"
    broadcast: bool = False
    levels: int = 3
    partitions: int = 0
    storage: str = "file"
    limits: dict[str, Any] = field(default_factory=dict)
    max_task_size: int = 0
    duplicate_window_s: float = 120
    dead_letters: bool = True
    keep_expired: bool = False
    paused: bool = False
    rate_limit: dict[str, Any] | None = None

    @property
    def queue(self) -> QueueName:
        return QueueName(self.namespace, self.name)


async def provision(nc: Client, spec: QueueSpec, groups: Sequence[GroupSpec] = ()) -> QueueName:
    """Create or update everything a queue and its groups consist of."""
    name = spec.queue
    await ensure_buckets(nc)
    for stream in stream_configs(spec):
        await _create(nc, "STREAM", stream["name"], stream)
    counter = {"durable_name": SCHEDULED_CONSUMER, "ack_policy": "explicit", "filter_subject": name.all_scheduled}
    await _consumer(nc, name.later_stream, SCHEDULED_CONSUMER, counter)
    await write_queue(nc, spec)
    for group in groups:
        await provision_group(nc, spec, group)
    return name


def stream_configs(spec: QueueSpec) -> list[dict[str, Any]]:
    """In the order they are to be made; a unit test holds them against the operator's."""
    name = spec.queue
    common = {"storage": spec.storage, "num_replicas": 1, "duplicate_window": int(spec.duplicate_window_s * _S)}
    later = {
        "name": name.later_stream, "subjects": list(name.later_subjects), "retention": "workqueue",
        "allow_msg_schedules": True, "allow_msg_ttl": True, "allow_atomic": True,
    }  # fmt: skip
    source, destination = name.due_transform
    main = {
        "name": name.stream, "subjects": list(name.stream_subjects),
        "retention": "interest" if spec.broadcast else "workqueue", "discard": "new",
        "allow_msg_ttl": True, "allow_atomic": True, **spec.limits,
        "sources": [{"name": name.later_stream, "subject_transforms": [{"src": source, "dest": destination}]}],
    }  # fmt: skip
    dead = {
        "name": name.dead_letter_stream, "subjects": list(name.dead_letter_subjects), "retention": "limits",
        "max_age": 14 * 86_400 * _S, "max_msgs": 100_000,
    }  # fmt: skip
    return [common | stream for stream in (later, dead, main)]


async def provision_group(nc: Client, spec: QueueSpec, group: GroupSpec) -> GroupName:
    for consumer in consumer_configs(spec, group):
        await _consumer(nc, spec.queue.stream, consumer["durable_name"], consumer)
    await write_group(nc, spec, group)
    return GroupName(spec.queue, group.name)


def consumer_configs(spec: QueueSpec, group: GroupSpec) -> list[dict[str, Any]]:
    """As `stream_configs`."""
    configs = []
    for consumer in group_config(spec, group).consumers:
        number = consumer.partition if spec.partitions else consumer.level
        retry = spec.queue.retry(group.name if spec.broadcast else "*", number)
        first = spec.queue.ordered(number) if spec.partitions else spec.queue.task(number)
        configs.append({
            "durable_name": consumer.name, "ack_policy": "explicit", "max_deliver": -1,
            "ack_wait": int(group.visibility_s * _S), "filter_subjects": [first, retry],
            "max_ack_pending": 1 if spec.partitions else group.max_in_flight,
            "deliver_policy": "all" if group.deliver_all or not spec.broadcast else "new",
        })  # fmt: skip
    return configs


async def write_queue(nc: Client, spec: QueueSpec) -> None:
    await _put(nc, spec.queue.config_key, json_format.MessageToJson(queue_config(spec)))


def queue_config(spec: QueueSpec) -> config_pb2.QueueConfig:
    name = spec.queue
    config = config_pb2.QueueConfig(
        namespace=name.namespace,
        name=name.name,
        generation=1,
        stream=name.stream,
        later_stream=name.later_stream,
        dead_letter_stream=name.dead_letter_stream,
        delivery="Broadcast" if spec.broadcast else "WorkQueue",
        priority_levels=0 if spec.partitions else spec.levels,
        ordering_partitions=spec.partitions,
        dead_letter=config_pb2.DeadLetterPolicy(enabled=spec.dead_letters, expired=spec.keep_expired),
        max_task_size=spec.max_task_size,
        paused=spec.paused,
    )
    config.deduplication_window.FromNanoseconds(int(spec.duplicate_window_s * _S))
    if spec.rate_limit:
        config.rate_limit.CopyFrom(_rate_limit({"scope": "Queue"} | spec.rate_limit))
    return config


async def write_group(nc: Client, spec: QueueSpec, group: GroupSpec) -> None:
    await _put(nc, GroupName(spec.queue, group.name).config_key, json_format.MessageToJson(group_config(spec, group)))


def group_config(spec: QueueSpec, group: GroupSpec) -> config_pb2.GroupConfig:
    name = GroupName(spec.queue, group.name)
    retry = {
        "max_attempts": 5,
        "initial_delay": 1.0,
        "multiplier": 2.0,
        "max_delay": 300.0,
        "jitter": 0.2,
    } | group.retry
    config = config_pb2.GroupConfig(
        namespace=spec.namespace,
        queue=spec.name,
        name=group.name,
        generation=1,
        priority_policy="Strict" if group.strict else "Weighted",
        max_in_flight=group.max_in_flight,
        exactly_once=group.exactly_once,
        paused=group.paused,
    )
    if group.rate_limit:
        config.rate_limit.CopyFrom(_rate_limit({"scope": "Group"} | group.rate_limit))
    config.visibility_timeout.FromNanoseconds(int(group.visibility_s * _S))
    config.retry.max_attempts, config.retry.multiplier = retry["max_attempts"], retry["multiplier"]
    config.retry.jitter = retry["jitter"]
    config.retry.initial_delay.FromNanoseconds(int(retry["initial_delay"] * _S))
    config.retry.max_delay.FromNanoseconds(int(retry["max_delay"] * _S))
    if spec.partitions:
        for partition in range(spec.partitions):
            config.consumers.add(name=name.partition_consumer(partition), partition=partition, weight=1)
    else:
        weights = group.weights or [2**level for level in range(spec.levels)]
        for level in reversed(range(spec.levels)):
            config.consumers.add(name=name.level_consumer(level), level=level, weight=weights[level])
    return config


def _rate_limit(limit: dict[str, Any]) -> config_pb2.RateLimit:
    message = config_pb2.RateLimit(tasks=limit["tasks"], burst=limit.get("burst", limit["tasks"]), scope=limit["scope"])
    message.per.FromNanoseconds(int(limit["per"] * _S))
    return message


async def ensure_buckets(nc: Client) -> None:
    """Make the buckets that are missing; those that the operator's code made on this server stay as they are."""
    for bucket, more in (
        (CONFIG_BUCKET, {}),
        (RATE_BUCKET, {"storage": "memory"}),
        (DONE_BUCKET, {"max_age": 86400 * _S}),
    ):
        config = {
            "name": f"KV_{bucket}", "subjects": [f"$KV.{bucket}.>"], "max_msgs_per_subject": 1, "discard": "new",
            "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True, "storage": "file", "num_replicas": 1,
        }  # fmt: skip
        answer = await nc.request(f"$JS.API.STREAM.INFO.KV_{bucket}", b"", timeout=5)
        if "error" in json.loads(answer.data):
            await _create(nc, "STREAM", f"KV_{bucket}", config | more)


async def api(nc: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request to JetStream; an error is an AssertionError."""
    answer: dict[str, Any] = json.loads(
        (await nc.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=5)).data
    )
    assert "error" not in answer, (subject, answer["error"])
    return answer


async def _create(nc: Client, kind: str, name: str, config: dict[str, Any]) -> None:
    await api(nc, f"{kind}.CREATE.{name}", config)


async def _consumer(nc: Client, stream: str, name: str, config: dict[str, Any]) -> None:
    await api(nc, f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": {"name": name, **config}})


async def _put(nc: Client, key: str, value: str) -> None:
    await nc.request(f"$KV.{CONFIG_BUCKET}.{key}", value.encode(), timeout=5)

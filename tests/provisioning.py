"""What the operator makes in JetStream, made by hand for tests that have no operator."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from nats.aio.client import Client

from protoqueue.protocol.buckets import CONFIG_BUCKET, DONE_BUCKET, RATE_BUCKET
from protoqueue.protocol.consumer_names import SCHEDULED_CONSUMER, slot_of_consumer
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.subjects import level_slots
from protoqueue.protocol.v1 import config_pb2

_S = 1_000_000_000
_LIMITS = ("max_msgs", "max_bytes", "max_age")
_OF_ANOTHER_SHAPE = 10058


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
    states_max_in_flight: bool = False


@dataclass(frozen=True)
class QueueSpec:
    """A Queue, as far as JetStream and `pq-config` know it; durations in seconds.

    `sourced` is the layout of ordered queues, and was that of all.
    """

    name: str
    namespace: str = "default"
    broadcast: bool = False
    levels: int = 3
    partitions: int = 0
    lanes: int = 0
    storage: str = "file"
    limits: dict[str, Any] = field(default_factory=dict)
    max_task_size: int = 0
    duplicate_window_s: float = 120
    dead_letters: bool = True
    keep_expired: bool = False
    dead_letter_queue: str = ""
    paused: bool = False
    rate_limit: dict[str, Any] | None = None
    sourced: bool = False
    draining: tuple[str, ...] = ()
    history: dict[str, Any] | None = None
    """`results` and `payloads`."""

    @property
    def queue(self) -> QueueName:
        return QueueName(self.namespace, self.name)

    @property
    def is_sourced(self) -> bool:
        return self.sourced or self.partitions > 0

    @property
    def is_limited(self) -> bool:
        return any(self.limits.get(limit, -1) > 0 for limit in _LIMITS)

    @property
    def stream(self) -> str:
        """Where new tasks are stored."""
        return self.queue.new_stream if self.is_limited and not self.is_sourced else self.queue.stream

    @property
    def later_stream(self) -> str:
        """Where those for later are."""
        return self.queue.later_stream if self.is_sourced else self.queue.stream

    @property
    def streams(self) -> tuple[str, ...]:
        """Those that a group has consumers on, the one for new tasks first."""
        later = () if self.is_sourced else (self.later_stream,)
        return tuple(dict.fromkeys((self.stream, *later, *self.draining)))


async def provision(nc: Client, spec: QueueSpec, groups: Sequence[GroupSpec] = ()) -> QueueName:
    """Create or update everything a queue and its groups consist of."""
    name = spec.queue
    await ensure_buckets(nc)
    for stream in stream_configs(spec):
        await _create(nc, "STREAM", stream["name"], stream)
    counter = {"durable_name": SCHEDULED_CONSUMER, "ack_policy": "explicit", "filter_subject": name.all_scheduled}
    await _consumer(nc, spec.later_stream, SCHEDULED_CONSUMER, counter)
    if spec.broadcast and not spec.is_sourced:  # what nobody is interested in is not stored
        filters = [name.all_scheduled, name.all_recurring, *([] if spec.is_limited else [name.all_checkpoints])]
        keeper = {"durable_name": "_kept", "ack_policy": "explicit", "filter_subjects": filters}
        await _consumer(nc, spec.later_stream, "_kept", keeper)
    if spec.broadcast and spec.stream != spec.later_stream:
        keeper = {"durable_name": "_kept", "ack_policy": "explicit", "filter_subject": name.all_checkpoints}
        await _consumer(nc, spec.stream, "_kept", keeper)
    await write_queue(nc, spec)
    for group in groups:
        await provision_group(nc, spec, group)
    return name


def stream_configs(spec: QueueSpec) -> list[dict[str, Any]]:
    """In the order they are to be made; a unit test holds them against the operator's."""
    name = spec.queue
    common = {"storage": spec.storage, "num_replicas": 1, "duplicate_window": int(spec.duplicate_window_s * _S)}
    dead = {
        "name": name.dead_letter_stream, "subjects": list(name.dead_letter_subjects), "retention": "limits",
        "max_age": 14 * 86_400 * _S, "max_msgs": 100_000,
    }  # fmt: skip
    history = {
        "name": name.history_stream, "subjects": [name.all_records], "retention": "limits", "max_age": 86_400 * _S,
        "max_msgs": 100_000, "max_bytes": 64 << 20, "duplicate_window": _S // 10, "allow_direct": True,
    }  # fmt: skip
    beside = (dead,) if spec.history is None else (dead, history)
    if not spec.is_sourced:
        retention = "interest" if spec.broadcast else "workqueue"
        new = [*name.stream_subjects(spec.levels, lanes=spec.lanes), name.all_checkpoints]
        unique = () if spec.broadcast else name.unique_subjects(spec.levels, spec.lanes)
        later = [*name.later_subjects(spec.levels, lanes=spec.lanes), *unique]
        main = {
            "name": name.stream, "subjects": later if spec.is_limited else [*new, *later], "retention": retention,
            "allow_msg_schedules": True, "allow_msg_ttl": True, "allow_atomic": True,
        }  # fmt: skip
        limited = {
            "name": name.new_stream, "subjects": new, "retention": retention, "discard": "new", "allow_msg_ttl": True,
            "allow_atomic": True, **spec.limits,
        }  # fmt: skip
        return [common | stream for stream in ((main, *beside, limited) if spec.is_limited else (main, *beside))]
    later = {
        "name": name.later_stream, "subjects": list(name.later_subjects(spec.levels, spec.partitions)),
        "retention": "workqueue",
        "allow_msg_schedules": True, "allow_msg_ttl": True, "allow_atomic": True,
    }  # fmt: skip
    source, destination = name.due_transform
    main = {
        "name": name.stream, "subjects": [*name.stream_subjects(spec.levels, spec.partitions), name.all_checkpoints],
        "retention": "interest" if spec.broadcast else "workqueue", "discard": "new",
        "allow_msg_ttl": True, "allow_atomic": True, **spec.limits,
        "sources": [{"name": name.later_stream, "subject_transforms": [{"src": source, "dest": destination}]}],
    }  # fmt: skip
    return [common | stream for stream in (later, *beside, main)]


async def provision_group(nc: Client, spec: QueueSpec, group: GroupSpec) -> GroupName:
    for stream in spec.streams:
        for consumer in consumer_configs(spec, group):
            await _consumer(nc, stream, consumer["durable_name"], consumer)
            until = {"pause_until": "2100-01-01T00:00:00Z"} if spec.paused or group.paused else {}
            await api(nc, f"CONSUMER.PAUSE.{stream}.{consumer['durable_name']}", until)
    await write_group(nc, spec, group)
    return GroupName(spec.queue, group.name)


def consumer_configs(spec: QueueSpec, group: GroupSpec) -> list[dict[str, Any]]:
    """As `stream_configs`, of each of a queue's streams."""
    configs = []
    for consumer in (each for each in group_config(spec, group).consumers if each.stream == spec.stream):
        slot = slot_of_consumer(consumer.name)
        retry = spec.queue.retry(group.name if spec.broadcast else "*", slot)
        first = spec.queue.ordered(slot) if spec.partitions else spec.queue.task(slot)
        filters = [first, retry] if spec.is_sourced else [first, retry, spec.queue.due(first), spec.queue.due(retry)]
        if not spec.is_sourced and not spec.broadcast:
            filters.append(spec.queue.unique_waiting("*", slot))  # where no group states maxInFlight beside limits
        configs.append({
            "durable_name": consumer.name, "ack_policy": "explicit", "max_deliver": -1,
            "ack_wait": int(group.visibility_s * _S), "filter_subjects": filters,
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
        stream=spec.stream,
        later_stream=spec.later_stream,
        draining_streams=spec.draining,
        dead_letter_stream=name.dead_letter_stream,
        delivery="Broadcast" if spec.broadcast else "WorkQueue",
        priority_levels=0 if spec.partitions else spec.levels,
        ordering_partitions=spec.partitions,
        dead_letter=config_pb2.DeadLetterPolicy(
            enabled=spec.dead_letters, expired=spec.keep_expired, queue=spec.dead_letter_queue
        ),
        max_task_size=spec.max_task_size,
        paused=spec.paused,
        fairness_lanes=spec.lanes,
    )
    config.deduplication_window.FromNanoseconds(int(spec.duplicate_window_s * _S))
    if spec.limits.get("max_age") and not spec.partitions:
        config.max_age.FromNanoseconds(spec.limits["max_age"])
    if spec.rate_limit:
        config.rate_limit.CopyFrom(_rate_limit({"scope": "Queue"} | spec.rate_limit))
    if spec.history is not None:
        config.history.stream = name.history_stream
        config.history.results = spec.history.get("results", True)
        config.history.payloads = spec.history.get("payloads", False)
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
        "max_crashes": 5,
        "rollout_grace": 900,
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
    config.retry.jitter, config.retry.max_crashes = retry["jitter"], retry["max_crashes"]
    config.retry.rollout_grace.FromNanoseconds(int(retry["rollout_grace"] * _S))
    config.retry.initial_delay.FromNanoseconds(int(retry["initial_delay"] * _S))
    config.retry.max_delay.FromNanoseconds(int(retry["max_delay"] * _S))
    for partition in range(spec.partitions):
        consumer = name.partition_consumer(partition)
        config.consumers.add(name=consumer, partition=partition, weight=1, stream=spec.stream)
    weights = group.weights or [2**level for level in range(spec.levels)]
    for level in () if spec.partitions else reversed(range(spec.levels)):
        for stream in spec.streams:
            is_moved = group.states_max_in_flight and stream != spec.stream
            of = config.moved if is_moved else config.consumers
            for slot in level_slots(level, spec.lanes):
                of.add(name=name.level_consumer(slot), level=level, weight=weights[level], stream=stream)
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
        answer = await nc.request(f"$JS.API.STREAM.INFO.KV_{bucket}", b"", timeout=60)
        if "error" in json.loads(answer.data):
            await _create(nc, "STREAM", f"KV_{bucket}", config | more)


async def api(nc: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request to JetStream; an error is an AssertionError."""
    answer: dict[str, Any] = json.loads(
        (await nc.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=60)).data
    )
    assert "error" not in answer, (subject, answer["error"])
    return answer


async def _create(nc: Client, kind: str, name: str, config: dict[str, Any]) -> None:
    answer = await nc.request(f"$JS.API.{kind}.CREATE.{name}", json.dumps(config).encode(), timeout=60)
    error = json.loads(answer.data).get("error")
    if error and error["err_code"] == _OF_ANOTHER_SHAPE:
        await api(nc, f"{kind}.UPDATE.{name}", config)
    else:
        assert not error, (name, error)


async def _consumer(nc: Client, stream: str, name: str, config: dict[str, Any]) -> None:
    await api(nc, f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": {"name": name, **config}})


async def _put(nc: Client, key: str, value: str) -> None:
    await nc.request(f"$KV.{CONFIG_BUCKET}.{key}", value.encode(), timeout=60)

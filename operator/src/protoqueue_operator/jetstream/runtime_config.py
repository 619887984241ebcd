"""The entries for clients and workers in the bucket `pq-config`."""

from datetime import timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson, Parse, ParseError

from protoqueue.protocol.consumer_names import group_of_consumer
from protoqueue.protocol.v1 import config_pb2 as pb
from protoqueue_operator.api.v1alpha1.effective_spec import EffectiveSpec
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec, RateLimit, Retry
from protoqueue_operator.jetstream.assets import Consumer
from protoqueue_operator.jetstream.desired import task_window
from protoqueue_operator.jetstream.layout import Layout

Config = TypeVar("Config", pb.QueueConfig, pb.GroupConfig)


def queue_config(queue: Queue, spec: QueueSpec, layout: Layout, dead_letter_queue: str = "") -> pb.QueueConfig:
    """`dead_letter_queue` is the Queue whose tasks the dead letters become; empty if they stay in this one."""
    max_age = None if layout.sourced else spec.limits.max_age  # what sources has the age itself
    return pb.QueueConfig(
        namespace=queue.meta.namespace,
        name=queue.meta.name,
        generation=queue.meta.generation,
        stream=layout.stream,
        later_stream=layout.later,
        dead_letter_stream=queue.name.dead_letter_stream,
        delivery=spec.delivery,
        priority_levels=spec.effective_priority_levels,
        ordering_partitions=spec.ordering.partitions if spec.ordering else 0,
        visibility_timeout=_duration(spec.visibility_timeout),
        deduplication_window=_duration(task_window(spec)),
        retry=_retry(spec.retry),
        dead_letter=pb.DeadLetterPolicy(
            enabled=spec.dead_letter.enabled, expired=spec.dead_letter.expired, queue=dead_letter_queue
        ),
        rate_limit=_rate_limit(spec.rate_limit, "Queue"),
        max_task_size=spec.limits.max_task_size or 0,
        paused=spec.paused,
        draining_streams=layout.draining,
        max_age=_duration(max_age) if max_age else None,
        history=_history(queue, spec),
        fairness_lanes=spec.lanes,
    )


def group_config(
    group: Group, spec: EffectiveSpec, queue: QueueSpec, consumers: tuple[Consumer, ...]
) -> pb.GroupConfig:
    """`consumers` as `group_consumers` lists them: by stream, then by level or partition, lowest first."""
    limit = spec.rate_limit
    return pb.GroupConfig(
        namespace=group.meta.namespace,
        queue=group.queue_name,
        name=group.meta.name,
        generation=group.meta.generation,
        consumers=_partitions(consumers) if queue.ordering else _levels(consumers, spec, queue, moved=False),
        moved=() if queue.ordering else _levels(consumers, spec, queue, moved=True),
        priority_policy=spec.priority_policy,
        max_in_flight=spec.max_in_flight,
        visibility_timeout=_duration(spec.visibility_timeout),
        retry=_retry(spec.retry),
        rate_limit=_rate_limit(limit, limit.scope) if limit else None,
        exactly_once=spec.exactly_once,
        paused=spec.paused,
    )


def stored_consumers(entry: pb.GroupConfig, queue: pb.QueueConfig) -> tuple[Consumer, ...]:
    """The consumers for which an entry was written, as far as it lists them."""
    return tuple(
        Consumer(
            stream=each.stream or queue.stream,
            name=each.name,
            owner=None,
            filter_subjects=(),
            ack_wait=entry.visibility_timeout.ToTimedelta(),
            max_ack_pending=1 if queue.ordering_partitions else entry.max_in_flight,
            paused=entry.paused,
            moved=moved,
        )
        for listed, moved in ((entry.consumers, False), (entry.moved, True))
        for each in listed
    )


def encode(config: pb.QueueConfig | pb.GroupConfig) -> bytes:
    return MessageToJson(config, indent=None).encode()


def decode(kind: type[Config], data: bytes) -> Config | None:
    """The stored message; None if it cannot be read, as after a manual edit."""
    try:
        return Parse(data, kind())
    except (ParseError, UnicodeDecodeError):
        return None


def _levels(
    consumers: tuple[Consumer, ...], spec: EffectiveSpec, queue: QueueSpec, *, moved: bool
) -> list[pb.Consumer]:
    """Highest level first, and within a level by stream."""
    levels = queue.effective_priority_levels
    weights = spec.priority_weights or tuple(2**level for level in range(levels))
    listed = [
        pb.Consumer(name=each.name, level=level, weight=weights[level], stream=each.stream)
        for each in consumers
        if each.moved == moved and (level := _level(each)) is not None
    ]
    return sorted(listed, key=lambda each: -each.level)


def _level(consumer: Consumer) -> int | None:
    belongs = group_of_consumer(consumer.name)
    return belongs[1] if belongs else None


def _partitions(consumers: tuple[Consumer, ...]) -> list[pb.Consumer]:
    return [
        pb.Consumer(name=consumer.name, partition=partition, weight=1, stream=consumer.stream)
        for partition, consumer in enumerate(consumers)
    ]


def _retry(retry: Retry) -> pb.RetryPolicy:
    return pb.RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_delay=_duration(retry.initial_delay),
        multiplier=retry.multiplier,
        max_delay=_duration(retry.max_delay),
        jitter=retry.jitter,
        max_crashes=retry.max_crashes,
        rollout_grace=_duration(retry.rollout_grace),
    )


def _history(queue: Queue, spec: QueueSpec) -> pb.HistoryPolicy | None:
    if spec.history is None:
        return None
    return pb.HistoryPolicy(
        stream=queue.name.history_stream, results=spec.history.results, payloads=spec.history.payloads
    )


def _rate_limit(limit: RateLimit | None, scope: str) -> pb.RateLimit | None:
    if limit is None:
        return None
    return pb.RateLimit(tasks=limit.tasks, per=_duration(limit.per), burst=limit.burst or limit.tasks, scope=scope)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration

"""What clients and workers learn from the bucket `pq-config`."""

from datetime import timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson, Parse, ParseError

from protoqueue.v1 import config_pb2 as pb
from protoqueue_operator.core.assets import Consumer
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.layout import task_window
from protoqueue_operator.core.queue import QueueSpec, RateLimit, Retry
from protoqueue_operator.core.resources import Group, Queue

Config = TypeVar("Config", pb.QueueConfig, pb.GroupConfig)


def queue_config(queue: Queue, spec: QueueSpec) -> pb.QueueConfig:
    return pb.QueueConfig(
        namespace=queue.meta.namespace,
        name=queue.meta.name,
        generation=queue.meta.generation,
        stream=queue.name.stream,
        later_stream=queue.name.later_stream,
        dead_letter_stream=queue.name.dead_letter_stream,
        delivery=spec.delivery,
        priority_levels=spec.effective_priority_levels,
        ordering_partitions=spec.ordering.partitions if spec.ordering else 0,
        visibility_timeout=_duration(spec.visibility_timeout),
        deduplication_window=_duration(task_window(spec)),
        retry=_retry(spec.retry),
        dead_letter=pb.DeadLetterPolicy(enabled=spec.dead_letter.enabled, expired=spec.dead_letter.expired),
        rate_limit=_rate_limit(spec.rate_limit, "Queue"),
        max_task_size=spec.limits.max_task_size or 0,
        paused=spec.paused,
    )


def group_config(
    group: Group, spec: ConsumerGroupSpec, queue: QueueSpec, consumers: tuple[Consumer, ...]
) -> pb.GroupConfig:
    """`consumers` as `group_consumers` lists them: by level or partition, lowest first."""
    limit = spec.rate_limit
    return pb.GroupConfig(
        namespace=group.meta.namespace,
        queue=group.queue_name,
        name=group.meta.name,
        generation=group.meta.generation,
        consumers=_partitions(consumers) if queue.ordering else _levels(consumers, spec),
        priority_policy=spec.priority_policy,
        max_in_flight=spec.max_in_flight,
        visibility_timeout=_duration(spec.visibility_timeout or queue.visibility_timeout),
        retry=_retry(spec.retry.over(queue.retry) if spec.retry else queue.retry),
        rate_limit=_rate_limit(limit, limit.scope) if limit else None,
        exactly_once=spec.exactly_once,
        paused=spec.paused or queue.paused,
    )


def encode(config: pb.QueueConfig | pb.GroupConfig) -> bytes:
    return MessageToJson(config, indent=None).encode()


def decode(kind: type[Config], data: bytes) -> Config | None:
    """The stored message; None where it cannot be read, as after an edit by hand."""
    try:
        return Parse(data, kind())
    except (ParseError, UnicodeDecodeError):
        return None


def _levels(consumers: tuple[Consumer, ...], spec: ConsumerGroupSpec) -> list[pb.Consumer]:
    weights = spec.priority_weights or tuple(2**level for level in range(len(consumers)))
    levels = [
        pb.Consumer(name=consumer.name, level=level, weight=weights[level]) for level, consumer in enumerate(consumers)
    ]
    return levels[::-1]


def _partitions(consumers: tuple[Consumer, ...]) -> list[pb.Consumer]:
    return [
        pb.Consumer(name=consumer.name, partition=partition, weight=1) for partition, consumer in enumerate(consumers)
    ]


def _retry(retry: Retry) -> pb.RetryPolicy:
    return pb.RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_delay=_duration(retry.initial_delay),
        multiplier=retry.multiplier,
        max_delay=_duration(retry.max_delay),
        jitter=retry.jitter,
    )


def _rate_limit(limit: RateLimit | None, scope: str) -> pb.RateLimit | None:
    if limit is None:
        return None
    return pb.RateLimit(tasks=limit.tasks, per=_duration(limit.per), burst=limit.burst or limit.tasks, scope=scope)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration

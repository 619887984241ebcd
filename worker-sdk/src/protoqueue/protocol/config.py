"""What the operator writes into `pq-config`, parsed once: frozen, in seconds, with the names a client needs."""

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from protoqueue.errors import ConfigurationError
from protoqueue.naming import GroupName, QueueName
from protoqueue.v1 import config_pb2

_Config = TypeVar("_Config", config_pb2.QueueConfig, config_pb2.GroupConfig)

DEFAULT_VISIBILITY_S = 30.0
DEFAULT_WINDOW_S = 120.0
"""How long JetStream remembers message ids unless it is told otherwise."""


@dataclass(frozen=True)
class RetryPolicy:
    """`spec.retry`; `jitter` is the share of a delay, 0 to 1, that is spread to both sides."""

    max_attempts: int = 5
    initial_delay_s: float = 1.0
    multiplier: float = 2.0
    max_delay_s: float = 300.0
    jitter: float = 0.2


@dataclass(frozen=True)
class RateLimit:
    """`tasks` every `per_s`, at most `burst` at once, shared by all within `scope`: Queue, Group or Worker."""

    tasks: int
    per_s: float
    burst: int
    scope: str


@dataclass(frozen=True)
class QueueSettings:
    """A queue as clients see it."""

    name: QueueName
    stream: str
    later_stream: str
    dead_letter_stream: str
    broadcast: bool = False
    priority_levels: int = 3
    partitions: int = 0
    dead_letters: bool = True
    dead_letter_expired: bool = False
    max_task_size: int = 0
    deduplication_window_s: float = DEFAULT_WINDOW_S
    rate_limit: RateLimit | None = None
    paused: bool = False


@dataclass(frozen=True)
class Consumer:
    """One durable consumer of a group; `level` or `partition` says which tasks it holds."""

    name: str
    level: int = 0
    partition: int = 0
    weight: int = 1


@dataclass(frozen=True)
class GroupSettings:
    """A consumer group as its workers see it; the queue's defaults are merged in."""

    name: GroupName
    consumers: tuple[Consumer, ...]
    strict: bool = False
    visibility_s: float = DEFAULT_VISIBILITY_S
    retry: RetryPolicy = RetryPolicy()
    rate_limit: RateLimit | None = None
    exactly_once: bool = False
    paused: bool = False


def parse_queue(data: bytes) -> QueueSettings:
    """Read a `QueueConfig`; raises ConfigurationError on what is none. Fields of later versions are ignored."""
    config = _parse(data, config_pb2.QueueConfig())
    name = QueueName(config.namespace, config.name)
    return QueueSettings(
        name=name,
        stream=config.stream or name.stream,
        later_stream=config.later_stream or name.later_stream,
        dead_letter_stream=config.dead_letter_stream or name.dead_letter_stream,
        broadcast=config.delivery == "Broadcast",
        priority_levels=config.priority_levels or 1,
        partitions=config.ordering_partitions,
        dead_letters=config.dead_letter.enabled,
        dead_letter_expired=config.dead_letter.expired,
        max_task_size=config.max_task_size,
        deduplication_window_s=_seconds(config.deduplication_window) or DEFAULT_WINDOW_S,
        rate_limit=_rate_limit(config.rate_limit) if config.HasField("rate_limit") else None,
        paused=config.paused,
    )


def parse_group(data: bytes) -> GroupSettings:
    """Read a `GroupConfig`; raises ConfigurationError on what is none. Fields of later versions are ignored."""
    config = _parse(data, config_pb2.GroupConfig())
    return GroupSettings(
        name=GroupName(QueueName(config.namespace, config.queue), config.name),
        consumers=tuple(
            Consumer(consumer.name, consumer.level, consumer.partition, max(1, consumer.weight))
            for consumer in config.consumers
        ),
        strict=config.priority_policy == "Strict",
        visibility_s=_seconds(config.visibility_timeout) or DEFAULT_VISIBILITY_S,
        retry=_retry(config.retry) if config.HasField("retry") else RetryPolicy(),
        rate_limit=_rate_limit(config.rate_limit) if config.HasField("rate_limit") else None,
        exactly_once=config.exactly_once,
        paused=config.paused,
    )


def _parse(data: bytes, into: _Config) -> _Config:
    kind = type(into).__name__
    try:
        json_format.Parse(data, into, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"pq-config holds no {kind}: {error}") from error
    if not into.namespace or not into.name:
        raise ConfigurationError(f"pq-config holds a {kind} without namespace or name")
    return into


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _retry(policy: config_pb2.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=max(1, policy.max_attempts),
        initial_delay_s=_seconds(policy.initial_delay),
        multiplier=policy.multiplier or 1.0,
        max_delay_s=_seconds(policy.max_delay),
        jitter=policy.jitter,
    )


def _rate_limit(limit: config_pb2.RateLimit) -> RateLimit:
    return RateLimit(limit.tasks, _seconds(limit.per) or 1.0, limit.burst or limit.tasks, limit.scope)

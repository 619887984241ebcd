"""Settings that the operator writes into `pq-config`, parsed: frozen, in seconds, with the names clients need."""

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from protoqueue.errors import ConfigurationError
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2

_Config = TypeVar("_Config", config_pb2.QueueConfig, config_pb2.GroupConfig)

DEFAULT_VISIBILITY_S = 30.0
DEFAULT_WINDOW_S = 120.0
"""How long JetStream remembers message ids by default."""


@dataclass(frozen=True)
class RetryPolicy:
    """`spec.retry`; `jitter` is the fraction of a delay, 0 to 1, by which it varies to both sides."""

    max_attempts: int = 20
    initial_delay_s: float = 1.0
    multiplier: float = 2.0
    max_delay_s: float = 3600.0
    jitter: float = 0.2
    max_crashes: int = 5
    rollout_grace_s: float = 900.0

    @property
    def most_crashes(self) -> int:
        """How often a task may crash its worker: a task with `max_attempts` 1 must not run again after a crash."""
        return min(self.max_attempts, self.max_crashes)


_DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True)
class RateLimit:
    """`tasks` every `per_s`, at most `burst` at once, shared by all within `scope`: Queue, Group or Worker."""

    tasks: int
    per_s: float
    burst: int
    scope: str


@dataclass(frozen=True)
class History:
    """Which data of finished attempts is recorded in `stream`."""

    stream: str
    results: bool = True
    payloads: bool = False


@dataclass(frozen=True)
class QueueSettings:
    """A queue as clients see it.

    New tasks are stored in `stream`, scheduled ones in `later_stream`, which may be the same; `draining_streams` may
    still hold tasks of either kind. Dead letters become tasks of `dead_letter_queue`, if there is one. `max_age_s` is
    how long a task is kept once it is due; None: without limit.
    """

    name: QueueName
    stream: str
    later_stream: str
    dead_letter_stream: str
    broadcast: bool = False
    priority_levels: int = 3
    partitions: int = 0
    dead_letters: bool = True
    dead_letter_expired: bool = False
    dead_letter_queue: QueueName | None = None
    max_task_size: int = 0
    deduplication_window_s: float = DEFAULT_WINDOW_S
    rate_limit: RateLimit | None = None
    paused: bool = False
    draining_streams: tuple[str, ...] = ()
    max_age_s: float | None = None
    history: History | None = None
    lanes: int = 0
    """Of a fair queue: how many there are for tasks with a fairness key. 0: the queue is not fair."""

    @property
    def streams(self) -> tuple[str, ...]:
        """All streams that may hold tasks, each once."""
        return tuple(dict.fromkeys((self.stream, self.later_stream, *self.draining_streams)))

    @property
    def is_sourced(self) -> bool:
        """Whether `stream` is sourced with what comes due in `later_stream`, as in ordered queues."""
        return self.later_stream == self.name.later_stream

    @property
    def takes_unique(self) -> bool:
        """Whether tasks may have a unique key or replace one another, for which all must be in one stream."""
        return not self.broadcast and not self.partitions and not self.is_sourced

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a stream and a subject pattern that cover all tasks that are not scheduled."""
        subjects = self.name.waiting_subjects(ordered=bool(self.partitions))
        return tuple((stream, subject) for stream in reversed(self.streams) for subject in subjects)

    @property
    def waiting(self) -> tuple[tuple[str, str], ...]:
        """The places of tasks that wait for a worker or run, without those that `stream` has yet to source.

        A stream keeps these for a moment after they were sourced.
        """
        taken_over = {(self.later_stream, self.name.all_due)} if self.is_sourced else set()
        return tuple(place for place in self.places if place not in taken_over)


@dataclass(frozen=True)
class Consumer:
    """One durable consumer of a group; `level` or `partition` says which tasks it holds.

    `stream` is its stream; empty means `QueueSettings.stream`, as older operators leave it out.
    """

    name: str
    level: int = 0
    partition: int = 0
    weight: int = 1
    stream: str = ""

    @property
    def share(self) -> tuple[int, int]:
        """What consumers that share a weight have in common: the level, or the partition."""
        return self.level, self.partition


@dataclass(frozen=True)
class GroupSettings:
    """A consumer group as its workers see it; the queue's defaults are merged in.

    Tasks of `moved` consumers are moved to the queue's stream before they run.
    """

    name: GroupName
    consumers: tuple[Consumer, ...]
    moved: tuple[Consumer, ...] = ()
    strict: bool = False
    visibility_s: float = DEFAULT_VISIBILITY_S
    retry: RetryPolicy = RetryPolicy()
    rate_limit: RateLimit | None = None
    exactly_once: bool = False
    paused: bool = False


def parse_queue(data: bytes) -> QueueSettings:
    """Read a `QueueConfig`; raises ConfigurationError for anything else. Fields of later versions are ignored."""
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
        dead_letter_queue=QueueName(config.namespace, config.dead_letter.queue) if config.dead_letter.queue else None,
        max_task_size=config.max_task_size,
        deduplication_window_s=_seconds(config.deduplication_window) or DEFAULT_WINDOW_S,
        rate_limit=_rate_limit(config.rate_limit) if config.HasField("rate_limit") else None,
        paused=config.paused,
        draining_streams=tuple(config.draining_streams),
        max_age_s=_seconds(config.max_age) or None,
        history=_history(config.history, name) if config.HasField("history") else None,
        lanes=config.fairness_lanes,
    )


def parse_group(data: bytes) -> GroupSettings:
    """Read a `GroupConfig`; raises ConfigurationError for anything else. Fields of later versions are ignored."""
    config = _parse(data, config_pb2.GroupConfig())
    return GroupSettings(
        name=GroupName(QueueName(config.namespace, config.queue), config.name),
        consumers=tuple(map(_consumer, config.consumers)),
        moved=tuple(map(_consumer, config.moved)),
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
        raise ConfigurationError(f"pq-config does not hold a valid {kind}: {error}") from error
    if not into.namespace or not into.name:
        raise ConfigurationError(f"pq-config holds a {kind} without namespace or name")
    return into


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _history(policy: config_pb2.HistoryPolicy, name: QueueName) -> History:
    return History(policy.stream or name.history_stream, policy.results, policy.payloads)


def _retry(policy: config_pb2.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=max(1, policy.max_attempts),
        initial_delay_s=_seconds(policy.initial_delay),
        multiplier=policy.multiplier or 1.0,
        max_delay_s=_seconds(policy.max_delay),
        jitter=policy.jitter,
        max_crashes=policy.max_crashes or _DEFAULT_RETRY.max_crashes,
        rollout_grace_s=(
            _seconds(policy.rollout_grace) if policy.HasField("rollout_grace") else _DEFAULT_RETRY.rollout_grace_s
        ),
    )


def _consumer(consumer: config_pb2.Consumer) -> Consumer:
    return Consumer(consumer.name, consumer.level, consumer.partition, max(1, consumer.weight), consumer.stream)


def _rate_limit(limit: config_pb2.RateLimit) -> RateLimit:
    return RateLimit(limit.tasks, _seconds(limit.per) or 1.0, limit.burst or limit.tasks, limit.scope)

"""What a Queue and a ConsumerGroup say, as far as it matters to queues in memory: read from manifests or arguments."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from google.protobuf.duration_pb2 import Duration as ProtoDuration
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from protoqueue.errors import ConfigurationError
from protoqueue.protocol.config import RetryPolicy
from protoqueue.protocol.durations import parse_duration, to_timedelta
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.subjects import DEFAULT_LANES, level_slots
from protoqueue.protocol.v1 import config_pb2

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _read_duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else to_timedelta(value)


def _read_bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    digits = value.rstrip("kKMGi")
    return int(float(digits) * _UNITS[value[len(digits) :]])


_Duration = Annotated[timedelta, BeforeValidator(_read_duration)]
_Bytes = Annotated[int, BeforeValidator(_read_bytes)]


class RetryOptions(TypedDict, total=False):
    """`spec.retry`; durations in seconds, as timedelta, or as manifests write them (`1m`)."""

    max_attempts: int
    initial_delay: float | timedelta | str
    multiplier: float
    max_delay: float | timedelta | str
    jitter: float
    max_crashes: int
    rollout_grace: float | timedelta | str


class RateLimitOptions(TypedDict, total=False):
    tasks: int
    per: float | timedelta | str
    burst: int
    scope: Literal["Group", "Worker"]


class LimitOptions(TypedDict, total=False):
    max_tasks: int
    max_task_size: int | str
    max_age: float | timedelta | str
    on_full: Literal["Reject", "DropOldest"]


class OrderingOptions(TypedDict, total=False):
    partitions: int


class FairnessOptions(TypedDict, total=False):
    lanes: int


class ReferenceOptions(TypedDict):
    name: str


class DeadLetterOptions(TypedDict, total=False):
    enabled: bool
    expired: bool
    queue_ref: ReferenceOptions


class HistoryOptions(TypedDict, total=False):
    max_age: float | timedelta | str
    max_tasks: int
    max_bytes: int | str
    results: bool
    payloads: bool


class QueueOptions(TypedDict, total=False):
    """Fields of a Queue's `spec`."""

    delivery: Literal["WorkQueue", "Broadcast"]
    priority_levels: int
    ordering: OrderingOptions
    fairness: FairnessOptions
    limits: LimitOptions
    deduplication_window: float | timedelta | str
    visibility_timeout: float | timedelta | str
    retry: RetryOptions
    dead_letter: DeadLetterOptions
    history: HistoryOptions
    rate_limit: RateLimitOptions
    paused: bool


class GroupOptions(TypedDict, total=False):
    """Fields of a ConsumerGroup's `spec`; what it does not say, its Queue says."""

    priority_policy: Literal["Weighted", "Strict"]
    priority_weights: list[int]
    max_in_flight: int
    visibility_timeout: float | timedelta | str
    retry: RetryOptions
    rate_limit: RateLimitOptions
    exactly_once: bool
    start_from: Literal["New", "All"]
    paused: bool


class Options(QueueOptions, total=False):
    """Those of a queue, and of its one group what only groups have."""

    priority_policy: Literal["Weighted", "Strict"]
    priority_weights: list[int]
    max_in_flight: int
    exactly_once: bool


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )


class _Retry(_Model):
    max_attempts: int | None = None
    initial_delay: _Duration | None = None
    multiplier: float | None = None
    max_delay: _Duration | None = None
    jitter: float | None = None
    max_crashes: int | None = None
    rollout_grace: _Duration | None = None


class _RateLimit(_Model):
    tasks: int
    per: _Duration = timedelta(seconds=1)
    burst: int | None = None
    scope: Literal["Group", "Worker"] = "Group"


class _Ordering(_Model):
    partitions: int = 16


class _Fairness(_Model):
    lanes: int = Field(DEFAULT_LANES, ge=2, le=128)


class _Limits(_Model):
    max_tasks: int | None = None
    max_bytes: Any = None
    max_task_size: _Bytes | None = None
    max_age: _Duration | None = None
    on_full: Literal["Reject", "DropOldest"] = "Reject"


class _Reference(_Model):
    name: str


class _DeadLetter(_Model):
    enabled: bool = True
    expired: bool = False
    queue_ref: _Reference | None = None
    max_age: Any = None
    max_tasks: Any = None


class HistoryShape(_Model):
    max_age: _Duration = timedelta(days=1)
    max_tasks: int = 100_000
    max_bytes: Any = None
    results: bool = True
    payloads: bool = False


class QueueShape(_Model):
    """A Queue's `spec`. What is `Any` has no effect in memory."""

    delivery: Literal["WorkQueue", "Broadcast"] = "WorkQueue"
    priority_levels: int | None = None
    ordering: _Ordering | None = None
    fairness: _Fairness | None = None
    limits: _Limits = _Limits()
    deduplication_window: _Duration = timedelta(minutes=2)
    visibility_timeout: _Duration = timedelta(seconds=30)
    retry: _Retry = _Retry()
    dead_letter: _DeadLetter = _DeadLetter()
    history: HistoryShape | None = None
    rate_limit: _RateLimit | None = None
    paused: bool = False
    storage: Any = None
    replicas: Any = None
    schedules: Any = None
    deletion_policy: Any = None
    nats: Any = None

    @model_validator(mode="after")
    def _fairness_alone(self) -> "QueueShape":
        if self.fairness and (self.ordering or self.delivery == "Broadcast"):
            raise ValueError(f"fairness excludes {'ordering' if self.ordering else 'delivery: Broadcast'}")
        return self

    def config(self, name: QueueName) -> config_pb2.QueueConfig:
        """As the operator writes it."""
        limits = self.limits
        window = min(self.deduplication_window, limits.max_age) if limits.max_age else self.deduplication_window
        config = config_pb2.QueueConfig(
            namespace=name.namespace,
            name=name.name,
            generation=1,
            stream=name.stream,
            later_stream=name.later_stream if self.ordering else name.stream,
            dead_letter_stream=name.dead_letter_stream,
            delivery=self.delivery,
            priority_levels=0 if self.ordering else self.priority_levels or (1 if self.fairness else 3),
            ordering_partitions=self.ordering.partitions if self.ordering else 0,
            visibility_timeout=_proto(self.visibility_timeout),
            deduplication_window=_proto(window),
            retry=_retry(self.retry),
            dead_letter=config_pb2.DeadLetterPolicy(
                enabled=self.dead_letter.enabled,
                expired=self.dead_letter.expired,
                queue=self.dead_letter.queue_ref.name if self.dead_letter.queue_ref else "",
            ),
            max_task_size=limits.max_task_size or 0,
            paused=self.paused,
            fairness_lanes=self.fairness.lanes if self.fairness else 0,
        )
        if limits.max_age is not None and not self.ordering:
            config.max_age.CopyFrom(_proto(limits.max_age))
        if self.rate_limit is not None:
            config.rate_limit.CopyFrom(_rate_limit(self.rate_limit, "Queue"))
        if self.history is not None:
            config.history.stream = name.history_stream
            config.history.results, config.history.payloads = self.history.results, self.history.payloads
        return config


class GroupShape(_Model):
    """A ConsumerGroup's `spec`. What is `Any` has no effect in memory."""

    queue_ref: Any = None
    priority_policy: Literal["Weighted", "Strict"] = "Weighted"
    priority_weights: tuple[int, ...] | None = None
    max_in_flight: int = 1000
    visibility_timeout: _Duration | None = None
    retry: _Retry | None = None
    rate_limit: _RateLimit | None = None
    exactly_once: bool = False
    start_from: Literal["New", "All"] = "New"
    paused: bool = False
    worker: Any = None
    replicas: Any = None
    autoscale: Any = None

    def config(self, name: GroupName, queue: config_pb2.QueueConfig) -> config_pb2.GroupConfig:
        """As the operator writes it."""
        config = config_pb2.GroupConfig(
            namespace=name.queue.namespace,
            queue=name.queue.name,
            name=name.name,
            generation=1,
            priority_policy=self.priority_policy,
            max_in_flight=self.max_in_flight,
            visibility_timeout=_proto(self.visibility_timeout) if self.visibility_timeout else queue.visibility_timeout,
            retry=_retry(self.retry, queue.retry),
            exactly_once=self.exactly_once,
            paused=self.paused or queue.paused,
        )
        if self.rate_limit is not None:
            config.rate_limit.CopyFrom(_rate_limit(self.rate_limit, self.rate_limit.scope))
        config.consumers.extend(consumers(name, queue, self.priority_weights))
        return config


def consumers(
    name: GroupName, queue: config_pb2.QueueConfig, weights: tuple[int, ...] | None = None
) -> Iterator[config_pb2.Consumer]:
    """Those a group of this queue pulls from; raises ConfigurationError for weights of another number of levels."""
    for partition in range(queue.ordering_partitions):
        yield config_pb2.Consumer(name=name.partition_consumer(partition), partition=partition, weight=1)
    levels = 0 if queue.ordering_partitions else queue.priority_levels or 1
    if weights is not None and len(weights) != levels:
        raise ConfigurationError(f"group {name}: priorityWeights has {len(weights)} weights for {levels} levels")
    for level in reversed(range(levels)):
        weight = weights[level] if weights else 2**level
        for slot in level_slots(level, queue.fairness_lanes):
            yield config_pb2.Consumer(name=name.level_consumer(slot), level=level, weight=weight)


_Shape = TypeVar("_Shape", QueueShape, GroupShape)


def read_shape(kind: type[_Shape], what: str, fields: Mapping[str, Any]) -> _Shape:
    """Raises ConfigurationError that names the field of `what` that cannot be so."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'spec'}: {one['msg']}" for one in error.errors(include_url=False)
        )
        raise ConfigurationError(f"{what}: {wrong}") from error


def read_manifests(source: str | Path) -> tuple[dict[QueueName, QueueShape], dict[GroupName, GroupShape]]:
    """The Queues and ConsumerGroups of a YAML file, or of all `*.yaml` and `*.yml` in a folder; others are left out.

    Raises ConfigurationError, also for a file that cannot be read and a group of a queue that is not there.
    """
    queues: dict[QueueName, QueueShape] = {}
    groups: dict[GroupName, GroupShape] = {}
    for document in _documents(Path(source)):
        if not str(document.get("apiVersion", "")).startswith("protoqueue.dev/"):
            continue
        kind, metadata, spec = document.get("kind"), document.get("metadata") or {}, document.get("spec") or {}
        namespace, name = metadata.get("namespace", "default"), metadata.get("name")
        what = f"{kind} {name} in {source}"
        try:
            if kind == "Queue":
                queue = QueueName.parse(f"{namespace}/{name}")
                queues[queue] = read_shape(QueueShape, what, spec)
            elif kind == "ConsumerGroup":
                queue = QueueName.parse(f"{namespace}/{(spec.get('queueRef') or {}).get('name')}")
                groups[GroupName.parse(queue, str(name))] = read_shape(GroupShape, what, spec)
        except ValueError as error:
            raise ConfigurationError(f"{what}: {error}") from error
    for group in groups:
        if group.queue not in queues:
            raise ConfigurationError(f"{source}: ConsumerGroup {group.name} has no Queue {group.queue}")
    return queues, groups


def _documents(source: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import yaml  # no dependency of workers
    except ImportError:
        raise ConfigurationError("manifests are YAML: install PyYAML, or protoqueue[testing]") from None
    in_folder = (file for file in source.iterdir() if file.suffix in (".yaml", ".yml")) if source.is_dir() else ()
    for file in sorted(in_folder) or [source]:
        try:
            documents = list(yaml.safe_load_all(file.read_text()))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigurationError(f"the manifests cannot be read: {error}") from error
        for document in documents:
            if isinstance(document, Mapping):
                yield from (document.get("items") or []) if document.get("kind") == "List" else [document]


def _retry(retry: _Retry | None, over: config_pb2.RetryPolicy | None = None) -> config_pb2.RetryPolicy:
    stated = {} if retry is None else {key: value for key, value in retry if value is not None}
    default = RetryPolicy()
    policy = config_pb2.RetryPolicy(
        max_attempts=default.max_attempts,
        initial_delay=_proto(timedelta(seconds=default.initial_delay_s)),
        multiplier=default.multiplier,
        max_delay=_proto(timedelta(seconds=default.max_delay_s)),
        jitter=default.jitter,
        max_crashes=default.max_crashes,
        rollout_grace=_proto(timedelta(seconds=default.rollout_grace_s)),
    )
    if over is not None:
        policy.CopyFrom(over)
    for key, value in stated.items():
        if isinstance(value, timedelta):
            getattr(policy, key).FromTimedelta(value)
        else:
            setattr(policy, key, value)
    return policy


def _rate_limit(limit: _RateLimit, scope: str) -> config_pb2.RateLimit:
    return config_pb2.RateLimit(tasks=limit.tasks, per=_proto(limit.per), burst=limit.burst or limit.tasks, scope=scope)


def _proto(duration: timedelta) -> ProtoDuration:
    message = ProtoDuration()
    message.FromTimedelta(duration)
    return message

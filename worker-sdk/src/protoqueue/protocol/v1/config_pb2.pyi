import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QueueConfig(_message.Message):
    __slots__ = ("namespace", "name", "generation", "stream", "later_stream", "dead_letter_stream", "delivery", "priority_levels", "ordering_partitions", "visibility_timeout", "deduplication_window", "retry", "dead_letter", "rate_limit", "max_task_size", "paused", "draining_streams", "max_age", "history", "fairness_lanes")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    LATER_STREAM_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_STREAM_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_LEVELS_FIELD_NUMBER: _ClassVar[int]
    ORDERING_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATION_WINDOW_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_STREAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_LANES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    generation: int
    stream: str
    later_stream: str
    dead_letter_stream: str
    delivery: str
    priority_levels: int
    ordering_partitions: int
    visibility_timeout: _duration_pb2.Duration
    deduplication_window: _duration_pb2.Duration
    retry: RetryPolicy
    dead_letter: DeadLetterPolicy
    rate_limit: RateLimit
    max_task_size: int
    paused: bool
    draining_streams: _containers.RepeatedScalarFieldContainer[str]
    max_age: _duration_pb2.Duration
    history: HistoryPolicy
    fairness_lanes: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., generation: _Optional[int] = ..., stream: _Optional[str] = ..., later_stream: _Optional[str] = ..., dead_letter_stream: _Optional[str] = ..., delivery: _Optional[str] = ..., priority_levels: _Optional[int] = ..., ordering_partitions: _Optional[int] = ..., visibility_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deduplication_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., dead_letter: _Optional[_Union[DeadLetterPolicy, _Mapping]] = ..., rate_limit: _Optional[_Union[RateLimit, _Mapping]] = ..., max_task_size: _Optional[int] = ..., paused: _Optional[bool] = ..., draining_streams: _Optional[_Iterable[str]] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., history: _Optional[_Union[HistoryPolicy, _Mapping]] = ..., fairness_lanes: _Optional[int] = ...) -> None: ...

class GroupConfig(_message.Message):
    __slots__ = ("namespace", "queue", "name", "generation", "consumers", "priority_policy", "max_in_flight", "visibility_timeout", "retry", "rate_limit", "exactly_once", "paused", "moved")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_POLICY_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    EXACTLY_ONCE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    name: str
    generation: int
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    priority_policy: str
    max_in_flight: int
    visibility_timeout: _duration_pb2.Duration
    retry: RetryPolicy
    rate_limit: RateLimit
    exactly_once: bool
    paused: bool
    moved: _containers.RepeatedCompositeFieldContainer[Consumer]
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., name: _Optional[str] = ..., generation: _Optional[int] = ..., consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., priority_policy: _Optional[str] = ..., max_in_flight: _Optional[int] = ..., visibility_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., rate_limit: _Optional[_Union[RateLimit, _Mapping]] = ..., exactly_once: _Optional[bool] = ..., paused: _Optional[bool] = ..., moved: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ...) -> None: ...

class Consumer(_message.Message):
    __slots__ = ("name", "level", "partition", "weight", "stream")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    name: str
    level: int
    partition: int
    weight: int
    stream: str
    def __init__(self, name: _Optional[str] = ..., level: _Optional[int] = ..., partition: _Optional[int] = ..., weight: _Optional[int] = ..., stream: _Optional[str] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "initial_delay", "multiplier", "max_delay", "jitter", "max_crashes", "rollout_grace")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DELAY_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    MAX_CRASHES_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_GRACE_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_delay: _duration_pb2.Duration
    multiplier: float
    max_delay: _duration_pb2.Duration
    jitter: float
    max_crashes: int
    rollout_grace: _duration_pb2.Duration
    def __init__(self, max_attempts: _Optional[int] = ..., initial_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., multiplier: _Optional[float] = ..., max_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ..., max_crashes: _Optional[int] = ..., rollout_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DeadLetterPolicy(_message.Message):
    __slots__ = ("enabled", "expired", "queue")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    expired: bool
    queue: str
    def __init__(self, enabled: _Optional[bool] = ..., expired: _Optional[bool] = ..., queue: _Optional[str] = ...) -> None: ...

class HistoryPolicy(_message.Message):
    __slots__ = ("stream", "results", "payloads")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    results: bool
    payloads: bool
    def __init__(self, stream: _Optional[str] = ..., results: _Optional[bool] = ..., payloads: _Optional[bool] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("tasks", "per", "burst", "scope")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    PER_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    tasks: int
    per: _duration_pb2.Duration
    burst: int
    scope: str
    def __init__(self, tasks: _Optional[int] = ..., per: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., burst: _Optional[int] = ..., scope: _Optional[str] = ...) -> None: ...

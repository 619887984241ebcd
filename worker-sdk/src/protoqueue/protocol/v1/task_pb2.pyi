import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_OUTCOME_UNSPECIFIED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_DONE: _ClassVar[TaskOutcome]
    TASK_OUTCOME_RETRIED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_SNOOZED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_DEAD: _ClassVar[TaskOutcome]
    TASK_OUTCOME_CANCELLED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_EXPIRED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_REDRIVEN: _ClassVar[TaskOutcome]
    TASK_OUTCOME_THROTTLED: _ClassVar[TaskOutcome]
    TASK_OUTCOME_REPLACED: _ClassVar[TaskOutcome]
TASK_OUTCOME_UNSPECIFIED: TaskOutcome
TASK_OUTCOME_DONE: TaskOutcome
TASK_OUTCOME_RETRIED: TaskOutcome
TASK_OUTCOME_SNOOZED: TaskOutcome
TASK_OUTCOME_DEAD: TaskOutcome
TASK_OUTCOME_CANCELLED: TaskOutcome
TASK_OUTCOME_EXPIRED: TaskOutcome
TASK_OUTCOME_REDRIVEN: TaskOutcome
TASK_OUTCOME_THROTTLED: TaskOutcome
TASK_OUTCOME_REPLACED: TaskOutcome

class TaskMetadata(_message.Message):
    __slots__ = ("priority", "timestamp", "retries", "custom_metadata", "whole_floats")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_METADATA_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FLOATS_FIELD_NUMBER: _ClassVar[int]
    priority: int
    timestamp: int
    retries: int
    custom_metadata: _struct_pb2.Struct
    whole_floats: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, priority: _Optional[int] = ..., timestamp: _Optional[int] = ..., retries: _Optional[int] = ..., custom_metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., whole_floats: _Optional[_Iterable[str]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "data", "metadata", "type", "content_type", "ordering_key", "retry", "fairness_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ORDERING_KEY_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    data: bytes
    metadata: TaskMetadata
    type: str
    content_type: str
    ordering_key: str
    retry: Retries
    fairness_key: str
    def __init__(self, id: _Optional[str] = ..., data: _Optional[bytes] = ..., metadata: _Optional[_Union[TaskMetadata, _Mapping]] = ..., type: _Optional[str] = ..., content_type: _Optional[str] = ..., ordering_key: _Optional[str] = ..., retry: _Optional[_Union[Retries, _Mapping]] = ..., fairness_key: _Optional[str] = ...) -> None: ...

class Retries(_message.Message):
    __slots__ = ("max_attempts", "initial_delay", "multiplier", "max_delay", "jitter")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DELAY_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_delay: _duration_pb2.Duration
    multiplier: float
    max_delay: _duration_pb2.Duration
    jitter: float
    def __init__(self, max_attempts: _Optional[int] = ..., initial_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., multiplier: _Optional[float] = ..., max_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ...) -> None: ...

class TaskRecord(_message.Message):
    __slots__ = ("id", "enqueued_at", "started_at", "finished_at", "type", "group", "attempt", "outcome", "reason", "error", "error_type", "traceback", "worker", "metadata", "result", "payload", "due_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    enqueued_at: int
    started_at: int
    finished_at: int
    type: str
    group: str
    attempt: int
    outcome: TaskOutcome
    reason: str
    error: str
    error_type: str
    traceback: str
    worker: str
    metadata: TaskMetadata
    result: RecordedValue
    payload: RecordedValue
    due_at: int
    def __init__(self, id: _Optional[str] = ..., enqueued_at: _Optional[int] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., type: _Optional[str] = ..., group: _Optional[str] = ..., attempt: _Optional[int] = ..., outcome: _Optional[_Union[TaskOutcome, str]] = ..., reason: _Optional[str] = ..., error: _Optional[str] = ..., error_type: _Optional[str] = ..., traceback: _Optional[str] = ..., worker: _Optional[str] = ..., metadata: _Optional[_Union[TaskMetadata, _Mapping]] = ..., result: _Optional[_Union[RecordedValue, _Mapping]] = ..., payload: _Optional[_Union[RecordedValue, _Mapping]] = ..., due_at: _Optional[int] = ...) -> None: ...

class RecordedValue(_message.Message):
    __slots__ = ("data", "content_type", "omitted")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    OMITTED_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    content_type: str
    omitted: str
    def __init__(self, data: _Optional[bytes] = ..., content_type: _Optional[str] = ..., omitted: _Optional[str] = ...) -> None: ...

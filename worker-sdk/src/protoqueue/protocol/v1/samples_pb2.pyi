from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleBlock(_message.Message):
    __slots__ = ("queue_uid", "start", "step", "index", "waiting", "in_flight", "scheduled", "dead", "arrivals", "completions", "oldest_age", "workers_desired", "workers_available", "changes")
    QUEUE_UID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_FIELD_NUMBER: _ClassVar[int]
    COMPLETIONS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_FIELD_NUMBER: _ClassVar[int]
    WORKERS_DESIRED_FIELD_NUMBER: _ClassVar[int]
    WORKERS_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    queue_uid: str
    start: int
    step: int
    index: _containers.RepeatedScalarFieldContainer[int]
    waiting: _containers.RepeatedScalarFieldContainer[int]
    in_flight: _containers.RepeatedScalarFieldContainer[int]
    scheduled: _containers.RepeatedScalarFieldContainer[int]
    dead: _containers.RepeatedScalarFieldContainer[int]
    arrivals: _containers.RepeatedScalarFieldContainer[int]
    completions: _containers.RepeatedScalarFieldContainer[int]
    oldest_age: _containers.RepeatedScalarFieldContainer[int]
    workers_desired: _containers.RepeatedScalarFieldContainer[int]
    workers_available: _containers.RepeatedScalarFieldContainer[int]
    changes: _containers.RepeatedCompositeFieldContainer[WorkerChange]
    def __init__(self, queue_uid: _Optional[str] = ..., start: _Optional[int] = ..., step: _Optional[int] = ..., index: _Optional[_Iterable[int]] = ..., waiting: _Optional[_Iterable[int]] = ..., in_flight: _Optional[_Iterable[int]] = ..., scheduled: _Optional[_Iterable[int]] = ..., dead: _Optional[_Iterable[int]] = ..., arrivals: _Optional[_Iterable[int]] = ..., completions: _Optional[_Iterable[int]] = ..., oldest_age: _Optional[_Iterable[int]] = ..., workers_desired: _Optional[_Iterable[int]] = ..., workers_available: _Optional[_Iterable[int]] = ..., changes: _Optional[_Iterable[_Union[WorkerChange, _Mapping]]] = ...) -> None: ...

class WorkerChange(_message.Message):
    __slots__ = ("at", "group", "before", "after", "reason", "message")
    AT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    at: int
    group: str
    before: int
    after: int
    reason: str
    message: str
    def __init__(self, at: _Optional[int] = ..., group: _Optional[str] = ..., before: _Optional[int] = ..., after: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

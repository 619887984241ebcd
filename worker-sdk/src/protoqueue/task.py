"""Tasks as users hold them: what they send, what a handler gets, what an enqueue returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from protoqueue.naming import DEFAULT_PRIORITY


@dataclass(frozen=True)
class Outgoing:
    """One item of `enqueue_batch` with options of its own; they mean what they mean for `enqueue`."""

    payload: Any
    type: str = ""
    priority: int = DEFAULT_PRIORITY
    delay: float | timedelta | None = None
    at: datetime | None = None
    expires: float | timedelta | datetime | None = None
    dedup_id: str | None = None
    ordering_key: str = ""
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Receipt:
    """The queue has stored a task; with `duplicate` it already held one of the same `dedup_id` and kept that alone."""

    id: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at a task. `attempt` counts from 1; `data` is the payload's bytes, encoded as `content_type` says."""

    id: str
    data: bytes
    type: str = ""
    content_type: str = ""
    attempt: int = 1
    priority: int = DEFAULT_PRIORITY
    enqueued_at: datetime | None = None
    ordering_key: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

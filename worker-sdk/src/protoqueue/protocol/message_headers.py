"""The headers of messages: their names, and the values that NATS reads."""

import math
import re
from datetime import UTC, datetime, timedelta

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Header:
    """Headers of a task's message."""

    MSG_ID = "Nats-Msg-Id"
    DEDUP_ID = "Pq-Dedup-Id"
    TTL = "Nats-TTL"
    EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
    EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
    SCHEDULE = "Nats-Schedule"
    SCHEDULE_TARGET = "Nats-Schedule-Target"
    SCHEDULE_TTL = "Nats-Schedule-TTL"
    SCHEDULER = "Nats-Scheduler"
    SCHEDULE_NEXT = "Nats-Schedule-Next"
    RECURS = "Pq-Recurs"
    SCHEDULED_FOR = "Pq-Scheduled-For"
    OVERLAP = "Pq-Overlap"
    JITTER = "Pq-Jitter"
    EXPIRES_AFTER = "Pq-Expires-After"
    UNIQUE = "Pq-Unique"
    UNIQUE_UNTIL = "Pq-Unique-Until"
    REPLACE = "Pq-Replace"
    REPLACED = "Pq-Replaced"
    ATTEMPT = "Pq-Attempt"
    REDRIVES = "Pq-Redrives"
    EXPIRES_AT = "Pq-Expires-At"
    UNFIT_SINCE = "Pq-Unfit-Since"
    TRACE_PARENT = "traceparent"
    TRACE_STATE = "tracestate"
    DEAD_LETTER = "Pq-Dead-Letter"
    # of a dead letter
    REASON = "Pq-Reason"
    ERROR = "Pq-Error"
    ERROR_TYPE = "Pq-Error-Type"
    TRACEBACK = "Pq-Traceback"
    ATTEMPTS = "Pq-Attempts"
    MAX_ATTEMPTS = "Pq-Max-Attempts"
    GROUP = "Pq-Group"
    WORKER = "Pq-Worker"
    FAILED_AT = "Pq-Failed-At"
    STREAM_SEQUENCE = "Pq-Stream-Seq"


def is_header_name(text: str) -> bool:
    """Whether a message may be sent with a header of this name; received messages may have others."""
    return _NAME.fullmatch(text) is not None


def schedule_at(due: datetime) -> str:
    """`Nats-Schedule` for one moment, rounded up to the millisecond: never early."""
    due = due.astimezone(UTC) + timedelta(microseconds=999)
    return f"@at {due.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def time_to_live(seconds: float) -> str:
    """`Nats-TTL`, or `Nats-Schedule-TTL` for what a schedule fires: whole seconds, rounded up, at least one."""
    return f"{max(1, math.ceil(seconds))}s"

"""Task ids."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.message_ids import place_of

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_COUNTED = (1 << 62) - 1


def new_task_id(now: datetime | None = None) -> str:
    """A UUID of version 7 as 32 hexadecimal digits: unique, in order of time, and one token of a subject or key."""
    return new_task_ids(1, now)[0]


def new_task_ids(count: int, now: datetime | None = None) -> list[str]:
    """Ids for tasks that are enqueued together, in order: as RFC 9562 allows, they increment a random number.

    Its 62 bits start in the lower half of their range, so that they do not overflow.
    """
    milliseconds = time.time_ns() // 1_000_000 if now is None else int(now.timestamp() * 1000)
    entropy = int.from_bytes(os.urandom(10))
    first = (milliseconds << 80) | _VERSION_AND_VARIANT | ((entropy >> 68) << 64) | (entropy & (_COUNTED >> 1))
    return [f"{value:032x}" for value in range(first, first + count)]


def made_at(task_id: str) -> datetime | None:
    """When an id was made, by its producer's clock; None if it does not say."""
    try:
        uuid = UUID(task_id)
        is_dated = uuid.variant == RFC_4122 and uuid.version == 7
        return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC) if is_dated else None
    except (ValueError, OverflowError, OSError):
        return None


def recurring_id(headers: Mapping[str, str], sequence: int, stream: str = "") -> str | None:
    """`<schedule name>@<place>` of a task fired by a recurring schedule, whose bytes are the same each time."""
    match headers.get(Header.SCHEDULER, "").split("."):
        case ["pq", _, _, "cron", schedule]:
            return f"{schedule}@{place_of(stream, sequence)}"
    return None


def anonymous_id(sequence: int, stream: str = "") -> str:
    """The id of a task that has none from its producer."""
    return f"task@{place_of(stream, sequence)}"


def sequence_in(task_id: str) -> int:
    """The sequence in the place that an id of these two kinds ends with; 0 for others."""
    _, at, place = task_id.rpartition("@")
    digits = place.partition("-")[0]
    return int(digits) if at and digits.isascii() and digits.isdigit() and len(digits) < 19 else 0

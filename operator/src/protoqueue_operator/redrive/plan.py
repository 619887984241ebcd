"""Which dead letters a Redrive moves, and how many at once. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from protoqueue_operator.api.v1alpha1.redrive import RedriveFilter, RedriveSpec
from protoqueue_operator.redrive.checkpoint import MOST_RUNS

MOST_AT_ONCE = 999
"""With the checkpoint, as many messages as the server accepts in a batch."""

MOST_BYTES = 4 * 1024 * 1024

MESSAGE_OVERHEAD = 512
"""The maximum size of a stored message besides its data: headers, subject, and the server's overhead."""


@dataclass(slots=True)  # frozen costs a microsecond a letter
class Letter:
    """The fields of a dead letter that a filter uses."""

    sequence: int
    group: str
    reason: str
    type: str
    error_type: str
    failed_at: datetime | None
    size: int
    """Bytes of its data."""


@dataclass(frozen=True)
class Room:
    """The remaining capacity of the queue's stream; None: no limit."""

    messages: int | None = None
    bytes: int | None = None


def matches(letter: Letter, wanted: RedriveFilter | None) -> bool:
    """Whether a filter matches the letter. Without a time of failure it matches no time."""
    if wanted is None:
        return True
    at = letter.failed_at
    return (
        (wanted.reasons is None or letter.reason in wanted.reasons)
        and (wanted.types is None or letter.type in wanted.types)
        and (wanted.error_types is None or letter.error_type in wanted.error_types)
        and (wanted.failed_after is None or (at is not None and at >= wanted.failed_after))
        and (wanted.failed_before is None or (at is not None and at < wanted.failed_before))
    )


def is_selective(wanted: RedriveFilter | None) -> bool:
    """Whether a filter may exclude letters, so that all must be read to count the matches."""
    return wanted is not None and any(value is not None for _, value in wanted)


def looks_into_headers(wanted: RedriveFilter | None) -> bool:
    """Whether a filter looks at more than the types of tasks."""
    return wanted is not None and any(value is not None for name, value in wanted if name != "types")


def target(spec: RedriveSpec, matched: int) -> int:
    """How many letters to move."""
    return matched if spec.limit is None else min(matched, spec.limit)


def take(letters: Sequence[Letter], most: int, room: Room, most_runs: int = MOST_RUNS) -> int:
    """How many of the first letters go into one batch: those allowed, that fit, and whose sequences can be recorded."""
    most = min(most, len(letters), MOST_AT_ONCE)
    if room.messages is not None:
        most = min(most, room.messages)
    size_left = MOST_BYTES
    runs, expected = 0, 0
    for count in range(most):
        letter = letters[count]
        size_left -= letter.size
        runs += letter.sequence != expected
        expected = letter.sequence + 1
        taken_bytes = MOST_BYTES - size_left + (count + 1) * MESSAGE_OVERHEAD
        no_room = room.bytes is not None and taken_bytes > room.bytes
        if no_room or runs > most_runs or (size_left < 0 and count):
            return count
    return max(0, most)

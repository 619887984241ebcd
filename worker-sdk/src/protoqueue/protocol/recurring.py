"""The slot of its schedule of a recurring task: the operator states the schedule, the server the next time.

What else the operator states of a schedule (jitter, expiry, overlap) each firing carries as headers too: workers keep
to it though the operator is down.
"""

import contextlib
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from protoqueue.protocol.cron import parse_cron
from protoqueue.protocol.message_headers import Header

EVERY = "@every "
SKIP = "Skip"
"""The value of `Pq-Overlap` where a firing is dropped while the one before it is unfinished."""
_MOST_MS = 10**15


def scheduled_for(headers: Mapping[str, str]) -> datetime | None:
    """The time at which a recurring task was due by its schedule; None for other tasks."""
    if (kept := headers.get(Header.SCHEDULED_FOR)) is not None:
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(kept)
        return None
    schedule, following = headers.get(Header.RECURS), headers.get(Header.SCHEDULE_NEXT)
    return _slot_before(following, schedule) if schedule and following else None


@lru_cache(maxsize=64)
def _slot_before(following: str, schedule: str) -> datetime | None:
    zone, _, when = schedule.partition(" ")
    try:
        moment = datetime.fromisoformat(following)
        if when.startswith(EVERY):
            return moment - timedelta(milliseconds=int(when.removeprefix(EVERY).removesuffix("ms")))
        return parse_cron(when).before(moment, UTC if zone == "UTC" else ZoneInfo(zone))
    except (KeyError, OSError, OverflowError, ValueError):  # such as a zone that this machine does not know
        return None


def slot_of(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Schedule and slot of a message that a cron schedule has just fired; None for anything else.

    A slot is named by the time that follows it. An interval starts again when a server restarts: its slots cannot be
    told apart, and each counts.
    """
    if (schedule := headers.get(Header.RECURS)) is None:  # the common case: not recurring
        return None
    following = headers.get(Header.SCHEDULE_NEXT)
    match headers.get(Header.SCHEDULER, "").split("."):
        case ["pq", _, _, "cron", name] if following and EVERY not in schedule:
            return name, following
    return None


def jitter_delay(headers: Mapping[str, str], stored_ns: int, now: datetime) -> timedelta | None:
    """For how long a firing is still put off by its schedule's jitter; None where it is not.

    Told from the slot and the schedule's subject alone, so that each worker and each delivery comes to the same moment.
    """
    jitter_ms = _milliseconds(headers, Header.JITTER)
    if not jitter_ms:
        return None
    slot = _slot_ms(headers, stored_ns)
    spread = zlib.crc32(f"{headers.get(Header.SCHEDULER, '')} {slot}".encode())
    left_ms = slot + spread % jitter_ms - now.timestamp() * 1000
    return timedelta(milliseconds=left_ms) if left_ms > 0 else None


def firing_expires_ms(headers: Mapping[str, str], stored_ns: int) -> int:
    """When a firing expires that no worker has started, in milliseconds since the epoch; 0 where it does not."""
    after_ms = _milliseconds(headers, Header.EXPIRES_AFTER)
    return _slot_ms(headers, stored_ns) + after_ms if after_ms else 0


def skips_overlap(headers: Mapping[str, str]) -> bool:
    """Whether a firing is dropped while the one before it is unfinished. One that was redriven waits instead."""
    return headers.get(Header.OVERLAP) == SKIP and Header.REDRIVES not in headers


def _slot_ms(headers: Mapping[str, str], stored_ns: int) -> int:
    """The slot, in milliseconds since the epoch; where its zone is not known here, when the message was stored."""
    slot = scheduled_for(headers)
    return int(slot.timestamp() * 1000) if slot else stored_ns // 1_000_000


def _milliseconds(headers: Mapping[str, str], header: str) -> int:
    """0 for what another producer may have put there."""
    text = headers.get(header, "")
    return min(int(text), _MOST_MS) if text.isascii() and text.isdigit() and len(text) <= 18 else 0

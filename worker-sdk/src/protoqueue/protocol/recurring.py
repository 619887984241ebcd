"""The slot of its schedule of a recurring task: the operator states the schedule, the server the next time."""

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from protoqueue.protocol.cron import parse_cron
from protoqueue.protocol.message_headers import Header

EVERY = "@every "


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

"""When a stream that another Queue of the same name has taken over is reclaimed; who may is in `jetstream.ownership`.

That one lives in another cluster. If it is gone, nothing reports that; if it is not, both would take the stream from
each other without end. So reclaiming is retried periodically, less often with each failure.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(days=1)


@dataclass(frozen=True)
class Takeover:
    times: int
    """How often in a row the stream was lost."""
    until: datetime
    """When to reclaim it."""
    is_taken_back: bool = False
    """Whether that time came and it was reclaimed."""

    @classmethod
    def new(cls, times: int, now: datetime) -> "Takeover":
        return cls(times, now + _pause(times))


def is_taken_over_now(state: Takeover | None) -> bool:
    """Whether another Queue owns the streams now."""
    return state is not None and not state.is_taken_back


def record_loss(before: Takeover | None, now: datetime) -> Takeover:
    """The next state when a stream is found to be another's; if it was kept for long, the count starts again."""
    if before is None:
        return Takeover.new(1, now)
    if before.is_taken_back:
        return Takeover.new(before.times + 1 if now - before.until < _pause(before.times) else 1, now)
    return replace(before, is_taken_back=now >= before.until)


def _pause(times: int) -> timedelta:
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(times - 1, 10)))

"""When a stream that another Queue of the same name has taken over is taken back.

That one lives in another cluster. If it is gone, nobody tells; if it is not, each would take what the other has just
taken, without end. So it is tried now and then, and with each time in vain less often.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(days=1)


@dataclass(frozen=True)
class Yielded:
    times: int
    """How often in a row the stream was lost."""
    until: datetime
    """When it is to be taken back."""
    is_back: bool = False
    """Whether that time has come, and it was taken."""

    @classmethod
    def anew(cls, times: int, now: datetime) -> "Yielded":
        return cls(times, now + _pause(times))


def is_yielded(state: Yielded | None) -> bool:
    """Whether another has the streams now."""
    return state is not None and not state.is_back


def lose(before: Yielded | None, now: datetime) -> Yielded:
    """What becomes of a stream that is found to be another's; what was kept for long counts as lost anew."""
    if before is None:
        return Yielded.anew(1, now)
    if before.is_back:
        return Yielded.anew(before.times + 1 if now - before.until < _pause(before.times) else 1, now)
    return replace(before, is_back=now >= before.until)


def _pause(times: int) -> timedelta:
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(times - 1, 10)))

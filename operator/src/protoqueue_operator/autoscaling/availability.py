"""Whether a group's workers fail: none is available while there is something to do. The clock is an argument.

A container without a readiness probe counts as available for a moment each time it is started, also one that crashes
again and again: only a worker that stays is one.
"""

from dataclasses import dataclass

FAILING_AFTER_S = 30.0
"""For so long no worker must have been available."""

STAYS_AFTER_S = 10.0
"""Who has been available for so long does not count as failing any more."""


@dataclass(frozen=True)
class Availability:
    available_since: float | None = None
    missed_since: float | None = None
    """Since when there is something to do, and no worker that stays."""
    is_failing: bool = False


def assess(before: Availability, *, wanted: int, available: int, has_work: bool, now: float) -> Availability:
    """`wanted` workers are to be there, and `available` of them are; `now` in seconds of any clock."""
    since = None if not available else now if before.available_since is None else before.available_since
    stays = since is not None and now - since >= STAYS_AFTER_S
    if stays or not wanted or not has_work:
        return Availability(since)
    missed = now if before.missed_since is None else before.missed_since
    fails = before.is_failing or (not available and now - missed >= FAILING_AFTER_S)
    return Availability(since, missed, fails)

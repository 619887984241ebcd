"""Whether a group's workers are failing: none is available while there is work.

The clock is an argument. A container without a readiness probe counts as available briefly each time it starts, even if
it crashes repeatedly: only a worker that stays available counts.
"""

from dataclasses import dataclass

FAILING_AFTER_S = 30.0
"""For how long no worker must have been available."""

STAYS_AFTER_S = 10.0
"""A worker that has been available for this long no longer counts as failing."""


@dataclass(frozen=True)
class Availability:
    available_since: float | None = None
    missed_since: float | None = None
    """Since when there is work but no worker that stays available."""
    is_failing: bool = False


def assess(before: Availability, *, wanted: int, available: int, has_work: bool, now: float) -> Availability:
    """`wanted` workers should exist, `available` of them do; `now` in seconds of any clock."""
    since = None if not available else now if before.available_since is None else before.available_since
    stays = since is not None and now - since >= STAYS_AFTER_S
    if stays or not wanted or not has_work:
        return Availability(since)
    missed = now if before.missed_since is None else before.missed_since
    fails = before.is_failing or (not available and now - missed >= FAILING_AFTER_S)
    return Availability(since, missed, fails)

"""Whether consumers are believed when they tell of nothing while their stream holds messages.

A server that has just come back can say so too early: read as zero, that would end the workers of a full queue. But it
may be true as well, where the stream holds what is no task of any of them.
"""

from dataclasses import dataclass

DISBELIEF_S = 30.0
"""What is said for so long is true: far longer than a server takes to come back, and less than workers may idle."""


@dataclass(frozen=True)
class Doubts:
    strangers: int = 0
    """So many messages are no tasks, as was believed in the end."""
    since: float | None = None
    """Since when, in monotonic seconds, nothing is told of although there are more than that; None: no doubt."""


def weigh(before: Doubts, held: int, told: int, now: float) -> Doubts:
    """`held` messages are in the stream, and `told` the consumers have, waiting or in flight."""
    if told:
        return Doubts(min(before.strangers, max(0, held - told)))
    if held <= before.strangers:
        return Doubts(held)
    since = now if before.since is None else before.since
    return Doubts(held) if now - since >= DISBELIEF_S else Doubts(before.strangers, since)

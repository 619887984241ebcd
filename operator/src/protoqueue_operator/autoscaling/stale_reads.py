"""Whether to trust consumers that report no messages while their stream holds some.

A server that has just restarted can report that too early: read as zero, it would end the workers of a full queue. But
it can also be true, if the stream holds messages that belong to none of them.
"""

from dataclasses import dataclass

DISBELIEF_S = 30.0
"""A report that lasts this long is true: far longer than a server's restart, and less than workers may idle."""


@dataclass(frozen=True)
class Doubts:
    strangers: int = 0
    """How many messages are not tasks, as was concluded in the end."""
    since: float | None = None
    """Since when, in monotonic seconds, nothing is reported although there are more than that; None: no doubt."""


def weigh(before: Doubts, held: int, told: int, now: float) -> Doubts:
    """`held` messages are in the stream, `told` are reported by consumers, waiting or in flight."""
    if told:
        return Doubts(min(before.strangers, max(0, held - told)))
    if held <= before.strangers:
        return Doubts(held)
    since = now if before.since is None else before.since
    return Doubts(held) if now - since >= DISBELIEF_S else Doubts(before.strangers, since)

"""Who of several operators acts, decided from a Lease as client-go's leader election does."""

from dataclasses import dataclass

LEASE_S = 10.0
"""How long a leader that says nothing stays the leader."""

RENEW_S = 2.0
"""How often the leader speaks, and the others look."""

SURRENDER_S = 7.0
"""A leader that could not renew for so long stops before anybody else may begin."""


@dataclass(frozen=True)
class LeaseSeen:
    """A Lease as last read, and since when, in the reader's own monotonic seconds, it has not changed.

    Clocks of different machines are never compared.
    """

    holder: str
    version: str
    unchanged_since: float


def see(before: LeaseSeen | None, holder: str, version: str, now: float) -> LeaseSeen:
    if before and (before.holder, before.version) == (holder, version):
        return before
    return LeaseSeen(holder, version, now)


def may_take(seen: LeaseSeen, me: str, now: float) -> bool:
    """Whether the Lease is mine, free, or its holder has been silent for too long."""
    return seen.holder in ("", me) or now - seen.unchanged_since >= LEASE_S

"""Who of several operators acts, decided from a Lease as client-go's leader election does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEASE_S = 15.0
"""How long a leader that says nothing stays the leader."""

RENEW_S = 2.0
"""How often the leader speaks, and the others look."""

SURRENDER_S = 13.0
"""A leader stops so long after it began the last renewal that succeeded: before anybody else may begin.

client-go's ten seconds count from the next attempt, which begins when the last has been answered and RENEW_S have
passed: where answers are slow that is later than this, and may be later than another's beginning.
"""


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


def held(body: Mapping[str, Any], me: str, now: str) -> dict[str, Any]:
    """The Lease as it is to be while `me` holds it; what else it says, such as labels, stays.

    `now` as the Kubernetes API writes times. An empty body stands for a Lease that does not exist.
    """
    spec = dict(body.get("spec") or {})
    if spec.get("holderIdentity") != me:
        # client-go counts the first holder of a Lease as none.
        transitions = int(spec.get("leaseTransitions") or 0) + (1 if body else 0)
        spec |= {"holderIdentity": me, "acquireTime": now, "leaseTransitions": transitions}
    spec |= {"leaseDurationSeconds": int(LEASE_S), "renewTime": now}
    return {**body, "spec": spec}


def released(body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The Lease as its holder leaves it: free at once."""
    spec = {**(body.get("spec") or {}), "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}
    return {**body, "spec": spec}

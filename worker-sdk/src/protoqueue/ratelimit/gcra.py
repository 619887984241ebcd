"""The generic cell rate algorithm, pure: no clock, no I/O, no floats.

A bucket of tokens is one number, the theoretical arrival time (TAT): the moment at which the bucket will be full again.
Leasing a token moves it on by one interval. Tokens may be leased some time before they may be spent ("ahead"), so
a worker that waits has leased its turn, and no time is lost between one token and the next.

Times are integer microseconds. A TAT counts ticks of `1/tasks` microseconds, so that an interval is always whole
(`per_us` ticks) and the long-run rate exact, also for three tasks a second.
"""

import json
from dataclasses import dataclass

MAX_SLACK_US = 50_000
"""How late at most a ripe token may be spent. The bucket is smaller by what the rate yields in this time, so that what
is spent, and not only what is leased, keeps to the limit over every window."""

CLOCK_TOLERANCE_US = 1_000_000
"""A TAT further ahead than leases can bring it, by more than this, is from a clock that has since been set back."""


@dataclass(frozen=True)
class Limit:
    """At most `burst` tasks at once, and at most `burst + tasks * window / per` over any window."""

    tasks: int
    per_us: int
    burst: int

    def __post_init__(self) -> None:
        if min(self.tasks, self.per_us, self.burst) < 1:
            raise ValueError(f"{self}: tasks, per and burst must be positive")

    @property
    def interval_us(self) -> int:
        """Between two tokens, rounded up."""
        return -(-self.per_us // self.tasks)

    @property
    def slack_us(self) -> int:
        """How late a token may be spent; none with a burst of one, whose tokens leave no room for it."""
        return min(MAX_SLACK_US, (self.burst - 1) * self.per_us // self.tasks)

    @property
    def capacity(self) -> int:
        """Size of the bucket in ticks: at least one token."""
        return self.burst * self.per_us - self.slack_us * self.tasks

    def tokens_in(self, duration_us: int) -> int:
        """Whole tokens that become ripe in this time."""
        return duration_us * self.tasks // self.per_us


@dataclass(frozen=True)
class State:
    """What all who share a bucket agree on. The limit is part of it: a TAT means nothing without its intervals."""

    limit: Limit
    tat: int


@dataclass(frozen=True)
class Lease:
    """`granted` tokens, each ripe one interval after the one before, and the state that follows.

    Where nothing is granted, `wait_us` says when the next token can be leased, unless someone else is quicker.
    """

    granted: int
    wait_us: int
    state: State
    first: int
    """Tick at which the first token is ripe; long past where the bucket was full."""

    def ripe(self, at_us: int) -> int:
        """How many of the tokens may be spent at this time or earlier."""
        limit = self.state.limit
        return max(0, min(self.granted, (at_us * limit.tasks - self.first) // limit.per_us + 1))

    def ripe_at_us(self, index: int) -> int:
        """When the token, counted from 0, may be spent."""
        limit = self.state.limit
        return -(-(self.first + index * limit.per_us) // limit.tasks)


def full(limit: Limit, now_us: int) -> State:
    return State(limit, now_us * limit.tasks)


def empty(limit: Limit, now_us: int) -> State:
    return State(limit, now_us * limit.tasks + limit.capacity)


def available(state: State, now_us: int) -> int:
    """Whole tokens that are ripe now."""
    limit = state.limit
    return max(0, _spare(state, now_us)) // limit.per_us


def adapt(state: State, limit: Limit, now_us: int) -> State:
    """The same bucket under another limit. The change yields no token: what was there stays, capped by the new burst.

    Tokens leased ahead are forgotten: whoever holds them drops them on the same change.
    """
    if state.limit == limit:
        return state
    spare = max(0, _spare(state, now_us)) * limit.per_us // state.limit.per_us
    return State(limit, now_us * limit.tasks + limit.capacity - min(spare, limit.capacity))


def recovered(state: State, now_us: int, ahead_us: int = 0) -> State:
    """The state, or an empty bucket where no lease of up to `ahead_us` can have led to it.

    Such a state was made by a clock that has since gone back, and would keep the bucket closed for as long as that.
    """
    reach_us = now_us + ahead_us + CLOCK_TOLERANCE_US
    return empty(state.limit, now_us) if state.tat > empty(state.limit, reach_us).tat else state


def lease(state: State, limit: Limit, want: int, now_us: int, ahead_us: int = 0) -> Lease:
    """Lease up to `want` tokens that are ripe by `now_us + ahead_us`.

    Where the clock has gone back, the wait is as much longer: `recovered` is for steps that are too large for that.
    """
    tat = max(adapt(state, limit, now_us).tat, now_us * limit.tasks)
    first = tat + limit.per_us - limit.capacity
    room = (now_us + ahead_us) * limit.tasks - first
    granted = max(0, min(want, room // limit.per_us + 1))
    wait_us = 0 if granted else -(room // limit.tasks)
    return Lease(granted, wait_us, State(limit, tat + granted * limit.per_us), first)


def encode(state: State) -> bytes:
    """JSON of small integers, as every language reads them."""
    tat_us, ticks = divmod(state.tat, state.limit.tasks)
    limit = {"tasks": state.limit.tasks, "per_us": state.limit.per_us, "burst": state.limit.burst}
    return json.dumps({"tat_us": tat_us, "ticks": ticks, **limit}).encode()


def decode(data: bytes) -> State:
    """Raises ValueError for anything that is no state."""
    try:
        fields = {name: int(value) for name, value in json.loads(data).items()}
        limit = Limit(fields["tasks"], fields["per_us"], fields["burst"])
        return State(limit, fields["tat_us"] * limit.tasks + fields["ticks"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a rate limit state: {data[:100]!r}") from error


def _spare(state: State, now_us: int) -> int:
    """Ticks by which the bucket is filled; negative where tokens are leased ahead."""
    return min(state.limit.capacity, now_us * state.limit.tasks + state.limit.capacity - state.tat)

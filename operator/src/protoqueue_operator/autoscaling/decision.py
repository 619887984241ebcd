"""How many workers a group should have: facts in, a decision and its reason out. The clock is an argument."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from protoqueue_operator.core.consumer_group import Autoscale
from protoqueue_operator.core.wording import counted


@dataclass(frozen=True)
class Policy:
    minimum: int
    maximum: int
    scale_down_delay: timedelta
    idle_delay: timedelta
    tasks_per_worker: int | None = None
    drain_time: timedelta | None = None
    """Exactly one of the two is set."""

    @classmethod
    def of(cls, autoscale: Autoscale) -> "Policy":
        return cls(
            minimum=autoscale.min_replicas,
            maximum=autoscale.max_replicas,
            scale_down_delay=autoscale.scale_down_delay,
            idle_delay=autoscale.idle_delay,
            tasks_per_worker=autoscale.target.tasks_per_worker,
            drain_time=autoscale.target.drain_time,
        )


@dataclass(frozen=True)
class Load:
    """What a group has to do."""

    ready: int = 0
    in_flight: int = 0
    arrivals_per_s: float = 0.0
    completions_per_s: float = 0.0
    busy_workers: float = 0.0
    """Workers that had work while the rates were measured; with `completions_per_s` it gives one worker's speed."""

    @property
    def outstanding(self) -> int:
        return self.ready + self.in_flight


@dataclass(frozen=True)
class History:
    """What earlier decisions leave for the next one."""

    fewer_since: datetime | None = None
    """Since when fewer workers than there are would do."""
    peak: int = 0
    """The most workers wanted since then."""
    empty_since: datetime | None = None
    unmeasured_since: datetime | None = None
    """Since when workers have been busy, at this size, without any having finished a task."""


@dataclass(frozen=True)
class Decision:
    replicas: int
    reason: str
    """ScaledUp, ScaledDown, Stable, Idle or BacklogUnknown: the reason of the condition Scaling."""
    message: str
    history: History


def decide(policy: Policy, load: Load | None, current: int, history: History, now: datetime) -> Decision:
    """Up at once, down late, and never on ignorance.

    Down only after `scale_down_delay`, and then to the most that was wanted meanwhile; to zero only after `idle_delay`
    of emptiness. A `load` of None, an unknown backlog, holds the size: it is never read as zero.
    """
    if load is None:
        return Decision(
            current, "BacklogUnknown", f"the backlog is unknown: holding {counted(current, 'worker')}", History()
        )
    wanted, why = _wanted(policy, load, current, history, now)
    empty_since = None if load.outstanding else history.empty_since or now
    idle = empty_since is not None and now - empty_since >= policy.idle_delay
    floor = 0 if idle or (empty_since and not current) else 1
    wanted = min(max(wanted, policy.minimum, floor), policy.maximum)
    unmeasured_since = None if _speed(load) or not load.outstanding else history.unmeasured_since or now
    history = replace(history, empty_since=empty_since, unmeasured_since=unmeasured_since)
    if wanted > current:
        return Decision(wanted, "ScaledUp", f"{why}: {resized(current, wanted)}", _anew(history))
    if wanted < current:
        return _shrink(policy, wanted, current, why, history, now)
    if not current:
        return Decision(0, "Idle", "nothing to do", _steady(history))
    return Decision(current, "Stable", why, _steady(history))


def resized(before: int, after: int) -> str:
    """A change of size in words."""
    return f"{before} → {counted(after, 'worker')}"


def _shrink(policy: Policy, wanted: int, current: int, why: str, history: History, now: datetime) -> Decision:
    if current > policy.maximum:
        return Decision(wanted, "ScaledDown", f"maxReplicas is {policy.maximum}: {resized(current, wanted)}", history)
    if wanted == 0 and history.empty_since and (current == 1 or now - history.empty_since >= policy.scale_down_delay):
        return Decision(0, "ScaledDown", f"empty for idleDelay: {resized(current, 0)}", _steady(history))
    since = history.fewer_since or now
    peak = max(wanted, history.peak)
    if now - since < policy.scale_down_delay:
        waiting = replace(history, fewer_since=since, peak=peak)
        return Decision(current, "Stable", f"{why}: waiting out scaleDownDelay", waiting)
    return Decision(peak, "ScaledDown", f"{why}: {resized(current, peak)}", _steady(history))


def _anew(history: History) -> History:
    """With another size, what was known of the old one counts no more."""
    return replace(_steady(history), unmeasured_since=None)


def _steady(history: History) -> History:
    return replace(history, fewer_since=None, peak=0)


def _speed(load: Load) -> float:
    """Tasks a second that one worker finishes; 0 while none has."""
    return load.completions_per_s / load.busy_workers if load.busy_workers else 0.0


def _wanted(policy: Policy, load: Load, current: int, history: History, now: datetime) -> tuple[int, str]:
    if not load.outstanding:
        return 0, "nothing to do"
    tasks = f"{counted(load.outstanding, 'task')} outstanding"
    if policy.tasks_per_worker is not None:
        return ceil(load.outstanding / policy.tasks_per_worker), tasks
    assert policy.drain_time is not None
    speed = _speed(load)
    if not speed:
        late = history.unmeasured_since is not None and now - history.unmeasured_since >= policy.drain_time
        # Tasks that take longer than all of them may: more workers are needed before the first one is done.
        return max(current * 2 if late else current, 1), f"{tasks}, none finished yet"
    per_worker = speed * policy.drain_time.total_seconds()
    wanted = load.outstanding / per_worker + load.arrivals_per_s / speed
    return ceil(min(wanted, policy.maximum)), f"{tasks}, one worker does {speed:.3g} a second"

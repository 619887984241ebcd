"""How many workers a group should have: facts in, a decision and its reason out. The clock is an argument."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, sqrt

from protoqueue.protocol.durations import format_duration
from protoqueue_operator.api.v1alpha1.consumer_group import Autoscale, Fallback, ScaleUpLimit
from protoqueue_operator.api.v1alpha1.text import counted

STEP = timedelta(seconds=5)
"""A burst is rarely stored all at once: for this long after a step up the size may still be raised.

After that the started workers must be ready before the next step: the backlog until then does not show their effect.
"""

_MOST = 1_000_000_000
"""Upper bound of computed sizes: a speed close to zero would ask for any number of workers."""


_PROMPT = 0.5
"""The share of maxWait in which what waits is to be started: the rest is for what nobody measures in time."""

_SPARE = 1.0
"""With maxWait, as many times the square root of the workers that are busy are kept beside them.

Tasks that come at random wait for long where no worker is ever idle, and many workers share few spare ones: the
square-root staffing rule of Halfin and Whitt, "Heavy-Traffic Limits for Queues with Many Exponential Servers" (1981).
"""


@dataclass(frozen=True)
class Policy:
    minimum: int
    maximum: int
    scale_down_delay: timedelta
    idle_delay: timedelta
    tasks_per_worker: int | None = None
    drain_time: timedelta | None = None
    max_wait: timedelta | None = None
    """Exactly one of the three is set."""
    activation_tasks: int = 1
    scale_up_limit: ScaleUpLimit | None = None
    fallback: Fallback | None = None

    @classmethod
    def of(cls, autoscale: Autoscale) -> "Policy":
        return cls(
            minimum=autoscale.min_replicas,
            maximum=autoscale.max_replicas,
            scale_down_delay=autoscale.scale_down_delay,
            idle_delay=autoscale.idle_delay,
            tasks_per_worker=autoscale.target.tasks_per_worker,
            drain_time=autoscale.target.drain_time,
            max_wait=autoscale.target.max_wait,
            activation_tasks=autoscale.activation_tasks,
            scale_up_limit=autoscale.scale_up_limit,
            fallback=autoscale.fallback,
        )


@dataclass(frozen=True)
class Load:
    """What a group has to do, and with how many workers."""

    waiting: int = 0
    in_flight: int = 0
    startable: int | None = None
    """How many of these the consumers let workers have at the same time; None: all."""
    limit: str = "maxInFlight"
    """What keeps the rest from being started."""
    throttled: str = ""
    """Why no task is started for a while; more workers would only wait too."""
    is_active: bool = False
    """Whether a task arrived, started, or ended since the last sample."""
    ready: int | None = None
    """Workers that are ready; None: as many as wanted."""
    arrivals_per_s: float = 0.0
    speed: float = 0.0
    """Tasks per second that one worker finishes while it has enough to do; 0 if unknown."""

    busy: float = 0.0
    """As many workers as arrivals keep busy, if measured while every worker had enough to do; otherwise 0."""

    @property
    def outstanding(self) -> int:
        return self.waiting + self.in_flight

    @property
    def keep_up(self) -> int:
        """The number of workers that keeps up with arrivals, if that is known; otherwise 0."""
        return ceil(self.busy)


@dataclass(frozen=True)
class History:
    """State that a decision passes to the next one."""

    fewer_since: datetime | None = None
    """Since when fewer workers would be enough."""
    peak: int = 0
    """The most workers wanted since then."""
    empty_since: datetime | None = None
    unmeasured_since: datetime | None = None
    """Since when all workers have been ready, and tasks waiting, without any worker having finished a task."""
    step_since: datetime | None = None
    """When the step up started whose workers are not all ready yet."""
    start_took: timedelta = timedelta(0)
    """How long the workers of the last step took to become ready."""
    rises: tuple[tuple[datetime, int], ...] = ()
    """When how many workers were added, within the period of the policy's `scale_up_limit`."""
    unknown_since: datetime | None = None


@dataclass(frozen=True)
class Decision:
    replicas: int
    reason: str
    """ScaledUp, ScaledDown, Stable, AtMaximum, InFlightLimited, ScaleUpLimited, SharedTarget, Throttled, Idle,
    BelowActivation or BacklogUnknown: the reason of the condition Scaling."""
    message: str
    history: History


def decide(policy: Policy, load: Load | None, current: int, history: History, now: datetime) -> Decision:
    """Scale up at once, but one step at a time; scale down late; and never without data.

    Up only while tasks wait and every worker is ready. Down only after `scale_down_delay`, and then to the highest size
    wanted meanwhile; to zero only after nothing has happened for `idle_delay`. A `load` of None, an unknown backlog,
    keeps the size, or raises it to the policy's `fallback`: it is never read as zero.
    """
    if load is None:
        return _blind(policy, current, history, now)
    history = _remember(policy, load, current, history, now)
    if not current and not policy.minimum and load.outstanding < policy.activation_tasks != 1:
        return _asleep(policy, load, history)
    needed, why = _needed(policy, load, current, history, now)
    idle = history.empty_since is not None and now - history.empty_since >= policy.idle_delay
    needed = 0 if idle else needed
    least = max(policy.minimum, 0 if idle or (history.empty_since and not current) else 1)
    wanted = min(max(needed if load.startable is None else min(needed, load.startable), least), policy.maximum)
    if wanted > current and load.throttled:
        wanted = max(current, min(policy.minimum, policy.maximum))
        if wanted == current:
            told = f"throttled, no task is started {load.throttled}: holding {counted(current, 'worker')}"
            return Decision(current, "Throttled", told, _steady(history))
    if wanted > current:
        if needed <= current:  # it is not the backlog that requires more
            why = f"minReplicas is {policy.minimum}" if policy.minimum > current else "a task just arrived"
        held = _held(load, current, history, now)
        if held is None or least > current:
            size = wanted if held is None else min(least, policy.maximum)
            return _grow(policy, load, size, current, why, history, now)
        return Decision(current, "Stable", f"{why}: {held}", _steady(history))
    if wanted < current:
        return _shrink(policy, wanted, current, why, history, now)
    if not current:
        return Decision(0, "Idle", "nothing to do", _steady(history))
    return _stay(policy, load, current, needed, why, _steady(history))


def _blind(policy: Policy, current: int, history: History, now: datetime) -> Decision:
    """Of an unknown backlog nothing is concluded; what was seen before it counts no more."""
    since = history.unknown_since or now
    blind = History(unknown_since=since, rises=history.rises)
    fallback = policy.fallback
    if fallback is None or now - since < fallback.after:
        told = f"the backlog is unknown: holding {counted(current, 'worker')}"
        return Decision(current, "BacklogUnknown", told, blind)
    size = max(current, min(fallback.replicas, policy.maximum))
    what = resized(current, size) if size > current else f"holding {counted(current, 'worker')}"
    told = f"the backlog is unknown for {format_duration(fallback.after)} (fallback): {what}"
    return Decision(size, "BacklogUnknown", told, blind)


def _asleep(policy: Policy, load: Load, history: History) -> Decision:
    """At zero, with less to do than what starts a worker."""
    if not load.outstanding:
        return Decision(0, "Idle", "nothing to do", _steady(history))
    told = f"{counted(load.outstanding, 'task')} outstanding: activationTasks is {policy.activation_tasks}"
    return Decision(0, "BelowActivation", told, _steady(history))


def _grow(policy: Policy, load: Load, wanted: int, current: int, why: str, history: History, now: datetime) -> Decision:
    """One step up, of as many workers as `scaleUpLimit` allows now; `minReplicas` it does not limit."""
    limit, size, limited = policy.scale_up_limit, wanted, ""
    if limit is not None:
        room = max(0, limit.workers - sum(added for _, added in history.rises))
        size = min(wanted, max(current + room, min(policy.minimum, policy.maximum)))
        per = f"{counted(limit.workers, 'worker')} per {format_duration(limit.per)} (scaleUpLimit)"
        if size <= current:
            told = f"{why}, which asks for {counted(wanted, 'worker')}: {per}"
            return Decision(current, "ScaleUpLimited", told, _steady(history))
        limited = f", {per}" if size < wanted else ""
    grown = _stepped(load, current, history, now)
    if limit is not None:
        grown = replace(grown, rises=(*grown.rises, (now, size - current)))
    return Decision(size, "ScaledUp", f"{why}: {resized(current, size)}{limited}", grown)


def resized(before: int, after: int) -> str:
    """A change of size in words."""
    return f"{before} → {counted(after, 'worker')}"


def _remember(policy: Policy, load: Load, current: int, history: History, now: datetime) -> History:
    is_ready = _are_ready(load, current)
    unmeasured = is_ready and load.waiting and not load.speed
    took = now - history.step_since if is_ready and history.step_since else history.start_took
    per = policy.scale_up_limit.per if policy.scale_up_limit else timedelta(0)
    return replace(
        history,
        start_took=took,
        rises=tuple(rise for rise in history.rises if now - rise[0] < per) if history.rises else (),
        unknown_since=None,
        empty_since=None if load.outstanding or load.is_active else history.empty_since or now,
        unmeasured_since=(history.unmeasured_since or now) if unmeasured else None,
        step_since=None if is_ready else history.step_since,
    )


def _are_ready(load: Load, current: int) -> bool:
    return load.ready is None or load.ready >= current


def _held(load: Load, current: int, history: History, now: datetime) -> str | None:
    """Why the size is not raised yet, although more workers are wanted."""
    if not load.waiting:
        return "no task is waiting for a worker"
    if _are_ready(load, current) or (history.step_since and now - history.step_since < STEP):
        return None
    return f"{load.ready} of {counted(current, 'worker')} ready"


def _stepped(load: Load, current: int, history: History, now: datetime) -> History:
    """With another size, what was known about the old one is void."""
    began = now if _are_ready(load, current) else history.step_since
    return replace(_steady(history), unmeasured_since=None, step_since=began)


def _stay(policy: Policy, load: Load, current: int, needed: int, why: str, history: History) -> Decision:
    """The reason for an unchanged size includes what keeps it from being larger."""
    running = f" and {load.in_flight} in flight" if load.in_flight else ""
    would = f"{load.waiting} waiting{running} would need {counted(needed, 'worker')}"
    startable = needed if load.startable is None else load.startable
    if load.waiting and min(needed, startable) > policy.maximum == current:
        return Decision(current, "AtMaximum", f"{would}; maxReplicas is {policy.maximum}", history)
    if load.waiting and needed > startable:
        at_a_time = f"{counted(startable, 'task')} can be in flight at a time"
        return Decision(current, "InFlightLimited", f"{would}; {at_a_time} (limited by {load.limit})", history)
    return Decision(current, "Stable", why, history)


def _shrink(policy: Policy, wanted: int, current: int, why: str, history: History, now: datetime) -> Decision:
    if current > policy.maximum:
        return Decision(wanted, "ScaledDown", f"maxReplicas is {policy.maximum}: {resized(current, wanted)}", history)
    if wanted == 0 and history.empty_since and (current == 1 or now - history.empty_since >= policy.scale_down_delay):
        idle = f"no tasks for {format_duration(policy.idle_delay)} (idleDelay)"
        return Decision(0, "ScaledDown", f"{idle}: {resized(current, 0)}", _steady(history))
    since = history.fewer_since or now
    peak = max(wanted, history.peak)
    if now - since < policy.scale_down_delay:
        waiting = replace(history, fewer_since=since, peak=peak)
        return Decision(current, "Stable", f"{why}: waiting out scaleDownDelay", waiting)
    return Decision(peak, "ScaledDown", f"{why}: {resized(current, peak)}", _steady(history))


def _steady(history: History) -> History:
    return replace(history, fewer_since=None, peak=0)


def _needed(policy: Policy, load: Load, current: int, history: History, now: datetime) -> tuple[int, str]:
    """The number of workers by the target, before applying the bounds; and why."""
    if not load.outstanding:
        return min(load.keep_up, current), "nothing to do"
    tasks = f"{counted(load.outstanding, 'task')} outstanding"
    if policy.tasks_per_worker is not None:
        needed = ceil(load.outstanding / policy.tasks_per_worker)
        if needed < min(load.keep_up, current):  # with fewer the backlog would grow again
            return min(load.keep_up, current), f"{tasks}; tasks arrive as fast as they finish"
        return needed, tasks
    objective = policy.drain_time or policy.max_wait
    assert objective is not None
    if not load.speed:
        late = history.unmeasured_since is not None and now - history.unmeasured_since >= objective
        # Tasks that take longer than all of them may: more workers are needed before the first one is done.
        return max(current * 2 if late else current, 1), f"{tasks}, none finished yet"
    why = f"{tasks}, one worker does {load.speed:.3g} a second"
    if policy.max_wait is not None:
        return _started_in_time(policy.max_wait, load, current, why)
    return _drained(objective, load, current, history, why)


def _drained(drain_time: timedelta, load: Load, current: int, history: History, why: str) -> tuple[int, str]:
    """As many as work off the backlog in time, and what arrives meanwhile."""
    per_worker = load.speed * drain_time.total_seconds()
    needed = ceil(min(load.outstanding / per_worker + load.arrivals_per_s / load.speed, _MOST))
    if needed <= current:
        return needed, why
    if load.outstanding < per_worker * current:
        return current, f"{why}: done within drainTime"  # measured arrivals vary; a backlog that grows does not
    if load.outstanding <= (load.speed * current - load.arrivals_per_s) * history.start_took.total_seconds():
        return current, f"{why}: done before another worker would be ready"
    return needed, why


def _started_in_time(max_wait: timedelta, load: Load, current: int, why: str) -> tuple[int, str]:
    """As many as keep up with what arrives, with some to spare, and start in time what waits."""
    steady = load.busy + _SPARE * sqrt(load.busy) or min(current, load.arrivals_per_s / load.speed)
    late = load.waiting / (load.speed * max_wait.total_seconds() * _PROMPT)
    needed = ceil(min(steady + late, _MOST))
    if needed > current and late <= current - load.busy:
        return max(current, ceil(min(steady, _MOST))), f"{why}: started within maxWait"
    return needed, why

"""The load of a queue and its groups, from JetStream's answers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from protoqueue_operator.autoscaling.decision import Load
from protoqueue_operator.jetstream.assets import Consumer

_SMOOTHING_S = 30.0
"""Time constant of the measured rates: long enough to average over single tasks. Bursts show in the backlog at once."""

_LONGEST_STEP_S = 5.0
"""After a longer gap between two samples, as when NATS was away, it is unknown whether there was work all the time."""

_KEPT_TASKS, _KEPT_PER_WORKER = 20.0, 3.0
"""A worker's speed is the average over at least this many tasks.

More workers need more: those that have just started have not finished a task yet.
"""


@dataclass(frozen=True)
class StreamState:
    """From one page of `STREAM.LIST`."""

    messages: int
    first_at: str
    """When the oldest message was stored, as the server writes it."""
    last_sequence: int = 0
    size: int = 0
    """Bytes."""


@dataclass(frozen=True)
class ConsumerState:
    """From one page of `CONSUMER.LIST`."""

    pending: int
    in_flight: int
    delivered: int
    """Deliveries so far, redeliveries included."""
    startable: int | None = None
    """How many of its tasks can be in flight at the same time; None: not read."""


NO_STREAM = StreamState(0, "")
NOTHING = ConsumerState(0, 0, 0)


Place = tuple[str, str]
"""A consumer's stream and name."""


@dataclass(frozen=True)
class Sample:
    """What was last seen of one queue.

    `tasks` is what the streams hold together of what is due, None where there is no such stream; `consumers`, by stream
    and name, is None if they were not read, because nothing is due; other fields are None if unknown.
    """

    tasks: StreamState | None
    dead: int | None
    scheduled: int | None
    consumers: Mapping[Place, ConsumerState] | None
    stranded: Mapping[str, int] = field(default_factory=dict)
    """Messages that no consumer takes, by subject."""
    limited: StreamState | None = None
    """The state of the stream to which the queue's limits apply."""


@dataclass(frozen=True)
class Rates:
    """What was measured of a group; `at` is when, in the monotonic seconds of the sampler."""

    at: float
    since: float
    """When the first sample was taken."""
    state: ConsumerState
    workers: int
    """How many were ready."""
    arrivals_per_s: float = 0.0
    completions_per_s: float = 0.0
    busy_workers: float = 0.0
    """Workers that held a task."""
    done: float = 0.0
    """Tasks finished while at least as many as there were workers waited: every slot was in use."""
    worker_s: float = 0.0
    """Seconds that workers held tasks in that time, over all of them."""
    has_moved: bool = False
    """Whether a task arrived, started, or ended between the last two samples."""

    @property
    def full_speed(self) -> float:
        """Tasks per second that one worker finishes while it has enough to do; 0 if that was never observed."""
        return self.done / self.worker_s if self.worker_s else 0.0

    @property
    def speed(self) -> float:
        """Tasks a second that one worker finishes while it has enough to do; 0 where that is not known.

        A worker with a free slot is slower than it could be: its speed is then only a lower bound, used if there was
        never a backlog.
        """
        if self.full_speed:
            return self.full_speed
        return self.completions_per_s / self.busy_workers if self.busy_workers else 0.0


def stream_state(info: Mapping[str, Any]) -> StreamState:
    state = info["state"]
    return StreamState(state["messages"], state["first_ts"], state["last_seq"], state.get("bytes", 0))


def consumer_state(info: Mapping[str, Any]) -> ConsumerState:
    return ConsumerState(info["num_pending"], info["num_ack_pending"], info["delivered"]["consumer_seq"])


def has_work(state: ConsumerState) -> bool:
    return bool(state.pending or state.in_flight)


def backlog_of(consumers: Iterable[Consumer], there: Mapping[Place, ConsumerState]) -> ConsumerState | None:
    """The sum over a group's consumers, and how much of it their limits let workers have at the same time.

    None if one is missing, since its backlog is then unknown. Tasks being moved count as waiting: they count as
    delivered in the stream they go to.
    """
    worked_on, limits, to_move = dict[Place, ConsumerState](), dict[Place, int](), Counter[str]()
    for consumer in consumers:
        if (state := there.get(consumer.place)) is None:
            return None
        if consumer.moved:
            to_move[consumer.name] += state.pending + state.in_flight
        else:
            worked_on[consumer.place], limits[consumer.place] = state, consumer.max_ack_pending
    if not worked_on:
        return None
    held = ((limits[place], state.pending + state.in_flight + to_move[place[1]]) for place, state in worked_on.items())
    return ConsumerState(
        pending=sum(state.pending for state in worked_on.values()) + to_move.total(),
        in_flight=sum(state.in_flight for state in worked_on.values()),
        delivered=sum(state.delivered for state in worked_on.values()),
        startable=sum(map(min, held)),
    )


def together(states: Iterable[StreamState]) -> StreamState:
    """Several streams as one."""
    known = tuple(states)
    return StreamState(
        messages=sum(state.messages for state in known),
        first_at=min((state.first_at for state in known if state.messages), default=""),
        last_sequence=sum(state.last_sequence for state in known),
        size=sum(state.size for state in known),
    )


def measure(before: Rates | None, state: ConsumerState, workers: int, at: float) -> Rates:
    """Rates from two samples in a row; a step back (a purge, a new consumer) counts as no movement.

    `workers` are those that are ready, none while the group is paused.
    """
    if before is None or at <= before.at:
        return Rates(at, at, state, workers)
    elapsed = at - before.at
    # A plain average at first: a rate that has just started has no past.
    weight = min(1.0, elapsed / min(_SMOOTHING_S, at - before.since))
    arrived = state.pending - before.state.pending + state.delivered - before.state.delivered
    finished = max(0, _finished(state) - _finished(before.state))
    busy = min(workers, before.workers, (state.in_flight + before.state.in_flight) / 2)
    done, worker_s = before.done, before.worker_s
    if min(before.state.pending, state.pending) >= max(1, workers) and elapsed <= _LONGEST_STEP_S:
        done, worker_s = _forget(done + finished, worker_s + busy * elapsed, workers)
    return Rates(
        at,
        before.since,
        state,
        workers,
        arrivals_per_s=_smooth(before.arrivals_per_s, max(0, arrived) / elapsed, weight),
        completions_per_s=_smooth(before.completions_per_s, finished / elapsed, weight),
        busy_workers=_smooth(before.busy_workers, busy, weight),
        done=done,
        worker_s=worker_s,
        has_moved=(state.pending, state.delivered, state.in_flight)
        != (before.state.pending, before.state.delivered, before.state.in_flight),
    )


def _finished(state: ConsumerState) -> int:
    return state.delivered - state.in_flight


def _forget(done: float, worker_s: float, workers: int) -> tuple[float, float]:
    """Keep only this many recent tasks: handlers may become faster or slower."""
    kept = max(_KEPT_TASKS, _KEPT_PER_WORKER * workers)
    return (kept, worker_s * kept / done) if done > kept else (done, worker_s)


def load_of(
    state: ConsumerState,
    rates: Rates | None,
    *,
    paused: bool,
    ready: int | None = None,
    is_active: bool = False,
    limit: str = "maxInFlight",
    throttled: str = "",
) -> Load:
    """While paused, waiting tasks cannot run, so they require no workers."""
    return Load(
        waiting=0 if paused else state.pending,
        in_flight=state.in_flight,
        startable=state.startable,
        limit=limit,
        throttled=throttled,
        is_active=is_active and not paused,
        ready=ready,
        arrivals_per_s=rates.arrivals_per_s if rates else 0.0,
        speed=rates.speed if rates else 0.0,
        busy=rates.arrivals_per_s / rates.full_speed if rates and rates.full_speed else 0.0,
    )


def first_moment(first_at: str) -> str:
    """A time from the server, with nine decimals, as Kubernetes writes it: in whole seconds."""
    return f"{datetime.fromisoformat(first_at).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def seconds(first_at: str) -> float:
    """The same in seconds since the epoch."""
    return datetime.fromisoformat(first_at).timestamp()


def _smooth(before: float, now: float, weight: float) -> float:
    return before + weight * (now - before)

"""What JetStream's answers say about a queue and its groups."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protoqueue_operator.core.autoscale import Load

_SMOOTHING_S = 10.0
"""Time constant of the measured rates: short enough to follow a burst, long enough to see past a single task."""


@dataclass(frozen=True)
class StreamState:
    """From one page of `STREAM.LIST`."""

    messages: int
    first_at: str
    """When the oldest message was stored, as the server writes it."""
    last_sequence: int = 0


@dataclass(frozen=True)
class ConsumerState:
    """From one page of `CONSUMER.LIST`."""

    pending: int
    in_flight: int
    delivered: int
    """Deliveries so far, redeliveries included."""


NO_STREAM = StreamState(0, "")
NOTHING = ConsumerState(0, 0, 0)


@dataclass(frozen=True)
class Sample:
    """What was last seen of one queue.

    `tasks` is None where there is no such stream; `consumers` is None where nobody asked, because the stream is empty;
    of what else is None nobody tells.
    """

    tasks: StreamState | None
    dead: int | None
    scheduled: int | None
    consumers: Mapping[str, ConsumerState] | None


@dataclass(frozen=True)
class Rates:
    """Measured speed of a group, smoothed; `at` is when, in the monotonic seconds of whoever samples."""

    at: float
    taken: int
    finished: int
    pending: int
    arrivals_per_s: float = 0.0
    completions_per_s: float = 0.0
    busy_workers: float = 0.0


def stream_state(info: Mapping[str, Any]) -> StreamState:
    state = info["state"]
    return StreamState(state["messages"], state["first_ts"], state["last_seq"])


def consumer_state(info: Mapping[str, Any]) -> ConsumerState:
    return ConsumerState(info["num_pending"], info["num_ack_pending"], info["delivered"]["consumer_seq"])


def has_work(state: ConsumerState) -> bool:
    return bool(state.pending or state.in_flight)


def group_state(wanted: Iterable[str], there: Mapping[str, ConsumerState]) -> ConsumerState | None:
    """The sum over a group's consumers; None where one is missing, since then nobody knows what waits for it."""
    states = [there.get(name) for name in wanted]
    known = [state for state in states if state is not None]
    if not known or len(known) < len(states):
        return None
    return ConsumerState(
        pending=sum(state.pending for state in known),
        in_flight=sum(state.in_flight for state in known),
        delivered=sum(state.delivered for state in known),
    )


def measure(before: Rates | None, state: ConsumerState, workers: int, at: float) -> Rates:
    """Rates from two samples in a row; a step back (a purge, a new consumer) counts as no movement."""
    finished = state.delivered - state.in_flight
    if before is None or at <= before.at:
        return Rates(at, state.delivered, finished, state.pending)
    elapsed = at - before.at
    weight = min(1.0, elapsed / _SMOOTHING_S)
    arrived = state.pending - before.pending + state.delivered - before.taken
    busy = float(workers) if state.in_flight or before.pending else 0.0
    return Rates(
        at,
        state.delivered,
        finished,
        state.pending,
        arrivals_per_s=_smooth(before.arrivals_per_s, max(0, arrived) / elapsed, weight),
        completions_per_s=_smooth(before.completions_per_s, max(0, finished - before.finished) / elapsed, weight),
        busy_workers=_smooth(before.busy_workers, busy, weight),
    )


def load_of(state: ConsumerState, rates: Rates | None, *, paused: bool) -> Load:
    """While paused, what waits cannot be worked on: it asks for no workers."""
    return Load(
        ready=0 if paused else state.pending,
        in_flight=state.in_flight,
        arrivals_per_s=rates.arrivals_per_s if rates else 0.0,
        completions_per_s=rates.completions_per_s if rates else 0.0,
        busy_workers=rates.busy_workers if rates else 0.0,
    )


def age_seconds(first_at: str, now: datetime) -> int:
    """Whole seconds since a moment the server wrote down, with its nine decimals."""
    return max(0, int((now - datetime.fromisoformat(first_at)).total_seconds()))


def _smooth(before: float, now: float, weight: float) -> float:
    return before + weight * (now - before)

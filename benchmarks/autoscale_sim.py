"""Replay seeded load through ProtoQueue's own `decide` and through KEDA's documented algorithm, and compare.

    python benchmarks/autoscale_sim.py [--plot autoscale.png] [--seed 1]

KEDA, as its documentation and the HPA's describe them: zero to one at the next poll (pollingInterval 30 s); from one
on the HPA syncs every 15 s to ceil(lag / target) with a tolerance of 10%, at most doubling or +4 at a time, and goes
down to the highest wish of the last 300 s; to zero after cooldownPeriod 300 s without lag. Its lag counts pending and
unacked tasks. Both get the same pods: 2 s from the decision until a worker pulls; one taken away finishes its task.
"""

import argparse
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil, sin, tau
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from protoqueue_operator.core.autoscale import History, Load, Policy, decide

TARGET = 10  # tasks per worker
MAXIMUM = 50
POD_START_S = 2.0
STEP_S = 1.0
HORIZON_S = 4 * 3600.0


@dataclass(frozen=True)
class Task:
    arrives_s: float
    takes_s: float


@dataclass(frozen=True)
class Trace:
    name: str
    tasks: list[Task]


def poisson(rng: random.Random, rate: Callable[[float], float], peak: float) -> Iterator[float]:
    """Arrival times of a Poisson process whose rate varies, by thinning one of the rate `peak`."""
    now = 0.0
    while (now := now + rng.expovariate(peak)) < HORIZON_S:
        if rng.random() < rate(now) / peak:
            yield now


def traces(seed: int) -> list[Trace]:
    rng = random.Random(seed)
    exponential: Callable[[], float] = lambda: rng.expovariate(1 / 0.5)  # noqa: E731
    heavy: Callable[[], float] = lambda: min(120.0, 0.1 * rng.paretovariate(1.3))  # noqa: E731
    burst_starts = sorted(rng.uniform(0, HORIZON_S - 600) for _ in range(12))
    in_burst: Callable[[float], bool] = lambda t: any(start <= t < start + 30 for start in burst_starts)  # noqa: E731
    return [
        Trace("steady", [Task(t, exponential()) for t in poisson(rng, lambda _: 10, 10)]),
        Trace("diurnal", [Task(t, exponential()) for t in poisson(rng, lambda t: 10 + 10 * sin(tau * t / 7200), 20)]),
        Trace("bursts", [Task(t, exponential()) for t in poisson(rng, lambda t: 60 * in_burst(t), 60)]),
        Trace("heavy-tailed", [Task(t, heavy()) for t in poisson(rng, lambda _: 8, 8)]),
    ]


class Scaler(Protocol):
    name: str

    def size(self, now_s: float, ready: int, in_flight: int, current: int) -> int: ...


@dataclass
class ProtoQueue:
    name: str = "ProtoQueue"
    policy: Policy = field(
        default_factory=lambda: Policy(
            minimum=0,
            maximum=MAXIMUM,
            tasks_per_worker=TARGET,
            scale_down_delay=timedelta(seconds=60),
            idle_delay=timedelta(seconds=120),
        )
    )
    history: History = field(default_factory=History)

    def size(self, now_s: float, ready: int, in_flight: int, current: int) -> int:
        now = datetime.fromtimestamp(now_s, UTC)
        decision = decide(self.policy, Load(ready=ready, in_flight=in_flight), current, self.history, now)
        self.history = decision.history
        return decision.replicas


@dataclass
class Keda:
    name: str = "KEDA + HPA"
    wishes: deque[tuple[float, int]] = field(default_factory=deque)
    active_s: float = float("-inf")

    def size(self, now_s: float, ready: int, in_flight: int, current: int) -> int:
        lag = ready + in_flight
        if now_s % 30 < STEP_S and lag:
            self.active_s = now_s
            current = current or 1
        if now_s % 30 < STEP_S and current and now_s - self.active_s >= 300:
            return 0
        return self._horizontal(now_s, lag, current) if current and now_s % 15 < STEP_S else current

    def _horizontal(self, now_s: float, lag: int, current: int) -> int:
        wish = current if abs(lag / (TARGET * current) - 1) <= 0.1 else ceil(lag / TARGET)
        wish = min(max(wish, 1), MAXIMUM, max(2 * current, current + 4))
        self.wishes.append((now_s, wish))
        while self.wishes[0][0] < now_s - 300:
            self.wishes.popleft()
        return wish if wish >= current else min(current, max(wish for _, wish in self.wishes))


@dataclass
class Outcome:
    waits_s: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    backlog: list[int] = field(default_factory=list)

    @property
    def worker_seconds(self) -> float:
        return sum(self.sizes) * STEP_S

    def wait(self, share: float) -> float:
        return sorted(self.waits_s)[int(share * (len(self.waits_s) - 1))]


class Pods:
    """Workers as a heap of the moments at which each is free, and the ends of the tasks they are at."""

    def __init__(self) -> None:
        self.free_at: list[float] = []
        self.ends_at: list[float] = []

    def resize(self, size: int, now_s: float) -> None:
        while len(self.free_at) < size:
            heapq.heappush(self.free_at, now_s + POD_START_S)
        while len(self.free_at) > size:  # the idle ones go first
            heapq.heappop(self.free_at)

    def work(self, task: Task) -> float:
        """Give the task to the worker that is free first; how long the task had waited by then."""
        start = max(task.arrives_s, heapq.heappop(self.free_at))
        heapq.heappush(self.free_at, start + task.takes_s)
        heapq.heappush(self.ends_at, start + task.takes_s)
        return start - task.arrives_s

    def in_flight(self, now_s: float) -> int:
        while self.ends_at and self.ends_at[0] <= now_s:
            heapq.heappop(self.ends_at)
        return len(self.ends_at)


def replay(trace: Trace, scaler: Scaler, wakes_at_once: bool) -> Outcome:
    outcome, pods, waiting, coming = Outcome(), Pods(), deque[Task](), deque(trace.tasks)
    now_s = 0.0
    while coming or waiting or now_s < HORIZON_S:
        until = now_s + STEP_S
        woken = False
        while coming and coming[0].arrives_s < until:
            task = coming.popleft()
            waiting.append(task)
            if wakes_at_once and not pods.free_at and not woken:
                pods.resize(1, task.arrives_s)
                woken = True
        while waiting and pods.free_at and pods.free_at[0] < until:
            outcome.waits_s.append(pods.work(waiting.popleft()))
        now_s = until
        pods.resize(scaler.size(now_s, len(waiting), pods.in_flight(now_s), len(pods.free_at)), now_s)
        outcome.sizes.append(len(pods.free_at))
        outcome.backlog.append(len(waiting))
    return outcome


def plot(results: list[tuple[str, dict[str, Outcome]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(results), 2, figsize=(14, 3 * len(results)), sharex=True, squeeze=False)
    for row, (trace, outcomes) in zip(axes, results, strict=True):
        for name, outcome in outcomes.items():
            hours = [second * STEP_S / 3600 for second in range(len(outcome.sizes))]
            row[0].plot(hours, outcome.sizes, label=name, linewidth=0.8)
            row[1].plot(hours, outcome.backlog, label=name, linewidth=0.8)
        row[0].set_ylabel(f"{trace}\nworkers")
        row[1].set_ylabel("tasks waiting")
        row[0].legend()
    axes[-1][0].set_xlabel("hours")
    axes[-1][1].set_xlabel("hours")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="write workers and backlog over time to this picture")
    options = parser.parse_args()

    table = Table("trace", "tasks", "scaler", "wait p50", "wait p99", "worker-seconds", title=f"seed {options.seed}")
    results = []
    for trace in traces(options.seed):
        outcomes = {
            scaler.name: replay(trace, scaler, wakes_at_once=isinstance(scaler, ProtoQueue))
            for scaler in (ProtoQueue(), Keda())
        }
        for name, outcome in outcomes.items():
            waits = (f"{outcome.wait(share):.2f} s" for share in (0.5, 0.99))
            table.add_row(trace.name, f"{len(trace.tasks):,}", name, *waits, f"{outcome.worker_seconds:,.0f}")
        table.add_section()
        results.append((trace.name, outcomes))
    Console().print(table)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()

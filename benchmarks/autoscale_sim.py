"""Replay seeded load through the operator's own sampling and deciding, and through KEDA's documented algorithm.

    python benchmarks/autoscale_sim.py [--plot autoscale.png] [--seed 1] [--hours 1] [--starts 2 30 90]

ProtoQueue with each target, and KEDA with the HPA, as their documentation describes
them: zero to one at the next poll (pollingInterval 30 s); from one on the HPA syncs every 15 s to ceil(lag / target)
with a tolerance of 10%, at most doubling or +4 at a time, and goes down to the highest wish of the last 300 s; to zero
after cooldownPeriod 300 s without lag. Its lag counts pending and unacked tasks. For load that is steady also the
smallest constant size, there from the beginning, with which no task waits longer than drainTime: it knows everything.
"in time" is the share of windows of ten seconds in which no task waits longer than maxWait; "all or none" is what can
be had of it: the most workers at once with the first task, and none when nothing was left for as long as idleDelay.
All get the same pods: one task at a time, so many seconds from the decision until a worker pulls; one taken away
finishes its task.
"""

import argparse
import asyncio
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, sin, tau
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from closed_loop import Loop
from simulated_workers import Task, Workers, all_or_none, clairvoyant, share_in_time

TARGET = 10  # tasks per worker
DRAIN_S = 30
WAIT_S = 5
IDLE_S = 120  # the default of idleDelay
MAXIMUM = 50
STEP_S = 1.0


@dataclass(frozen=True)
class Trace:
    name: str
    tasks: list[Task]


def poisson(rng: random.Random, rate: Callable[[float], float], peak: float, until_s: float) -> Iterator[float]:
    """Arrival times of a Poisson process whose rate varies, by thinning one of the rate `peak`."""
    now = 0.0
    while (now := now + rng.expovariate(peak)) < until_s:
        if rng.random() < rate(now) / peak:
            yield now


def traces(seed: int, until_s: float) -> list[Trace]:
    rng = random.Random(seed)
    exponential: Callable[[], float] = lambda: rng.expovariate(1 / 0.5)  # noqa: E731
    heavy: Callable[[], float] = lambda: min(120.0, 0.1 * rng.paretovariate(1.3))  # noqa: E731
    starts = sorted(rng.uniform(0, until_s - 600) for _ in range(ceil(until_s / 1200)))
    in_burst: Callable[[float], bool] = lambda t: any(start <= t < start + 30 for start in starts)  # noqa: E731
    waves: Callable[[float], float] = lambda t: 10 + 10 * sin(tau * t / 1800)  # noqa: E731
    return [
        Trace("steady", [Task(t, exponential()) for t in poisson(rng, lambda _: 9, 9, until_s)]),
        Trace("trickle", [Task(t * 10.0, 0.01) for t in range(1, int(until_s / 10))]),
        Trace("waves", [Task(t, exponential()) for t in poisson(rng, waves, 20, until_s)]),
        Trace("bursts", [Task(t, exponential()) for t in poisson(rng, lambda t: 60 * in_burst(t), 60, until_s)]),
        Trace("heavy-tailed", [Task(t, heavy()) for t in poisson(rng, lambda _: 8, 8, until_s)]),
    ]


@dataclass
class Outcome:
    waits_s: list[float]
    worker_seconds: float
    sizes: list[int] = field(default_factory=list)
    backlog: list[int] = field(default_factory=list)

    def wait(self, share: float) -> float:
        return sorted(self.waits_s)[int(share * (len(self.waits_s) - 1))]


def protoqueue(tasks: list[Task], start_s: float, until_s: float, **target: object) -> Outcome:
    workers = Workers(tasks, start_s=start_s)
    loop, sizes, backlog = Loop(workers, maxReplicas=MAXIMUM, target=target), [], []

    async def run() -> None:
        now_s = 0.0
        while now_s < until_s:
            now_s += 10 * STEP_S
            await loop.run(now_s)
            sizes.append(workers.size)
            backlog.append(workers.waiting)

    asyncio.run(run())
    return Outcome(workers.waits_s, workers.pod_seconds, sizes, backlog)


@dataclass
class Keda:
    wishes: deque[tuple[float, int]] = field(default_factory=deque)
    active_s: float = float("-inf")

    def size(self, now_s: float, lag: int, current: int) -> int:
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


def keda(tasks: list[Task], start_s: float, until_s: float) -> Outcome:
    workers, scaler = Workers(tasks, start_s=start_s), Keda()
    outcome = Outcome(workers.waits_s, 0.0)
    for second in range(1, int(until_s / STEP_S) + 1):
        workers.advance(second * STEP_S)
        workers.resize(scaler.size(workers.now_s, workers.waiting + workers.in_flight, workers.size))
        if second % 10 == 0:
            outcome.sizes.append(workers.size)
            outcome.backlog.append(workers.waiting)
    outcome.worker_seconds = workers.pod_seconds
    return outcome


def constant(tasks: list[Task], until_s: float) -> Outcome:
    workers = Workers(tasks, start_s=0.0)
    workers.resize(clairvoyant(tasks, 1, DRAIN_S))
    workers.advance(until_s)
    return Outcome(workers.waits_s, workers.pod_seconds)


def lavish(tasks: list[Task], start_s: float, until_s: float) -> Outcome:
    workers = all_or_none(tasks, start_s, MAXIMUM, IDLE_S, until_s)
    return Outcome(workers.waits_s, workers.pod_seconds)


def plot(results: list[tuple[str, dict[str, Outcome]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(results), 2, figsize=(14, 3 * len(results)), sharex=True, squeeze=False)
    for row, (title, outcomes) in zip(axes, results, strict=True):
        for name, outcome in outcomes.items():
            minutes = [moment / 6 for moment in range(len(outcome.sizes))]
            row[0].plot(minutes, outcome.sizes, label=name, linewidth=0.8)
            row[1].plot(minutes, outcome.backlog, label=name, linewidth=0.8)
        row[0].set_ylabel(f"{title}\nworkers")
        row[1].set_ylabel("tasks waiting")
        row[0].legend()
    axes[-1][0].set_xlabel("minutes")
    axes[-1][1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--starts", type=float, nargs="+", default=[2, 30, 90], help="seconds a pod takes to start")
    parser.add_argument("--plot", type=Path, help="write workers and backlog over time to this picture")
    options = parser.parse_args()

    until_s = options.hours * 3600
    columns = ("trace", "pod start", "scaler", "wait p50", "wait p99", "in time", "most workers", "worker-seconds")
    table = Table(*columns, title=f"{options.hours:g} h of each, seed {options.seed}")
    results = []
    for trace in traces(options.seed, until_s):
        for start_s in options.starts:
            outcomes = {
                f"tasksPerWorker: {TARGET}": protoqueue(trace.tasks, start_s, until_s, tasksPerWorker=TARGET),
                f"drainTime: {DRAIN_S}s": protoqueue(trace.tasks, start_s, until_s, drainTime=f"{DRAIN_S}s"),
                f"maxWait: {WAIT_S}s": protoqueue(trace.tasks, start_s, until_s, maxWait=f"{WAIT_S}s"),
                f"KEDA + HPA, {TARGET}": keda(trace.tasks, start_s, until_s),
            }
            outcomes["all or none"] = lavish(trace.tasks, start_s, until_s)
            if trace.name == "steady":
                outcomes["constant"] = constant(trace.tasks, until_s)
            for name, outcome in outcomes.items():
                waits = (f"{outcome.wait(share):.2f} s" for share in (0.5, 0.99))
                in_time = f"{share_in_time(trace.tasks, outcome.waits_s, WAIT_S, until_s):.1%}"
                most = str(max(outcome.sizes, default=0) or "")
                cost = f"{outcome.worker_seconds:,.0f}"
                table.add_row(trace.name, f"{start_s:g} s", name, *waits, in_time, most, cost)
            table.add_section()
            results.append((f"{trace.name}, {start_s:g} s", outcomes))
    Console(width=max(120, Console().width)).print(table)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()

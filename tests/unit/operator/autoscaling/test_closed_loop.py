"""The operator's own sampling, measuring, deciding and scaling against simulated pods, hours in seconds."""

import asyncio
import random
from collections.abc import Iterator
from itertools import pairwise
from math import cos, tau
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from closed_loop import Loop
from protoqueue_operator.autoscaling.decision import STEP
from simulated_workers import Task, Workers, all_or_none, clairvoyant, share_in_time

QUICKLY = settings(deadline=None, phases=(Phase.explicit, Phase.generate), derandomize=True)
"""Each example is minutes of simulated time: a failing one is not made smaller."""

STARTS_S = (0.5, 30.0, 90.0)
DRAINING = {"target": {"drainTime": "30s"}}
PER_WORKER = {"target": {"tasksPerWorker": 10}}
PROMPT = {"target": {"maxWait": "5s"}}
TARGETS = pytest.mark.parametrize(
    "target", [DRAINING, PER_WORKER, PROMPT], ids=["drainTime", "tasksPerWorker", "maxWait"]
)
STARTING = pytest.mark.parametrize("start_s", STARTS_S)


def steady(rate: float, takes_s: float, until_s: float, seed: int = 1) -> list[Task]:
    """Tasks at random moments, as of many producers, that take half as long again or half as long."""
    rng, tasks, at_s = random.Random(seed), [], 0.0
    while (at_s := at_s + rng.expovariate(rate)) < until_s:
        tasks.append(Task(at_s, takes_s * rng.uniform(0.5, 1.5)))
    return tasks


def batches(size: int, every_s: float, takes_s: float, until_s: float, spread_s: float = 0.0) -> list[Task]:
    """So many at once, or over a while, again and again."""
    moments = range(1, int(until_s / every_s))
    return [Task(n * every_s + spread_s * i / size, takes_s) for n in moments for i in range(size)]


def bursts(seed: int, until_s: float) -> list[Task]:
    rng = random.Random(seed)
    starts = [rng.uniform(0, until_s) for _ in range(4)]
    return [
        Task(start + rng.uniform(0, 30), rng.uniform(0.1, 2)) for start in starts for _ in range(rng.randint(1, 900))
    ]


def follow(workers: Workers, until_s: float, /, **autoscale: Any) -> Loop:
    loop = Loop(workers, **autoscale)
    asyncio.run(loop.run(until_s))
    return loop


def growth(loop: Loop) -> Iterator[tuple[float, int]]:
    return ((each.at_s, each.after) for each in loop.resizes if each.after > each.before)


def check_growth(loop: Loop) -> None:
    """Workers are added while tasks wait, and while every worker is ready or the step up has just begun."""
    step_s = float("-inf")
    for each in loop.resizes:
        if each.after <= each.before:
            continue
        assert each.waiting, each
        if each.available >= each.before:
            step_s = each.at_s
        assert each.at_s - step_s < STEP.total_seconds(), each


@settings(QUICKLY, max_examples=20)
@given(
    target=st.sampled_from([DRAINING, {"target": {"drainTime": "2m"}}, {"target": {"tasksPerWorker": 300}}]),
    size=st.integers(1, 5),
    slots=st.sampled_from([1, 3, 10]),
    takes_s=st.floats(0.05, 2),
    used=st.floats(0.05, 0.75),
    seed=st.integers(0, 1000),
)
def test_steady_load_with_spare_capacity_never_adds_a_worker(
    target: dict[str, Any], size: int, slots: int, takes_s: float, used: float, seed: int
) -> None:
    rate = min(20.0, used * size * slots / takes_s)
    workers = Workers(steady(rate, takes_s, 300, seed), start_s=0.0, slots=slots)
    workers.resize(size)
    loop = follow(workers, 300, **target, maxReplicas=100, scaleDownDelay="1h")
    assert list(growth(loop)) == []


@pytest.mark.parametrize(
    ("target", "start_s"), [*((DRAINING, start_s) for start_s in STARTS_S), (PROMPT, 0.5), (PROMPT, 5.0)]
)
def test_two_tasks_a_second_of_half_a_second_each_are_work_for_one_worker_with_ten_slots(
    target: dict[str, Any], start_s: float
) -> None:
    loop = follow(Workers(steady(2, 0.5, 1200), start_s=start_s, slots=10), 1200, **target, maxReplicas=100)
    assert [size for _, size in growth(loop)] == [1]


@TARGETS
@STARTING
@settings(QUICKLY, max_examples=5)
@given(seed=st.integers(0, 1000), slots=st.sampled_from([1, 10]))
def test_nothing_grows_while_nothing_waits_or_started_pods_are_not_ready(
    target: dict[str, Any], start_s: float, seed: int, slots: int
) -> None:
    for tasks in (steady(3, 0.7, 200, seed), bursts(seed, 200), batches(60, 45, 1.0, 200, spread_s=3)):
        check_growth(follow(Workers(tasks, start_s=start_s, slots=slots), 300, **target, maxReplicas=50))


@STARTING
@pytest.mark.parametrize(("rate", "takes_s", "slots"), [(2, 0.7, 1), (8, 0.55, 1), (20, 0.75, 4), (0.7, 3, 1)])
def test_steady_load_costs_at_most_half_more_than_a_clairvoyant_would_use(
    start_s: float, rate: float, takes_s: float, slots: int
) -> None:
    """Once the first backlog, which grows while the first pods start, is done."""
    settled_s, until_s = 600.0, 2400.0
    tasks = steady(rate, takes_s, until_s)
    needed = clairvoyant(tasks, slots, longest_wait_s=30)
    workers = Workers(tasks, start_s=start_s, slots=slots)
    loop = Loop(workers, **DRAINING, maxReplicas=100)
    asyncio.run(loop.run(settled_s))
    before = workers.pod_seconds
    asyncio.run(loop.run(until_s))
    assert workers.pod_seconds - before <= 1.5 * needed * (until_s - settled_s)
    late = [wait for wait in workers.waits_s[int(len(workers.waits_s) * settled_s / until_s) :] if wait > 30]
    assert late == []


def waves(until_s: float) -> list[Task]:
    """From none to twenty a second and back in half an hour."""
    rng, tasks, at_s = random.Random(1), [], 0.0
    while (at_s := at_s + rng.expovariate(20)) < until_s:
        if rng.random() < (1 - cos(tau * at_s / 1800)) / 2:
            tasks.append(Task(at_s, rng.expovariate(1 / 0.5)))
    return tasks


@pytest.mark.parametrize("start_s", [2.0, 30.0])
@pytest.mark.parametrize(
    "tasks",
    [steady(9, 0.5, 1800), waves(1800), batches(1000, 300, 0.5, 1800, spread_s=20)],
    ids=["steady", "waves", "batches"],
)
def test_no_task_waits_for_longer_than_max_wait_in_95_of_100_windows_where_that_can_be_had(
    start_s: float, tasks: list[Task]
) -> None:
    """It can be had where the most workers there may be are started with the first task, and end when none is left."""
    workers = Workers(tasks, start_s=start_s)
    follow(workers, 1800, **PROMPT, maxReplicas=50)
    lavish = all_or_none(tasks, start_s, size=50, idle_s=120, until_s=1800)
    had, possible = (share_in_time(tasks, each.waits_s, 5, 1800) for each in (workers, lavish))
    assert had >= 0.95 * possible
    assert workers.pod_seconds < lavish.pod_seconds


@STARTING
def test_a_target_per_worker_does_not_swing_between_too_few_and_too_many(start_s: float) -> None:
    """Ten outstanding each, where five busy workers have five: one would be enough by that alone."""
    loop = follow(Workers(steady(9, 0.5, 2400), start_s=start_s), 2400, **PER_WORKER, maxReplicas=100)
    assert [(at_s, size) for at_s, size in growth(loop) if at_s > 600 and size > 7] == []


@TARGETS
@settings(QUICKLY, max_examples=10)
@given(gap_s=st.floats(0.5, 19), takes_s=st.floats(0.001, 0.3), start_s=st.sampled_from(STARTS_S))
def test_never_to_zero_while_tasks_come_more_often_than_idle_delay(
    target: dict[str, Any], gap_s: float, takes_s: float, start_s: float
) -> None:
    tasks = [Task(n * gap_s, takes_s) for n in range(1, int(400 / gap_s))]
    loop = follow(Workers(tasks, start_s=start_s), tasks[-1].arrives_s, **target, idleDelay="20s")
    assert min(each.after for each in loop.resizes) >= 1
    asyncio.run(loop.run(tasks[-1].arrives_s + 200))
    assert loop.resizes[-1].after == 0
    assert "no tasks for 20s (idleDelay): 1 → 0 workers" in [each.message for each in loop.said]


@TARGETS
@STARTING
def test_workers_that_crash_get_no_company(target: dict[str, Any], start_s: float) -> None:
    tasks = [Task(1 + 0.01 * n, 0.5) for n in range(300)]
    loop = follow(Workers(tasks, start_s=start_s, crashes=True), 1260, **target, maxReplicas=100)
    assert [at_s for at_s, _ in growth(loop) if at_s > 10] == []


@pytest.mark.parametrize("flickers", [True, False])
def test_a_group_whose_workers_crash_while_tasks_wait_is_not_ready_until_one_stays(flickers: bool) -> None:
    """A container that is started again and again counts as available for a second each time."""
    workers = Workers([Task(1 + 0.01 * n, 0.5) for n in range(300)], start_s=2 if flickers else 1e9, crashes=True)
    workers.resize(3)
    loop = follow(workers, 1260, **PER_WORKER, maxReplicas=3)
    at_s, first = loop.ready[0]
    assert 31 <= at_s < 55
    assert (first.status, first.reason) == ("False", "WorkersFailing")
    assert first.message.endswith(" of 3 workers available; container worker exited 1, 0 restarts")
    assert {(each.status, each.reason) for _, each in loop.ready} == {("False", "WorkersFailing")}
    assert workers.size == 3
    loop.workers.mend()
    asyncio.run(loop.run(1300))
    at_s, last = loop.ready[-1]
    assert (last.status, last.reason) == ("True", "Reconciled")


def test_pods_that_start_slowly_and_then_stay_are_ready() -> None:
    loop = follow(Workers(steady(2, 0.5, 300), start_s=25), 300, **PER_WORKER, maxReplicas=3)
    assert loop.ready == []


@TARGETS
def test_one_slow_task_is_work_for_one_worker(target: dict[str, Any]) -> None:
    loop = follow(Workers([Task(1, 900)]), 800, **target, maxReplicas=100)
    assert [size for _, size in growth(loop)] == [1]


def test_a_burst_gets_as_many_workers_as_the_target_says_though_it_takes_seconds_to_be_stored() -> None:
    loop = follow(Workers([Task(1 + 0.01 * n, 5) for n in range(300)], start_s=30), 30, **PER_WORKER, maxReplicas=100)
    sizes = [size for _, size in growth(loop)]
    assert sizes[0] == 1
    assert sizes[-1] == 30


@TARGETS
def test_what_is_simulated_is_the_same_each_time(target: dict[str, Any]) -> None:
    runs = [follow(Workers(bursts(7, 300), start_s=30), 300, **target, maxReplicas=20).resizes for _ in range(2)]
    assert runs[0] == runs[1]
    assert all(before.after == after.before for before, after in pairwise(runs[0]))

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoqueue_operator.core.autoscale import Decision, History, Load, Policy, decide

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PER_WORKER = Policy(
    minimum=0,
    maximum=50,
    scale_down_delay=timedelta(seconds=60),
    idle_delay=timedelta(seconds=120),
    tasks_per_worker=100,
)
DRAINING = replace(PER_WORKER, tasks_per_worker=None, drain_time=timedelta(seconds=30))


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def follow(policy: Policy, current: int, *steps: tuple[float, Load | None]) -> list[Decision]:
    """Decide at each moment, each decision carried out before the next."""
    history, decisions = History(), []
    for seconds, load in steps:
        decision = decide(policy, load, current, history, after(seconds))
        current, history = decision.replicas, decision.history
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize(
    ("current", "load", "replicas", "reason"),
    [
        (0, Load(), 0, "Idle"),
        (0, Load(ready=1), 1, "ScaledUp"),
        (0, Load(ready=100), 1, "ScaledUp"),
        (0, Load(ready=101), 2, "ScaledUp"),
        (1, Load(ready=90, in_flight=11), 2, "ScaledUp"),
        (2, Load(ready=1_000_000), 50, "ScaledUp"),
        (3, Load(ready=300), 3, "Stable"),
        (3, Load(ready=10), 3, "Stable"),
        (3, Load(), 3, "Stable"),
        (60, Load(ready=1), 1, "ScaledDown"),
        (7, None, 7, "BacklogUnknown"),
        (0, None, 0, "BacklogUnknown"),
    ],
)
def test_the_first_decision(current: int, load: Load | None, replicas: int, reason: str) -> None:
    decision = decide(PER_WORKER, load, current, History(), NOW)
    assert (decision.replicas, decision.reason) == (replicas, reason)


@pytest.mark.parametrize(
    ("current", "load", "message"),
    [
        (0, Load(ready=1), "1 task outstanding: 0 → 1 worker"),
        (0, Load(ready=101), "101 tasks outstanding: 0 → 2 workers"),
        (60, Load(ready=1), "maxReplicas is 50: 60 → 1 worker"),
        (1, None, "the backlog is unknown: holding 1 worker"),
    ],
)
def test_a_decision_says_why(current: int, load: Load | None, message: str) -> None:
    assert decide(PER_WORKER, load, current, History(), NOW).message == message


def test_fewer_workers_only_after_the_delay_and_then_to_the_most_wanted_meanwhile() -> None:
    decisions = follow(
        PER_WORKER, 10, (0, Load(ready=50)), (30, Load(ready=390)), (59, Load(ready=1)), (60, Load(ready=1))
    )
    assert [decision.replicas for decision in decisions] == [10, 10, 10, 4]
    assert "scaleDownDelay" in decisions[1].message


def test_a_burst_within_the_delay_starts_it_anew() -> None:
    decisions = follow(
        PER_WORKER, 3, (0, Load(ready=1)), (40, Load(ready=300)), (61, Load(ready=1)), (122, Load(ready=1))
    )
    assert [decision.replicas for decision in decisions] == [3, 3, 3, 1]


def test_the_last_worker_goes_only_after_idle_delay() -> None:
    decisions = follow(PER_WORKER, 5, (0, Load()), (60, Load()), (119, Load()), (120, Load()), (121, Load()))
    assert [decision.replicas for decision in decisions] == [5, 1, 1, 0, 0]
    assert decisions[-1].reason == "Idle"


def test_a_single_task_in_flight_keeps_the_last_worker() -> None:
    decisions = follow(
        PER_WORKER, 1, (0, Load()), (119, Load(in_flight=1)), (130, Load()), (249, Load()), (250, Load())
    )
    assert [decision.replicas for decision in decisions] == [1, 1, 1, 1, 0]


def test_a_long_scale_down_delay_holds_many_workers_beyond_a_short_idle_delay() -> None:
    policy = replace(PER_WORKER, idle_delay=timedelta(seconds=5))
    assert [d.replicas for d in follow(policy, 4, (0, Load()), (5, Load()), (59, Load()), (60, Load()))] == [4, 4, 4, 0]


def test_the_minimum_is_kept_while_empty() -> None:
    policy = replace(PER_WORKER, minimum=2)
    assert [d.replicas for d in follow(policy, 4, (0, Load()), (60, Load()), (500, Load()))] == [4, 2, 2]
    assert decide(policy, Load(), 0, History(), NOW).replicas == 2


def test_an_unknown_backlog_forgets_how_long_it_was_empty() -> None:
    decisions = follow(PER_WORKER, 1, (0, Load()), (119, None), (121, Load()), (200, Load()), (241, Load()))
    assert [decision.replicas for decision in decisions] == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (Load(ready=1), 2),  # speed unknown: nobody goes, one comes where there is none
        (Load(ready=600, completions_per_s=20, busy_workers=2), 2),  # 10/s each: 600 in 30 s
        (Load(ready=601, completions_per_s=20, busy_workers=2), 3),
        (Load(ready=600, completions_per_s=20, busy_workers=2, arrivals_per_s=20), 4),  # and what comes meanwhile
        (Load(ready=600, completions_per_s=0.1, busy_workers=2), 50),
    ],
)
def test_drain_time_goes_by_the_measured_speed(load: Load, replicas: int) -> None:
    assert decide(DRAINING, load, 2, History(), NOW).replicas == replicas


def test_tasks_that_take_longer_than_the_drain_time_double_the_workers_until_one_is_done() -> None:
    load = Load(ready=99, in_flight=1)
    steps = [(0, load), (1, load), (30, load), (31, load), (32, load), (62, load)]
    decisions = follow(DRAINING, 0, *steps)
    assert [decision.replicas for decision in decisions] == [1, 1, 1, 2, 2, 4]


loads = st.one_of(
    st.none(),
    st.builds(
        Load,
        ready=st.integers(0, 10**7),
        in_flight=st.integers(0, 10**4),
        arrivals_per_s=st.floats(0, 1e5),
        completions_per_s=st.floats(0, 1e5),
        busy_workers=st.floats(0, 100),
    ),
)


@given(
    policy=st.sampled_from([PER_WORKER, DRAINING, replace(PER_WORKER, minimum=3)]),
    current=st.integers(0, 50),
    steps=st.lists(st.tuples(st.integers(1, 90), loads), min_size=1, max_size=30),
)
def test_whatever_comes_the_size_stays_in_bounds_and_work_is_never_left_alone(
    policy: Policy, current: int, steps: list[tuple[int, Load | None]]
) -> None:
    history, moment = History(), NOW
    for seconds, load in steps:
        moment += timedelta(seconds=seconds)
        decision = decide(policy, load, current, history, moment)
        if load is None:
            assert decision.replicas == current
        else:
            assert policy.minimum <= decision.replicas <= policy.maximum
            assert decision.replicas or not load.outstanding
            assert (decision.replicas > current) == (decision.reason == "ScaledUp")
            assert (decision.replicas < current) == (decision.reason == "ScaledDown")
        current, history = decision.replicas, decision.history

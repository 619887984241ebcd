from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoqueue_operator.api.v1alpha1.consumer_group import Fallback, ScaleUpLimit
from protoqueue_operator.autoscaling.decision import Decision, History, Load, Policy, decide

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PER_WORKER = Policy(
    minimum=0,
    maximum=50,
    scale_down_delay=timedelta(seconds=60),
    idle_delay=timedelta(seconds=120),
    tasks_per_worker=100,
)
DRAINING = replace(PER_WORKER, tasks_per_worker=None, drain_time=timedelta(seconds=30))
PROMPT = replace(PER_WORKER, tasks_per_worker=None, max_wait=timedelta(seconds=10))

LIMITED = replace(PER_WORKER, scale_up_limit=ScaleUpLimit(workers=4, per="1m"))


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
        (0, Load(waiting=1), 1, "ScaledUp"),
        (0, Load(waiting=100), 1, "ScaledUp"),
        (0, Load(waiting=101), 2, "ScaledUp"),
        (1, Load(waiting=90, in_flight=11), 2, "ScaledUp"),
        (2, Load(waiting=1_000_000), 50, "ScaledUp"),
        (3, Load(waiting=300), 3, "Stable"),
        (3, Load(waiting=10), 3, "Stable"),
        (3, Load(), 3, "Stable"),
        (60, Load(waiting=1), 1, "ScaledDown"),
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
        (0, Load(waiting=1), "1 task outstanding: 0 → 1 worker"),
        (0, Load(waiting=101), "101 tasks outstanding: 0 → 2 workers"),
        (60, Load(waiting=1), "maxReplicas is 50: 60 → 1 worker"),
        (1, None, "the backlog is unknown: holding 1 worker"),
    ],
)
def test_a_decision_says_why(current: int, load: Load | None, message: str) -> None:
    assert decide(PER_WORKER, load, current, History(), NOW).message == message


def test_workers_that_no_task_asks_for_are_not_said_to_have_nothing_to_do() -> None:
    decision = decide(replace(PER_WORKER, minimum=1), Load(), 0, History(), NOW)
    assert (decision.replicas, decision.message) == (1, "minReplicas is 1: 0 → 1 worker")


def test_fewer_workers_only_after_the_delay_and_then_to_the_most_wanted_meanwhile() -> None:
    decisions = follow(
        PER_WORKER, 10, (0, Load(waiting=50)), (30, Load(waiting=390)), (59, Load(waiting=1)), (60, Load(waiting=1))
    )
    assert [decision.replicas for decision in decisions] == [10, 10, 10, 4]
    assert "scaleDownDelay" in decisions[1].message


def test_a_burst_within_the_delay_starts_it_anew() -> None:
    decisions = follow(
        PER_WORKER, 3, (0, Load(waiting=1)), (40, Load(waiting=300)), (61, Load(waiting=1)), (122, Load(waiting=1))
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
        (Load(waiting=1), 2),  # speed unknown: nobody goes, one comes where there is none
        (Load(waiting=600, speed=10), 2),  # 10/s each: 600 in 30 s
        (Load(waiting=601, speed=10), 3),
        (Load(waiting=600, speed=10, arrivals_per_s=20), 4),  # and what comes meanwhile
        (Load(waiting=600, speed=0.05), 50),
    ],
)
def test_drain_time_goes_by_the_measured_speed(load: Load, replicas: int) -> None:
    assert decide(DRAINING, load, 2, History(), NOW).replicas == replicas


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (Load(waiting=1), 2),  # speed unknown: nobody goes
        (Load(waiting=100, speed=10), 2),  # 10/s each: started in half of 10 s
        (Load(waiting=101, speed=10), 3),
        (Load(waiting=101, speed=10, arrivals_per_s=20), 5),  # at least so fast: with what arrives
        (Load(waiting=1, speed=10, arrivals_per_s=40, busy=4), 7),  # four busy, two to spare, and what waits
        (Load(waiting=1, in_flight=9, speed=1, arrivals_per_s=90, busy=0), 2),  # only a lower bound: started in time
        (Load(waiting=600, speed=0.05), 50),
    ],
)
def test_max_wait_starts_what_waits_in_time_and_has_workers_to_spare(load: Load, replicas: int) -> None:
    assert decide(PROMPT, load, 2, History(), NOW).replicas == replicas


def test_while_a_handler_throttles_the_group_no_worker_is_added_but_for_the_minimum() -> None:
    busy = Load(waiting=900, throttled="before 12:00:04: 429")
    for current, minimum, size in ((0, 0, 0), (2, 0, 2), (2, 4, 4)):
        decision = decide(replace(PER_WORKER, minimum=minimum), busy, current, History(), NOW)
        assert decision.replicas == size
        if size == current:
            told = f"throttled, no task is started before 12:00:04: 429: holding {size} workers"
            assert (decision.reason, decision.message) == ("Throttled", told)
    assert decide(PER_WORKER, replace(busy, throttled=""), 2, History(), NOW).replicas > 2


def test_of_what_is_only_in_flight_one_worker_comes_from_zero() -> None:
    decision = decide(PER_WORKER, Load(in_flight=101), 0, History(), NOW)
    assert (decision.replicas, decision.reason) == (1, "ScaledUp")


def test_tasks_that_take_longer_than_the_drain_time_double_the_workers_until_one_is_done() -> None:
    load = Load(waiting=99, in_flight=1)
    steps = [(0, load), (1, load), (30, load), (31, load), (32, load), (62, load)]
    decisions = follow(DRAINING, 0, *steps)
    assert [decision.replicas for decision in decisions] == [1, 1, 1, 2, 2, 4]


@pytest.mark.parametrize(
    ("policy", "current", "load", "replicas", "reason", "message"),
    [
        (
            replace(PER_WORKER, tasks_per_worker=20, maximum=3),
            3,
            Load(waiting=346),
            3,
            "AtMaximum",
            "346 waiting would need 18 workers; maxReplicas is 3",
        ),
        (replace(PER_WORKER, tasks_per_worker=20, maximum=3), 3, Load(in_flight=346), 3, "Stable", None),
        (
            replace(PER_WORKER, tasks_per_worker=1),
            2,
            Load(waiting=6, in_flight=2, startable=2, limit="ordering.partitions"),
            2,
            "InFlightLimited",
            "6 waiting and 2 in flight would need 8 workers; 2 tasks can be in flight at a time "
            "(limited by ordering.partitions)",
        ),
        (replace(PER_WORKER, tasks_per_worker=1), 0, Load(waiting=8, startable=2), 2, "ScaledUp", None),
        (replace(PER_WORKER, tasks_per_worker=1, minimum=3), 0, Load(waiting=8, startable=2), 3, "ScaledUp", None),
        (replace(DRAINING, maximum=3), 3, Load(waiting=900, speed=1), 3, "AtMaximum", None),
    ],
)
def test_what_keeps_a_group_from_growing_is_said(
    policy: Policy, current: int, load: Load, replicas: int, reason: str, message: str | None
) -> None:
    decision = decide(policy, load, current, History(), NOW)
    assert (decision.replicas, decision.reason) == (replicas, reason)
    assert message in (None, decision.message)


def test_the_next_step_up_waits_until_the_workers_of_the_last_one_are_ready() -> None:
    steps = [
        (0, Load(waiting=1, ready=0)),
        (4, Load(waiting=150, ready=0)),
        (6, Load(waiting=900, ready=1)),
        (50, Load(waiting=900, ready=2)),
        (60, Load(waiting=990, ready=9)),
    ]
    decisions = follow(PER_WORKER, 0, *steps)
    assert [decision.replicas for decision in decisions] == [1, 2, 2, 9, 10]
    assert decisions[2].message == "900 tasks outstanding: 1 of 2 workers ready"


def test_workers_that_do_not_get_ready_keep_the_group_from_growing() -> None:
    steps = [(second, Load(waiting=300, ready=second % 3)) for second in range(0, 600, 10)]
    assert [each.replicas for each in follow(replace(DRAINING, minimum=3), 3, *steps)] == [3] * len(steps)


def test_the_smallest_size_is_kept_though_workers_are_not_ready() -> None:
    assert decide(replace(PER_WORKER, minimum=4), Load(ready=1), 2, History(), NOW).replicas == 4


def test_activity_between_two_looks_starts_idle_delay_anew() -> None:
    looks = [(second, Load(is_active=second % 30 == 0)) for second in range(0, 301, 10)]
    assert {decision.replicas for decision in follow(PER_WORKER, 1, *looks)} == {1}
    decisions = follow(PER_WORKER, 1, *looks, (301, Load()), (420, Load()), (421, Load()))
    assert [decision.replicas for decision in decisions[-2:]] == [1, 0]
    assert decisions[-1].message == "no tasks for 2m (idleDelay): 1 → 0 workers"


def test_a_size_that_keeps_up_with_what_comes_is_not_made_smaller() -> None:
    looks = [(second, Load(in_flight=5, arrivals_per_s=10, busy=5)) for second in range(0, 300, 30)]
    assert {decision.replicas for decision in follow(PER_WORKER, 5, *looks)} == {5}


def test_what_will_be_done_before_another_worker_could_be_ready_brings_none() -> None:
    slow = [(0, Load(waiting=1, ready=0)), (90, Load(waiting=650, ready=1, speed=10, arrivals_per_s=1))]
    assert [each.replicas for each in follow(DRAINING, 0, *slow)] == [1, 1]
    quick = [(0, Load(waiting=1, ready=0)), (2, Load(waiting=650, ready=1, speed=10, arrivals_per_s=1))]
    assert [each.replicas for each in follow(DRAINING, 0, *quick)] == [1, 3]


loads = st.one_of(
    st.none(),
    st.builds(
        Load,
        waiting=st.integers(0, 10**7),
        in_flight=st.integers(0, 10**4),
        startable=st.one_of(st.none(), st.integers(0, 100)),
        is_active=st.booleans(),
        ready=st.one_of(st.none(), st.integers(0, 60)),
        arrivals_per_s=st.floats(0, 1e5),
        speed=st.floats(0, 1e5),
        busy=st.floats(0, 1e5),
    ),
)


@given(
    policy=st.sampled_from([PER_WORKER, DRAINING, PROMPT, replace(PER_WORKER, minimum=3), LIMITED]),
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
            if policy is LIMITED:
                assert decision.replicas <= current + 4
            assert (decision.replicas < current) == (decision.reason == "ScaledDown")
            if decision.replicas > max(current, policy.minimum, 1):
                assert load.waiting, "nothing grows while nothing waits"
        current, history = decision.replicas, decision.history


def test_below_activation_tasks_a_group_at_zero_stays_there_and_one_that_runs_goes_on() -> None:
    policy = replace(PER_WORKER, activation_tasks=10)
    few, arrived, enough = Load(waiting=9), Load(is_active=True), Load(waiting=7, in_flight=3)
    steps = follow(policy, 0, (0, Load()), (1, arrived), (2, few), (3, enough), (4, few))
    assert [(each.replicas, each.reason) for each in steps] == [
        (0, "Idle"), (0, "Idle"), (0, "BelowActivation"), (1, "ScaledUp"), (1, "Stable"),
    ]  # fmt: skip
    assert steps[2].message == "9 tasks outstanding: activationTasks is 10"
    assert decide(replace(policy, minimum=1), few, 0, History(), NOW).replicas == 1


def test_no_more_workers_are_added_per_period_than_the_limit_says() -> None:
    much = Load(waiting=10_000)
    steps = follow(LIMITED, 0, (0, much), (1, much), (30, Load(waiting=50)), (59, much), (60, much), (119, much))
    assert [each.replicas for each in steps] == [4, 4, 4, 4, 8, 8]
    assert [each.reason for each in steps[:2]] == ["ScaledUp", "ScaleUpLimited"]
    assert steps[0].message == "10000 tasks outstanding: 0 → 4 workers, 4 workers per 1m (scaleUpLimit)"
    assert steps[1].message == "10000 tasks outstanding, which asks for 50 workers: 4 workers per 1m (scaleUpLimit)"
    few = follow(LIMITED, 0, (0, Load(waiting=101)), (1, Load(waiting=1000)), (2, Load(waiting=1000)), (60, much))
    assert [each.replicas for each in few] == [2, 4, 4, 6], "what was added a while ago counts no more"


def test_what_is_not_known_for_a_while_does_not_lift_the_limit_and_the_minimum_is_not_limited() -> None:
    much = Load(waiting=10_000)
    assert [each.replicas for each in follow(LIMITED, 0, (0, much), (1, None), (2, much))] == [4, 4, 4]
    assert decide(replace(LIMITED, minimum=9), Load(), 0, History(), NOW).replicas == 9


def test_a_group_falls_back_once_its_backlog_has_been_unknown_for_long_enough() -> None:
    policy = replace(PER_WORKER, fallback=Fallback(replicas=5, after="30s"))
    steps = follow(policy, 2, (0, None), (29, None), (30, None), (31, None), (32, Load(waiting=1)), (40, None))
    assert [each.replicas for each in steps] == [2, 2, 5, 5, 5, 5]
    assert steps[2].message == "the backlog is unknown for 30s (fallback): 2 → 5 workers"
    assert steps[3].message == "the backlog is unknown for 30s (fallback): holding 5 workers"
    assert steps[5].message == "the backlog is unknown: holding 5 workers", "it was known in between"
    assert {each.reason for each in steps[:4]} == {"BacklogUnknown"}
    assert follow(policy, 9, (0, None), (60, None))[-1].replicas == 9, "nobody is ended on ignorance"

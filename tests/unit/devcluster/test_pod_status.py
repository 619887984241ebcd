from datetime import timedelta

import pytest

from protoqueue_devcluster.node.podspec import PodSpec, parse_pod
from protoqueue_devcluster.node.states import (
    ContainerStatus,
    Running,
    Terminated,
    Waiting,
    pod_phase,
    pod_status,
    previous_life,
    restart_delay_s,
    terminated,
)
from unit.devcluster.cluster_in_memory import START

RUNNING = Running(START)
CREATING = Waiting("ContainerCreating")
CRASHED = Waiting("CrashLoopBackOff")
DONE = Terminated(0, "Completed", START, START)
FAILED = Terminated(3, "Error", START, START)


def pod(policy: str = "Always") -> PodSpec:
    metadata = {"uid": "u", "namespace": "ns", "name": "p"}
    return parse_pod({"metadata": metadata, "spec": {"restartPolicy": policy, "containers": [{"name": "c"}]}})


def status(state: Waiting | Running | Terminated, **fields: object) -> ContainerStatus:
    return ContainerStatus("c", "image", state, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "init", "main", "phase"),
    [
        ("Always", [], [status(CREATING)], "Pending"),
        ("Always", [], [status(RUNNING), status(CREATING)], "Pending"),
        ("Always", [], [status(RUNNING)], "Running"),
        ("Always", [], [status(CRASHED, last=FAILED)], "Running"),
        ("Always", [], [status(DONE)], "Running"),
        ("Always", [status(RUNNING)], [status(CREATING)], "Pending"),
        ("OnFailure", [], [status(DONE)], "Succeeded"),
        ("OnFailure", [], [status(FAILED)], "Running"),
        ("Never", [], [status(DONE), status(RUNNING)], "Running"),
        ("Never", [], [status(DONE), status(FAILED)], "Failed"),
        ("Never", [], [status(DONE), status(DONE)], "Succeeded"),
        ("Never", [status(FAILED)], [status(CREATING)], "Failed"),
        ("OnFailure", [status(FAILED)], [status(CREATING)], "Pending"),
    ],
)
def test_the_phase_follows_from_containers_and_restart_policy(
    policy: str, init: list[ContainerStatus], main: list[ContainerStatus], phase: str
) -> None:
    assert pod_phase(pod(policy), init, main) == phase


@pytest.mark.parametrize(("failures", "delay_s"), [(1, 0), (2, 10), (3, 20), (4, 40), (7, 300), (50, 300)])
def test_restarts_wait_longer_each_time_but_never_more_than_five_minutes(failures: int, delay_s: float) -> None:
    assert restart_delay_s(failures, 10) == delay_s


@pytest.mark.parametrize(("code", "reported", "reason"), [(0, 0, "Completed"), (3, 3, "Error"), (-9, 137, "Error")])
def test_a_killed_process_ends_with_128_plus_the_signal(code: int, reported: int, reason: str) -> None:
    end = terminated(code, START, START)
    assert (end.exit_code, end.reason) == (reported, reason)


def test_a_condition_keeps_its_time_until_it_changes_and_foreign_ones_are_kept() -> None:
    gate = {"type": "example.com/gate", "status": "True"}
    first = pod_status(pod(), [], [status(RUNNING, ready=True, started=True)], START, {"conditions": [gate]}, START)
    later = START + timedelta(minutes=1)
    second = pod_status(pod(), [], [status(RUNNING)], START, first, later)
    conditions = {c["type"]: c for c in second["conditions"]}
    assert conditions["example.com/gate"] == gate
    assert conditions["PodScheduled"]["lastTransitionTime"] == "2030-01-01T00:00:00Z"
    assert conditions["Ready"]["lastTransitionTime"] == "2030-01-01T00:01:00Z"
    assert conditions["Ready"]["reason"] == "ContainersNotReady"
    assert conditions["Ready"]["message"] == "containers with unready status: [c]"


def test_an_unchanged_pod_has_an_unchanged_status() -> None:
    containers = [status(RUNNING, ready=True, started=True)]
    first = pod_status(pod(), [], containers, START, {}, START)
    assert pod_status(pod(), [], containers, START, first, START + timedelta(hours=1)) == first


def test_a_finished_pod_stays_finished() -> None:
    assert pod_status(pod("Never"), [], [status(RUNNING)], START, {"phase": "Failed"}, START)["phase"] == "Failed"


def test_what_ran_under_a_former_node_process_counts_as_killed() -> None:
    entry = {"restartCount": 2, "state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}}}
    restarts, end = previous_life(entry, START + timedelta(minutes=5))
    assert restarts == 2
    assert end is not None
    assert (end.exit_code, end.started_at) == (137, START)


@pytest.mark.parametrize("state", [{"waiting": {"reason": "ContainerCreating"}}, {}])
def test_what_never_ran_starts_afresh(state: dict[str, object]) -> None:
    assert previous_life({"restartCount": 0, "state": state}, START) == (0, None)

"""What is said of workers that fail, from the pods' own statuses."""

from typing import Any

import pytest

from protoqueue_operator.autoscaling.worker_pods import failure, parse_pods, ready_count


def pod(*containers: dict[str, Any], ready: bool = False, phase: str = "Running", **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}, *status.pop("conditions", ())]
    return {
        "metadata": {"name": "mailers-1", "uid": "1"},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": list(containers), **status},
    }


def container(restarts: int = 0, **fields: Any) -> dict[str, Any]:
    return {"name": "worker", "restartCount": restarts, "ready": False, **fields}


def exited(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([pod(container(7, state=BACK_OFF, lastState=exited(1)))] * 3, "container worker exited 1, 7 restarts"),
        ([pod(container(1, state=exited(3)))], "container worker exited 3, 1 restart"),
        (
            [pod(container(2, state=BACK_OFF, lastState=exited(137, "OOMKilled")))],
            "container worker ran out of memory, 2 restarts",
        ),
        (
            [pod(container(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}))],
            "container worker: ImagePullBackOff: no such image",
        ),
        ([pod(container(state={"waiting": {"reason": "ContainerCreating"}}))], "its pods are starting"),
        ([pod(container(state={"running": {}}))], "container worker runs and is not ready"),
        (
            [pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}])],
            "a pod cannot be scheduled: 0/3 nodes are available",
        ),
        (
            [pod(container(), ready=True), pod(container(7, state=BACK_OFF, lastState=exited(1)))],
            "container worker exited 1, 7 restarts",
        ),
        (
            [pod(container(), initContainerStatuses=[{"name": "init", "restartCount": 4, "lastState": exited(2)}])],
            "container init exited 2, 4 restarts",
        ),
        ([], "no pod was created"),
        ([pod(container(), ready=True)], "no pod stays ready"),
    ],
)
def test_the_pod_that_was_restarted_most_says_why_nobody_works(items: list[dict[str, Any]], why: str) -> None:
    assert failure(parse_pods(items), 0, 3) == f"0 of 3 workers available; {why}"


def test_pods_that_go_or_have_ended_are_no_workers() -> None:
    going = pod(ready=True)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    items = [pod(ready=True), pod(ready=False), going, pod(ready=True, phase="Succeeded")]
    assert len(parse_pods(items)) == 2
    assert ready_count(parse_pods(items)) == 1

import pytest

from protoqueue_devcluster.controllers.actions import Action, Create, Delete
from protoqueue_devcluster.controllers.statefulsets import plan_stateful_set
from protoqueue_devcluster.kube.client import Object
from unit.devcluster.cluster_in_memory import START


def stateful_set(replicas: int, image: str = "one", **spec: object) -> Object:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "metadata": {"name": "db", "namespace": "default", "uid": "sts", "generation": 1},
        "spec": {"replicas": replicas, "template": template, **spec},
        "status": {},
    }


def grow(owner: Object, *, ready: int, unready: int = 0) -> list[Object]:
    """The pods the set would have made, the first `ready` of them ready."""
    pods: list[Object] = []
    for ordinal in range(ready + unready):
        creations = [a for a in writes(owner, pods, parallel=True) if isinstance(a, Create)]
        pod = next(a.body for a in creations if a.body["metadata"]["name"] == f"db-{ordinal}")
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}
        pods.append({**pod, "status": {"phase": "Running", "conditions": [condition] if ordinal < ready else []}})
    return pods


def writes(owner: Object, pods: list[Object], parallel: bool = False) -> list[Action]:
    if parallel:
        owner = {**owner, "spec": {**owner["spec"], "replicas": 9, "podManagementPolicy": "Parallel"}}
    return [a for a in plan_stateful_set(owner, pods, START).actions if isinstance(a, Create | Delete)]


def names(actions: list[Action]) -> list[str]:
    return [
        f"+{a.body['metadata']['name']}" if isinstance(a, Create) else f"-{a.target['metadata']['name']}"
        for a in actions
    ]


@pytest.mark.parametrize(
    ("replicas", "ready", "unready", "expected"),
    [
        (3, 0, 0, ["+db-0"]),
        (3, 0, 1, []),
        (3, 1, 0, ["+db-1"]),
        (3, 3, 0, []),
        (1, 3, 0, ["-db-2"]),
        (0, 1, 0, ["-db-0"]),
    ],
)
def test_pods_come_up_one_by_one_and_leave_from_the_highest_ordinal(
    replicas: int, ready: int, unready: int, expected: list[str]
) -> None:
    owner = stateful_set(replicas)
    assert names(writes(owner, grow(owner, ready=ready, unready=unready))) == expected


def test_parallel_management_makes_all_pods_at_once() -> None:
    assert names(writes(stateful_set(3, podManagementPolicy="Parallel"), [])) == ["+db-0", "+db-1", "+db-2"]


def test_a_new_template_replaces_pods_from_the_highest_ordinal() -> None:
    pods = grow(stateful_set(2), ready=2)
    assert names(writes(stateful_set(2, image="two"), pods)) == ["-db-1"]
    assert names(writes(stateful_set(2, image="two", updateStrategy={"type": "OnDelete"}), pods)) == []


def test_nothing_more_happens_while_a_pod_is_leaving() -> None:
    owner = stateful_set(1)
    pods = grow(stateful_set(3), ready=3)
    pods[2]["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert names(writes(owner, pods)) == []

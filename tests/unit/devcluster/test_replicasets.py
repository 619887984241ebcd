from datetime import timedelta

import pytest

from protoqueue_devcluster.controllers.actions import Create, Delete
from protoqueue_devcluster.controllers.pods import deletion_order, format_time
from protoqueue_devcluster.controllers.replicasets import plan_replica_set
from protoqueue_devcluster.kube.client import Object
from unit.devcluster.cluster_in_memory import START


def replica_set(replicas: int, **spec: object) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}
    metadata = {"name": "web-x", "namespace": "default", "uid": "rs", "generation": 2}
    return {"metadata": metadata, "spec": {"replicas": replicas, "template": template, **spec}, "status": {}}


def pod(
    name: str,
    *,
    node: str | None = "node",
    phase: str = "Running",
    ready_s: float | None = 0,
    cost: str | None = None,
    restarts: int = 0,
    created_s: float = 0,
) -> Object:
    """A pod that has been ready since `ready_s` seconds after the start; None: not ready."""
    conditions = []
    if ready_s is not None:
        since = format_time(START + timedelta(seconds=ready_s))
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": since})
    annotations = {} if cost is None else {"controller.kubernetes.io/pod-deletion-cost": cost}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": "web"},
            "annotations": annotations,
            "creationTimestamp": format_time(START + timedelta(seconds=created_s)),
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": [{"restartCount": restarts}]},
    }


@pytest.mark.parametrize(
    ("loses", "keeps"),
    [
        (pod("a", node=None, phase="Pending", ready_s=None), pod("b")),
        (pod("a", phase="Pending", ready_s=None), pod("b", ready_s=None)),
        (pod("a", ready_s=None, cost="100"), pod("b", cost="-100")),
        (pod("a", cost="-5"), pod("b")),
        (pod("a"), pod("b", cost="7")),
        (pod("a", cost="not a number"), pod("b", cost="1")),
        (pod("a", ready_s=60), pod("b", ready_s=0)),
        (pod("a", restarts=3), pod("b", restarts=1)),
        (pod("a", created_s=60), pod("b", created_s=0)),
    ],
    ids=["unassigned", "pending", "not ready beats cost", "cost", "no cost is zero", "bad cost is zero", "ready last",
         "restarts", "youngest"],
)  # fmt: skip
def test_the_pod_to_lose_first_is_chosen_by_kubernetes_rules(loses: Object, keeps: Object) -> None:
    assert min([keeps, loses], key=deletion_order) is loses
    plan = plan_replica_set(replica_set(1), [keeps, loses], START)
    assert [action.target for action in plan.actions if isinstance(action, Delete)] == [loses]


def test_missing_pods_are_made_from_the_template_with_generated_names() -> None:
    plan = plan_replica_set(replica_set(3), [pod("one")], START)
    made = [action.body for action in plan.actions if isinstance(action, Create)]
    assert len(made) == 2
    assert made[0]["metadata"]["generateName"] == "web-x-"
    assert made[0]["metadata"]["ownerReferences"][0]["uid"] == "rs"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_is_replaced(phase: str) -> None:
    plan = plan_replica_set(replica_set(1), [pod("one", phase=phase)], START)
    assert sum(isinstance(action, Create) for action in plan.actions) == 1


def test_a_leaving_pod_is_replaced_and_counted_as_terminating() -> None:
    leaving = pod("one")
    leaving["metadata"]["deletionTimestamp"] = format_time(START)
    create, status = plan_replica_set(replica_set(1), [leaving], START).actions
    assert isinstance(create, Create)
    assert status.patch["status"] == {"replicas": 0, "terminatingReplicas": 1, "observedGeneration": 2}  # type: ignore[union-attr]


def test_a_pod_is_available_after_min_ready_seconds_and_not_before() -> None:
    rs = replica_set(1, minReadySeconds=10)
    plan = plan_replica_set(rs, [pod("one", ready_s=0)], START + timedelta(seconds=4))
    assert plan.look_again_s == 6
    assert plan.actions[0].patch["status"].get("availableReplicas") is None  # type: ignore[union-attr]
    plan = plan_replica_set(rs, [pod("one", ready_s=0)], START + timedelta(seconds=10))
    assert plan.look_again_s is None
    assert plan.actions[0].patch["status"]["availableReplicas"] == 1  # type: ignore[union-attr]


def test_a_replica_set_in_order_plans_nothing() -> None:
    rs = replica_set(1)
    rs["status"] = {
        "replicas": 1, "fullyLabeledReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 2,
    }  # fmt: skip
    assert plan_replica_set(rs, [pod("one")], START).actions == ()


def test_a_replica_set_being_deleted_makes_no_pods() -> None:
    rs = replica_set(2)
    rs["metadata"]["deletionTimestamp"] = format_time(START)
    assert not any(isinstance(action, Create) for action in plan_replica_set(rs, [], START).actions)

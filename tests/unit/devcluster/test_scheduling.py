from typing import Any

import pytest

from protoqueue_devcluster.controllers.scheduling import fits, plan_binding
from protoqueue_devcluster.kube.client import Object

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def node(name: str = "n", *, ready: bool = True, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": {"conditions": conditions}}


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": spec}


@pytest.mark.parametrize(
    ("wanting", "offered", "expected"),
    [
        (pod(), node(), True),
        (pod(), node(ready=False), False),
        (pod(), node(unschedulable=True), False),
        (pod(nodeSelector={"a": "b"}), node(), False),
        (pod(nodeSelector={"a": "b"}), node(labels={"a": "b"}), True),
        (pod(), node(taints=[TAINT]), False),
        (pod(tolerations=[{"operator": "Exists"}]), node(taints=[TAINT]), True),
        (pod(tolerations=[{"key": "k", "operator": "Equal", "value": "v"}]), node(taints=[TAINT]), True),
        (pod(tolerations=[{"key": "k", "value": "other"}]), node(taints=[TAINT]), False),
        (pod(tolerations=[{"key": "k", "operator": "Exists", "effect": "NoExecute"}]), node(taints=[TAINT]), False),
        (pod(), node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]), True),
    ],
)
def test_a_node_takes_what_its_labels_state_and_taints_allow(wanting: Object, offered: Object, expected: bool) -> None:
    assert fits(wanting, offered) is expected


def test_a_pod_goes_to_the_node_with_the_fewest_pods() -> None:
    (create,) = plan_binding(pod(), [node("full"), node("idle")], [pod(nodeName="full")])
    assert (create.name, create.subresource, create.body["target"]["name"]) == ("p", "binding", "idle")  # type: ignore[union-attr]


@pytest.mark.parametrize("settled", [pod(nodeName="n"), pod(schedulingGates=[{"name": "wait"}])])
def test_bound_and_gated_pods_are_left_alone(settled: Object) -> None:
    assert plan_binding(settled, [node()], []) == ()

"""What the admission policies let the operator do, by their own expressions: RBAC cannot say it."""

import copy
from typing import Any

import pytest

from chart.rendering import Object, Values, render
from protoqueue_devcluster.apiserver.rules import cel  # loaded once in a process

ACCOUNT = "system:serviceaccount:queues:pq-protoqueue"
COST = "controller.kubernetes.io/pod-deletion-cost"


def policies(values: Values) -> list[Object]:
    return [each for each in render(values) if each["kind"] == "ValidatingAdmissionPolicy"]


def holds(expression: str, variables: dict[str, Any]) -> bool:
    return bool(cel.compile(expression).execute(cel.Context(variables)))


def refusals(
    resource: str,
    operation: str,
    new: Object | None,
    old: Object | None,
    user: str = ACCOUNT,
    namespace: str = "orders",
) -> list[str]:
    """What the policies have against a request of a user's."""
    request = {"operation": operation, "userInfo": {"username": user}, "namespace": namespace}
    variables = {"request": request, "object": new, "oldObject": old}
    found = []
    for policy in policies({"namespaces": ["orders"]}):
        rules = policy["spec"]["matchConstraints"]["resourceRules"]
        kinds = {kind for rule in rules if operation in rule["operations"] for kind in rule["resources"]}
        groups = {group for rule in rules for group in rule["apiGroups"]}
        ours = "protoqueue.dev" in groups and resource == "queues"
        if not (resource in kinds or ours):
            continue
        if not all(holds(each["expression"], variables) for each in policy["spec"]["matchConditions"]):
            continue
        found += [each["message"] for each in policy["spec"]["validations"] if not holds(each["expression"], variables)]
    return found


def deployment(owner: str | None = "ConsumerGroup", name: str = "mailers", owned_by: str = "mailers") -> Object:
    metadata: Object = {"name": name}
    if owner:
        version = "protoqueue.dev/v1alpha1" if owner == "ConsumerGroup" else "example.com/v1"
        metadata["ownerReferences"] = [{"apiVersion": version, "kind": owner, "name": owned_by, "controller": True}]
    return {"metadata": metadata, "spec": {"replicas": 1}}


OURS, THEIRS, ANOTHERS = deployment(), deployment(None), deployment("Machine")


@pytest.mark.parametrize(
    ("operation", "new", "old", "is_allowed"),
    [
        ("CREATE", OURS, None, True),
        ("UPDATE", OURS, OURS, True),
        ("DELETE", None, OURS, True),
        ("CREATE", THEIRS, None, False),
        ("CREATE", ANOTHERS, None, False),
        ("CREATE", deployment(name="coredns"), None, False),
        ("UPDATE", THEIRS, THEIRS, False),
        ("UPDATE", OURS, THEIRS, False),  # nor taken over
        ("UPDATE", THEIRS, OURS, False),
        ("DELETE", None, THEIRS, False),
        ("DELETE", None, ANOTHERS, False),
    ],
)
def test_the_operator_writes_no_deployment_but_those_of_groups(
    operation: str, new: Object | None, old: Object | None, is_allowed: bool
) -> None:
    assert (refusals("deployments", operation, new, old) == []) is is_allowed
    assert refusals("deployments", operation, new, old, user="system:serviceaccount:kube-system:another") == []


def pod(**changes: Any) -> Object:
    owners = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "mailers-1", "controller": True}]
    metadata = {"name": "mailers-1-a", "labels": {"a": "b"}, "annotations": {"note": "x"}, "ownerReferences": owners}
    made: Object = {"metadata": metadata, "spec": {"containers": [{"name": "worker", "image": "mailer"}]}}
    for name, value in changes.items():
        part = made["spec"] if name == "containers" else metadata
        if value is None:
            del part[name]
        else:
            part[name] = value
    return copy.deepcopy(made)


@pytest.mark.parametrize(
    ("new", "old", "is_allowed"),
    [
        (pod(annotations={"note": "x", COST: "5"}), pod(), True),
        (pod(annotations={"note": "x", COST: "6"}), pod(annotations={"note": "x", COST: "5"}), True),
        (pod(), pod(annotations={"note": "x", COST: "5"}), True),
        (pod(annotations={COST: "5"}), pod(annotations=None), True),
        (pod(annotations={"note": "x", "other": "y"}), pod(), False),
        (pod(annotations={"note": "y"}), pod(), False),
        (pod(annotations=None), pod(), False),
        (pod(labels={"a": "c"}), pod(), False),
        (pod(labels=None), pod(), False),
        (pod(), pod(labels=None), False),
        (pod(labels=None, annotations={COST: "1"}), pod(labels=None, annotations=None), True),
        (pod(ownerReferences=None), pod(), False),
        (pod(finalizers=["mine"]), pod(), False),
        (pod(containers=[{"name": "worker", "image": "evil"}]), pod(), False),
    ],
)
def test_the_operator_sets_one_annotation_of_pods_and_nothing_else(new: Object, old: Object, is_allowed: bool) -> None:
    assert (refusals("pods", "UPDATE", new, old) == []) is is_allowed
    assert refusals("pods", "UPDATE", new, old, user="system:node:one") == []


def test_an_operator_of_named_namespaces_patches_its_kinds_in_these_alone() -> None:
    assert refusals("queues", "UPDATE", OURS, OURS, namespace="orders") == []
    assert refusals("queues", "UPDATE", OURS, OURS, namespace="elsewhere") == [
        "this operator serves the namespaces orders"
    ]
    names = [each["metadata"]["name"] for each in policies({})]
    assert names == ["queues-pq-protoqueue-deployments", "queues-pq-protoqueue-pods"], "one of all has no need of it"


def test_every_policy_is_bound_and_denies_and_can_be_left_out() -> None:
    objects = render({"namespaces": ["orders"]})
    bindings = [each["spec"] for each in objects if each["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert [each["policyName"] for each in bindings] == [
        each["metadata"]["name"] for each in policies({"namespaces": ["orders"]})
    ]
    assert all(each["validationActions"] == ["Deny"] for each in bindings)
    assert policies({"rbac": {"admissionPolicy": False}}) == []

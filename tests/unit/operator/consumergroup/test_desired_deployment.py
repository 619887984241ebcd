from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.deployment import parse_deployment
from protoqueue_operator.api.v1alpha1.errors import ForeignAsset
from protoqueue_operator.api.v1alpha1.labels import APPLIED_ANNOTATION, worker_selector
from protoqueue_operator.consumergroup.desired_deployment import (
    MIN_READY_S,
    WorkerConnection,
    check_ownership,
    desired_deployment,
    is_as_desired,
    is_superfluous,
)
from protoqueue_operator.nats.credentials import Credentials
from unit.operator.samples import group, metadata

HERE = WorkerConnection("nats://here")
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"team": "mail"}, "annotations": {"a": "b"}},
    "spec": {
        "terminationGracePeriodSeconds": 5,
        "containers": [
            {"name": "worker", "image": "mail", "env": [{"name": "PROTOQUEUE_NATS_URL", "value": "nats://own"}]},
            {"name": "helper", "image": "help"},
        ],
    },
}


def environment(deployment: dict[str, Any], container: int) -> dict[str, str]:
    env = deployment["spec"]["template"]["spec"]["containers"][container]["env"]
    assert len(env) == len({variable["name"] for variable in env})
    return {variable["name"]: variable["value"] for variable in env}


def live(**fields: Any) -> dict[str, Any]:
    return {
        "metadata": metadata("mailers", **fields),
        "spec": {"replicas": 4},
        "status": {"replicas": 3, "availableReplicas": 2},
    }


def test_every_container_learns_where_its_queue_is_and_what_the_user_set_wins() -> None:
    made = desired_deployment(group(), TEMPLATE, HERE, None)
    assert environment(made, 1) == {
        "PROTOQUEUE_NATS_URL": "nats://here",
        "PROTOQUEUE_QUEUE": "default/email",
        "PROTOQUEUE_GROUP": "mailers",
        "PROTOQUEUE_GRACE_PERIOD": "5",
    }
    assert environment(made, 0)["PROTOQUEUE_NATS_URL"] == "nats://own"


@pytest.mark.parametrize(("stated", "told"), [({}, "30"), ({"terminationGracePeriodSeconds": 0}, "0")])
def test_workers_learn_how_long_their_pod_has_to_stop(stated: dict[str, Any], told: str) -> None:
    template = {"spec": {"containers": [{"name": "worker", "image": "i"}], **stated}}
    assert environment(desired_deployment(group(), template, HERE, None), 0)["PROTOQUEUE_GRACE_PERIOD"] == told


def test_the_users_template_is_kept_and_the_selector_finds_its_pods() -> None:
    made = desired_deployment(group(), TEMPLATE, HERE, None)
    pod = made["spec"]["template"]
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["metadata"]["labels"]["team"] == "mail"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 5
    wanted = made["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= pod["metadata"]["labels"].items()
    assert worker_selector("mailers") == ",".join(f"{name}={value}" for name, value in wanted.items())
    assert TEMPLATE["metadata"]["labels"] == {"team": "mail"}, "the specification itself is not touched"


def test_replicas_are_left_to_the_scale_subresource_unless_the_apply_holds_them() -> None:
    assert "replicas" not in desired_deployment(group(), TEMPLATE, HERE, None)["spec"]
    assert desired_deployment(group(), TEMPLATE, HERE, 0)["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("manager", "operation", "fields", "holds"),
    [
        ("protoqueue-operator", "Apply", {"f:spec": {"f:replicas": {}}}, True),
        ("protoqueue-operator", "Apply", {"f:spec": {"f:template": {}}}, False),
        ("protoqueue-operator", "Update", {"f:spec": {"f:replicas": {}}}, False),
        ("kubectl", "Apply", {"f:spec": {"f:replicas": {}}}, False),
    ],
)
def test_who_holds_replicas_is_read_from_the_managed_fields(
    manager: str, operation: str, fields: dict[str, Any], holds: bool
) -> None:
    managed = [{"manager": manager, "operation": operation, "fieldsV1": fields}]
    assert parse_deployment(live(managedFields=managed)).applies_replicas is holds


def test_the_group_controls_its_deployment_and_no_other() -> None:
    made = desired_deployment(group(), TEMPLATE, HERE, None)
    owned = parse_deployment(live(ownerReferences=made["metadata"]["ownerReferences"]))
    check_ownership(group(), owned)
    check_ownership(group(), None)
    assert (owned.replicas, owned.observed_replicas, owned.available_replicas) == (4, 3, 2)
    with pytest.raises(ForeignAsset, match="scaleTargetRef"):
        check_ownership(group(), parse_deployment(live()))


def as_applied(desired: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A Deployment as it is after that apply, of which all fields count as one."""
    entry = {
        "manager": "protoqueue-operator",
        "operation": "Apply",
        "fieldsV1": {"f:metadata": {}, "f:spec": {"f:minReadySeconds": {}, "f:selector": {}, "f:template": {}}},
    }
    stated = {name: desired["metadata"][name] for name in ("annotations", "ownerReferences")}
    return live(**{**stated, "managedFields": [entry], **fields})


def test_what_was_applied_is_known_again_whatever_its_size() -> None:
    desired = desired_deployment(group(), TEMPLATE, HERE, None)
    applied = parse_deployment(as_applied(desired_deployment(group(), TEMPLATE, HERE, 3)))
    assert is_as_desired(applied, group(), desired)


@pytest.mark.parametrize(
    ("conditions", "trouble"),
    [
        (None, None),
        ([{"type": "Progressing", "status": "True", "message": "fine"}], None),
        ([{"type": "Available", "status": "False", "message": "not yet"}], None),
        ([{"type": "ReplicaFailure", "status": "False", "message": "was once"}], None),
        ([{"type": "Progressing", "status": "False", "message": "timed out"}], "timed out"),
        (
            [
                {"type": "Progressing", "status": "False", "message": "timed out"},
                {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"},
            ],
            "violates PodSecurity",
        ),
    ],
)
def test_what_keeps_pods_from_coming_up_is_read_from_the_conditions(
    conditions: list[dict[str, str]] | None, trouble: str | None
) -> None:
    assert parse_deployment({**live(), "status": {"conditions": conditions}}).trouble == trouble


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": {}},
        {"annotations": {APPLIED_ANNOTATION: "of another template"}},
        {"ownerReferences": []},
        {"managedFields": []},
    ],
)
def test_a_deployment_of_another_making_or_that_was_changed_is_not_as_desired(change: dict[str, Any]) -> None:
    desired = desired_deployment(group(), TEMPLATE, HERE, None)
    assert not is_as_desired(parse_deployment(as_applied(desired, **change)), group(), desired)


def test_another_template_or_another_connection_is_another_application() -> None:
    made = [
        desired_deployment(group(), TEMPLATE, HERE, None),
        desired_deployment(group(), {**TEMPLATE, "metadata": {}}, HERE, None),
        desired_deployment(group(), TEMPLATE, WorkerConnection("nats://there"), None),
    ]
    assert len({each["metadata"]["annotations"][APPLIED_ANNOTATION] for each in made}) == 3


def test_credentials_come_as_a_mounted_secret_and_never_as_text() -> None:
    credentials = Credentials(("nats://a",), creds="hidden", ca="CA")
    made = desired_deployment(group(), TEMPLATE, WorkerConnection("", "account", credentials, digest="77"), None)
    pod = made["spec"]["template"]["spec"]
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"a": "b", "protoqueue.dev/nats-secret-digest": "77"}, "another digest is another pod"
    helper = pod["containers"][1]
    env = {variable["name"]: variable for variable in helper["env"]}
    assert env["PROTOQUEUE_NATS_URL"]["valueFrom"] == {"secretKeyRef": {"name": "account", "key": "url"}}
    assert env["PROTOQUEUE_NATS_CREDS"]["value"] == "/etc/protoqueue/nats/creds"
    assert env["PROTOQUEUE_NATS_CA"]["value"] == "/etc/protoqueue/nats/ca.crt"
    assert helper["volumeMounts"] == [
        {"name": "protoqueue-nats", "mountPath": "/etc/protoqueue/nats", "readOnly": True}
    ]
    assert pod["volumes"] == [{"name": "protoqueue-nats", "secret": {"secretName": "account"}}]
    assert "hidden" not in str(made)


@pytest.mark.parametrize(
    ("worker", "owner", "superfluous"),
    [
        (None, "uid-of-mailers", True),
        ({"scaleTargetRef": {"name": "existing"}}, "uid-of-mailers", True),
        ({"scaleTargetRef": {"kind": "StatefulSet", "name": "mailers"}}, "uid-of-mailers", True),
        ({"scaleTargetRef": {"name": "mailers"}}, "uid-of-mailers", False),
        ({"template": TEMPLATE}, "uid-of-mailers", False),
        (None, "somebody-else", False),
        (None, None, False),
    ],
)
def test_only_a_deployment_of_its_own_that_nothing_asks_for_is_superfluous(
    worker: dict[str, Any] | None, owner: str | None, superfluous: bool
) -> None:
    made = group(worker=worker)
    assert isinstance(made.spec, ConsumerGroupSpec)
    owners = [{"uid": owner, "controller": True}] if owner else []
    deployment = parse_deployment({"metadata": metadata("mailers", ownerReferences=owners), "spec": {}})
    assert is_superfluous(deployment, made, made.spec) is superfluous


def test_a_worker_counts_as_available_once_it_has_run_for_a_moment() -> None:
    assert desired_deployment(group(), TEMPLATE, HERE, None)["spec"]["minReadySeconds"] == MIN_READY_S


def test_workers_log_in_by_a_secret_of_their_own_and_never_see_the_operators() -> None:
    made = desired_deployment(group(), TEMPLATE, WorkerConnection("nats://here", "mailers"), None)
    pod = made["spec"]["template"]["spec"]
    assert environment(made, 1) | {
        "PROTOQUEUE_NATS_URL": "nats://here",
        "PROTOQUEUE_NATS_SECRET_DIR": "/etc/protoqueue/nats",
    } == environment(made, 1)
    assert [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] == ["mailers"]

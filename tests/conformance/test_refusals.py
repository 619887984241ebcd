"""Built-in objects that no server stores, and which fields it names."""

from typing import Any

import pytest

from conformance.kubeapi import MERGE, Api
from waiting import eventually

Object = dict[str, Any]
INVALID, REQUIRED = "FieldValueInvalid", "FieldValueRequired"
DUPLICATE, UNSUPPORTED = "FieldValueDuplicate", "FieldValueNotSupported"
CONTAINER = {"name": "c", "image": "x"}
POD = "spec.template.spec"


def workload(*containers: Object, **fields: Any) -> Object:
    """A Deployment of these containers; `pod` are fields of the pod's spec, all others of the Deployment's."""
    pod = {"containers": list(containers) or [CONTAINER], **fields.pop("pod", {})}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template, **fields}
    return {"metadata": {"name": "d"}, "spec": spec}


def container(**fields: Any) -> Object:
    return {**CONTAINER, **fields}


@pytest.mark.parametrize(
    ("body", "causes"),
    [
        (workload(replicas=-1), [("spec.replicas", INVALID)]),
        (workload(selector={}), [("spec.selector", INVALID)]),
        (workload(selector={"matchLabels": {"z": "b"}}), [("spec.template.metadata.labels", INVALID)]),
        (workload({"name": "c"}), [(f"{POD}.containers[0].image", REQUIRED)]),
        (workload(container(name="C_c")), [(f"{POD}.containers[0].name", INVALID)]),
        (workload(CONTAINER, CONTAINER), [(f"{POD}.containers[1].name", DUPLICATE)]),
        (
            workload(container(ports=[{"containerPort": 70000}])),
            [(f"{POD}.containers[0].ports[0].containerPort", INVALID)],
        ),
        (
            workload(container(volumeMounts=[{"name": "no", "mountPath": "/x"}])),
            [(f"{POD}.containers[0].volumeMounts[0].name", "FieldValueNotFound")],
        ),
        (
            workload(
                container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}])
            ),
            [(f"{POD}.containers[0].env[0].valueFrom", INVALID)],
        ),
        (workload(container(livenessProbe={})), [(f"{POD}.containers[0].livenessProbe", REQUIRED)]),
        (
            workload(container(resources={"limits": {"cpu": "500m"}, "requests": {"cpu": "2"}})),
            [(f"{POD}.containers[0].resources.requests", INVALID)],
        ),
        (
            workload(pod={"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]}),
            [(f"{POD}.volumes[1].name", DUPLICATE)],
        ),
        (workload(pod={"restartPolicy": "Never"}), [(f"{POD}.restartPolicy", UNSUPPORTED)]),
    ],
)
async def test_a_deployment_whose_pods_could_not_run_is_refused(
    api: Api, namespace: str, body: Object, causes: list[tuple[str, str]]
) -> None:
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", body)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.causes == causes


async def test_a_stateful_set_may_mount_what_it_claims_for_each_of_its_pods(api: Api, namespace: str) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = workload(
        container(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        serviceName="d",
        volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": claim}],
    )
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/statefulsets", body)
    assert reply.status == 201


async def test_a_pod_is_held_to_the_same_rules_and_may_end(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    fine = {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    refused = {**fine, "spec": {"containers": [container(image="")], "restartPolicy": "Sometimes"}}
    assert sorted((await api.post(path, refused)).causes) == [
        ("spec.containers[0].image", REQUIRED),
        ("spec.restartPolicy", UNSUPPORTED),
    ]

    async def accepted() -> bool:
        return (await api.post(path, fine)).status == 201

    await eventually(accepted)  # real namespaces get the service account of their pods a moment later


@pytest.mark.parametrize(
    ("plural", "body", "causes"),
    [
        ("configmaps", {"data": {"a b": "x"}}, [("data[a b]", INVALID)]),
        ("configmaps", {"data": {"k": "x"}, "binaryData": {"k": "AA=="}}, [("data[k]", INVALID)]),
        ("secrets", {"type": "kubernetes.io/tls"}, [("data[tls.crt]", REQUIRED), ("data[tls.key]", REQUIRED)]),
        (
            "secrets",
            {"type": "kubernetes.io/basic-auth"},
            [("data[username]", REQUIRED), ("data[password]", REQUIRED)],
        ),
        ("secrets", {"type": "kubernetes.io/dockerconfigjson"}, [("data[.dockerconfigjson]", REQUIRED)]),
    ],
)
async def test_keys_of_settings_and_secrets_are_checked(
    api: Api, namespace: str, plural: str, body: Object, causes: list[tuple[str, str]]
) -> None:
    reply = await api.post(f"/api/v1/namespaces/{namespace}/{plural}", {"metadata": {"name": "x"}, **body})
    assert (reply.status, reply.causes) == (422, causes)


@pytest.mark.parametrize(("plural", "field"), [("configmaps", "binaryData"), ("secrets", "data")])
async def test_what_is_not_base64_is_a_bad_request(api: Api, namespace: str, plural: str, field: str) -> None:
    reply = await api.post(f"/api/v1/namespaces/{namespace}/{plural}", {"metadata": {"name": "x"}, field: {"k": "?"}})
    assert reply.status == 400
    assert "illegal base64 data" in reply.message


ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}


@pytest.mark.parametrize(
    ("plural", "body", "causes"),
    [
        ("roles", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, [("rules[0].verbs", REQUIRED)]),
        (
            "roles",
            {"rules": [{"verbs": ["get"]}]},
            [("rules[0].apiGroups", REQUIRED), ("rules[0].resources", REQUIRED)],
        ),
        (
            "roles",
            {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]},
            [("rules[0].nonResourceURLs", INVALID)],
        ),
        ("rolebindings", {"roleRef": {**ROLE_REF, "kind": "Rolle"}}, [("roleRef.kind", UNSUPPORTED)]),
        ("rolebindings", {}, [("roleRef.kind", UNSUPPORTED), ("roleRef.name", REQUIRED)]),
        (
            "rolebindings",
            {"roleRef": ROLE_REF, "subjects": [{"kind": "Robot", "name": "x"}]},
            [("subjects[0].kind", UNSUPPORTED)],
        ),
    ],
)
async def test_roles_and_bindings_are_checked(
    api: Api, namespace: str, plural: str, body: Object, causes: list[tuple[str, str]]
) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{plural}"
    reply = await api.post(path, {"metadata": {"name": "r"}, **body})
    assert (reply.status, reply.causes) == (422, causes)


async def test_a_lease_counts_in_positive_seconds(api: Api, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    reply = await api.post(
        path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 0}}
    )
    assert (reply.status, reply.causes) == (422, [("spec.leaseDurationSeconds", INVALID)])
    await api.post(path, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 9}})
    reply = await api.patch(f"{path}/l", {"spec": {"leaseTransitions": -1}}, MERGE)
    assert (reply.status, reply.causes) == (422, [("spec.leaseTransitions", INVALID)])


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00Z", "yesterday"])
async def test_times_of_a_lease_have_microseconds(api: Api, namespace: str, time: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    reply = await api.post(path, {"metadata": {"name": "l"}, "spec": {"renewTime": time}})
    assert reply.status == 400
    assert f'parsing time "{time}" as "2006-01-02T15:04:05.000000Z07:00"' in reply.message


async def test_an_event_is_in_the_namespace_it_tells_of(api: Api, namespace: str) -> None:
    events = f"/api/v1/namespaces/{namespace}/events"
    for index, involved in enumerate([{"kind": "Pod", "namespace": "default"}, {"kind": "Node"}]):
        reply = await api.post(events, {"metadata": {"name": f"e{index}"}, "involvedObject": {"name": "x", **involved}})
        assert (reply.status, reply.causes) == (422, [("involvedObject.namespace", INVALID)])


async def test_the_selector_of_a_pods_node_is_owned_as_a_whole(api: Api, namespace: str) -> None:
    body = workload(pod={"nodeSelector": {"disk": "fast"}})
    created = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", body)
    (mine,) = created.metadata["managedFields"]
    assert mine["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:nodeSelector"] == {}

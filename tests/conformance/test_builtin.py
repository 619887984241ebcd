"""Built-in kinds: their defaults and their particular rules."""

import base64
from typing import Any

import pytest

from conformance.kubeapi import STRATEGIC, Api


def workload(kind: str = "Deployment", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    body = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w"}, "spec": body}


async def test_a_deployment_gets_its_defaults(api: Api, namespace: str) -> None:
    body = workload()
    del body["spec"]["replicas"]
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All", body)
    assert reply.status == 201
    spec = reply.body["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "x",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }


async def test_ownership_of_a_deployment_leaves_out_its_skeleton(api: Api, namespace: str) -> None:
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", workload())
    (entry,) = reply.metadata["managedFields"]
    spec = entry["fieldsV1"]["f:spec"]
    assert "." not in spec
    assert spec["f:selector"] == {}
    assert spec["f:strategy"] == {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}}
    containers = spec["f:template"]["f:spec"]["f:containers"]
    assert set(containers) == {'k:{"name":"c"}'}
    assert containers['k:{"name":"c"}']["f:image"] == {}


async def test_a_selector_cannot_change(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    await api.post(path, workload())
    reply = await api.patch(f"{path}/w", {"spec": {"selector": {"matchLabels": {"a": "c"}}}})
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.message == (
        'Deployment.apps "w" is invalid: [spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not '
        'match template `labels`, spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable]'
    )


async def test_a_selector_must_select_the_template(api: Api, namespace: str) -> None:
    body = workload(selector={"matchLabels": {"a": "other"}})
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", body)
    assert reply.causes == [("spec.template.metadata.labels", "FieldValueInvalid")]


async def test_a_required_field_of_a_built_in_kind_is_named(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    reply = await api.post(path, {"metadata": {"name": "p"}, "spec": {"containers": []}})
    assert ("spec.containers", "FieldValueRequired") in reply.causes


async def test_unknown_fields_of_a_built_in_kind_are_refused_strictly(api: Api, namespace: str) -> None:
    body = workload(bogus=1)
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments?fieldValidation=Strict", body)
    assert reply.status == 400
    assert 'strict decoding error: unknown field "spec.bogus"' in reply.message


async def test_a_wrong_type_in_a_built_in_kind_is_a_bad_request(api: Api, namespace: str) -> None:
    reply = await api.post(f"/apis/apps/v1/namespaces/{namespace}/deployments", workload(replicas="three"))
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert "cannot unmarshal" in reply.message


async def test_a_status_update_of_a_deployment_leaves_its_spec(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    await api.post(path, workload(paused=True))
    reply = await api.patch(f"{path}/w/status", {"spec": {"replicas": 9}, "status": {"observedGeneration": 1}})
    assert reply.body["spec"]["replicas"] == 0
    assert reply.metadata["generation"] == 1


async def test_conditions_merge_by_type(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
    await api.post(path, workload("StatefulSet", serviceName="s"))
    for kind in ("One", "Two"):
        condition = {"type": kind, "status": "True"}
        await api.patch(f"{path}/w/status", {"status": {"conditions": [condition]}}, STRATEGIC)
    conditions = (await api.get(f"{path}/w")).body["status"]["conditions"]
    assert {each["type"] for each in conditions} == {"One", "Two"}


async def test_a_lease_is_taken_by_the_first_to_write(api: Api, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    lease = (await api.post(path, {"metadata": {"name": "l"}, "spec": spec})).body
    assert lease["spec"] == spec
    taken = await api.put(f"{path}/l", {**lease, "spec": {**spec, "holderIdentity": "b"}})
    assert taken.status == 200
    late = await api.put(f"{path}/l", {**lease, "spec": {**spec, "holderIdentity": "c"}})
    assert (late.status, late.reason) == (409, "Conflict")


async def test_string_data_of_a_secret_becomes_data(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    reply = await api.post(path, {"metadata": {"name": "s"}, "stringData": {"url": "nats://x"}})
    assert reply.body["data"] == {"url": base64.b64encode(b"nats://x").decode()}
    assert reply.body["type"] == "Opaque"
    assert "stringData" not in reply.body
    patched = await api.patch(f"{path}/s", {"stringData": {"user": "u"}})
    assert set(patched.body["data"]) == {"url", "user"}


async def test_an_immutable_config_map_stays(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.post(path, {"metadata": {"name": "m"}, "data": {"a": "1"}, "immutable": True})
    assert (await api.patch(f"{path}/m", {"data": {"a": "2"}})).status == 422


@pytest.fixture
async def events(api: Api, namespace: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/events"
    for name, kind in (("one", "Widget"), ("two", "Gadget")):
        involved = {
            "apiVersion": "example.com/v1",
            "kind": kind,
            "name": name,
            "namespace": namespace,
            "uid": f"u-{name}",
        }
        event = {"metadata": {"generateName": "e-"}, "involvedObject": involved, "reason": "Tested", "type": "Normal"}
        assert (await api.post(path, {**event, "message": "hello", "source": {"component": "me"}})).status == 201
    return path


@pytest.mark.parametrize(
    "selector",
    ["involvedObject.name=one", "involvedObject.kind=Widget,reason=Tested", "involvedObject.uid=u-one,type=Normal"],
)
async def test_events_are_found_by_what_they_are_about(api: Api, events: str, selector: str) -> None:
    reply = await api.get(f"{events}?fieldSelector={selector.replace('=', '%3D')}")
    assert [item["involvedObject"]["name"] for item in reply.body["items"]] == ["one"]


async def test_an_event_gets_the_fields_it_always_has(api: Api, events: str) -> None:
    event = (await api.get(events)).body["items"][0]
    assert (event["eventTime"], event["reportingComponent"], event["reportingInstance"]) == (None, "", "")


async def test_access_reviews_answer(api: Api, namespace: str) -> None:
    attributes = {"namespace": namespace, "verb": "list", "resource": "pods"}
    body = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
    reply = await api.post(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {**body, "spec": {"resourceAttributes": attributes}}
    )
    assert (reply.status, reply.body["status"]["allowed"]) == (201, True)


async def test_a_role_binding_keeps_its_role(api: Api, namespace: str) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    await api.post(path, {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]})
    reply = await api.patch(f"{path}/b", {"roleRef": {"name": "edit"}})
    assert (reply.status, reply.reason) == (422, "Invalid")


async def test_a_service_gets_an_address_and_its_defaults(api: Api, namespace: str) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    spec = (await api.post(f"/api/v1/namespaces/{namespace}/services", body)).body["spec"]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "None")
    assert spec["clusterIP"]


async def test_what_a_pod_limits_it_also_requests(api: Api, namespace: str) -> None:
    container = {"name": "c", "image": "x", "resources": {"limits": {"cpu": 1, "memory": "64Mi"}}}
    body = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
    reply = await api.post(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", body)
    assert reply.body["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "64Mi"}


async def test_replacing_a_namespace_keeps_its_finalizers(api: Api, namespace: str) -> None:
    reply = await api.put(f"/api/v1/namespaces/{namespace}", {"metadata": {"name": namespace, "labels": {"a": "b"}}})
    assert reply.metadata["labels"]["a"] == "b"
    assert reply.body["spec"] == {"finalizers": ["kubernetes"]}

"""The status and scale subresources."""

from conformance.kubeapi import Api
from conformance.widgets import Widgets

READY = {"type": "Ready", "status": "True"}


async def test_a_status_patch_leaves_spec_and_generation(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", size=6))
    patch = {"spec": {"size": 9}, "metadata": {"labels": {"a": "b"}}, "status": {"conditions": [READY]}}
    reply = await api.patch(widgets.at("one", "status"), patch)
    assert reply.status == 200
    assert reply.body["status"] == {"conditions": [READY]}
    assert reply.body["spec"]["size"] == 6
    assert reply.metadata["generation"] == 1
    assert "labels" not in reply.metadata


async def test_the_status_is_owned_through_its_subresource(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.patch(widgets.at("one", "status"), {"status": {"conditions": [READY], "replicas": 2}})
    entry = next(each for each in reply.metadata["managedFields"] if each.get("subresource") == "status")
    assert entry["fieldsV1"] == {"f:status": {".": {}, "f:conditions": {}, "f:replicas": {}}}


async def test_the_main_resource_ignores_the_status(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one"))
    reply = await api.patch(widgets.at("one"), {"status": {"replicas": 77}})
    assert reply.status == 200
    assert "status" not in reply.body
    assert reply.metadata["resourceVersion"] == created.metadata["resourceVersion"]


async def test_a_status_is_read_and_replaced(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    await api.put(widgets.at("one", "status"), {**created, "status": {"replicas": 1}})
    assert (await api.get(widgets.at("one", "status"))).body["status"] == {"replicas": 1}


async def test_a_stale_status_update_conflicts(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    await api.patch(widgets.at("one", "status"), {"status": {"replicas": 1}})
    assert (await api.put(widgets.at("one", "status"), {**created, "status": {"replicas": 2}})).status == 409


async def test_scale_shows_wanted_and_observed_replicas(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", replicas=3))
    await api.patch(widgets.at("one", "status"), {"status": {"replicas": 2, "selector": "a=b"}})
    reply = await api.get(widgets.at("one", "scale"))
    assert (reply.body["kind"], reply.body["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert reply.body["spec"] == {"replicas": 3}
    assert reply.body["status"] == {"replicas": 2, "selector": "a=b"}


async def test_scale_of_a_resource_without_replicas_is_an_internal_error(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.get(widgets.at("one", "scale"))
    assert (reply.status, reply.reason) == (500, "InternalError")
    assert reply.message == 'Internal error occurred: the spec replicas field ".spec.replicas" does not exist'


async def test_scaling_writes_the_replicas_and_moves_the_generation(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.patch(widgets.at("one", "scale"), {"spec": {"replicas": 5}})
    assert (reply.status, reply.body["spec"]) == (200, {"replicas": 5})
    stored = await api.get(widgets.at("one"))
    assert stored.body["spec"]["replicas"] == 5
    assert stored.metadata["generation"] == 2


async def test_a_stale_scale_conflicts(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", replicas=1))
    scale = (await api.get(widgets.at("one", "scale"))).body
    await api.patch(widgets.at("one"), {"spec": {"size": 2}})
    assert (await api.put(widgets.at("one", "scale"), {**scale, "spec": {"replicas": 2}})).status == 409


async def test_a_deployment_scales(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await api.post(path, {"metadata": {"name": "d"}, "spec": spec})
    scale = (await api.get(f"{path}/d/scale")).body
    assert (scale["spec"], scale["status"]["selector"]) == ({}, "a=b")
    scaled = await api.put(f"{path}/d/scale", {**scale, "metadata": {"name": "d"}, "spec": {"replicas": 2}})
    assert scaled.body["spec"] == {"replicas": 2}
    assert (await api.get(f"{path}/d")).body["spec"]["replicas"] == 2


async def test_nothing_scales_below_zero(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", replicas=1))
    reply = await api.patch(widgets.at("one", "scale"), {"spec": {"replicas": -1}})
    assert (reply.status, reply.causes) == (422, [(".spec.replicas", "FieldValueInvalid")])

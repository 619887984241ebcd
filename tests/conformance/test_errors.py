"""Requests that make no sense, and requests without credentials."""

from typing import Any

import aiohttp
import pytest

from conformance.kubeapi import Api
from conformance.widgets import Widgets


async def test_an_unknown_path_is_not_found_as_text(api: Api, group: str) -> None:
    unknown = ["/nothing", "/apis/none.example.com", "/apis/none.example.com/v1", "/apis/none.example.com/v1/things"]
    for path in [*unknown, f"/apis/{group}/v9", f"/apis/{group}/v9/widgets"]:
        reply = await api.get(path)
        assert (reply.status, reply.content_type) == (404, "text/plain; charset=utf-8"), path
        assert reply.body == "404 page not found\n"


async def test_what_a_built_in_group_lacks_is_not_found_as_json(api: Api, namespace: str) -> None:
    resources = [f"/api/v1/namespaces/{namespace}/{tail}" for tail in ("nothings", "configmaps/a/status")]
    versions = ["/api/v9", "/apis/apps/v9", f"/apis/apps/v9/namespaces/{namespace}/deployments/a/scale"]
    for path in resources + versions:
        reply = await api.get(path)
        assert (reply.status, reply.reason) == (404, "NotFound")
        assert reply.message == "the server could not find the requested resource"


async def test_built_in_collections_do_not_take_every_method(api: Api, namespace: str) -> None:
    patched = await api.patch(f"/api/v1/namespaces/{namespace}/configmaps", {})
    created = await api.post("/api/v1/configmaps", {"metadata": {"name": "a"}})
    assert (patched.status, created.status) == (405, 405)


async def test_a_custom_resource_says_what_it_is(api: Api, widgets: Widgets) -> None:
    body = widgets.named("x")
    without_kind = await api.post(widgets.path, {**body, "kind": ""})
    assert without_kind.status == 400
    assert "Object 'Kind' is missing in '{" in without_kind.message
    without_version = await api.post(widgets.path, {key: body[key] for key in ("kind", "metadata", "spec")})
    assert without_version.message == (
        f"the API version in the data () does not match the expected API version ({widgets.group}/v1)"
    )


async def test_an_update_needs_a_name(api: Api, widgets: Widgets) -> None:
    reply = await api.put(widgets.path, widgets.named("x"))
    assert (reply.status, reply.message) == (400, "name must be provided")


async def test_a_body_that_is_not_json_is_refused(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, "{not json")
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert reply.message == (
        "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse error: "
        "invalid character 'n' looking for beginning of object key string ({not json)"
    )


async def test_a_body_of_another_version_is_refused(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    assert reply.status == 400
    assert reply.message == (
        f"the API version in the data (v1) does not match the expected API version ({widgets.group}/v1)"
    )


async def test_a_namespace_in_the_body_must_be_that_of_the_path(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("x", {"namespace": "default"}))
    assert reply.message == "the namespace of the provided object does not match the namespace sent on the request"


async def test_an_unknown_content_type_is_refused(api: Api, widgets: Widgets) -> None:
    reply = await api.request("POST", widgets.path, "x", "text/plain")
    assert (reply.status, reply.reason) == (415, "UnsupportedMediaType")


async def test_without_credentials_there_is_no_way_in(api: Api) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    async with (
        aiohttp.ClientSession(headers=wrong) as stranger,  # `api` may hold a client certificate, which is asked first
        stranger.get(f"{api.url}/api/v1/namespaces", ssl=False) as response,
    ):
        body = await response.json()
        assert (response.status, body["reason"]) == (401, "Unauthorized")


async def test_an_object_can_be_sent_as_yaml(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: b\n"
    reply = await api.request("POST", path, text, "application/yaml")
    assert (reply.status, reply.body["data"]) == (201, {"a": "b"})


@pytest.mark.parametrize(
    "metadata", [[], "x", 1, {"labels": {"a": 1}}, {"labels": ["a"]}, {"ownerReferences": {"a": {}}}]
)
async def test_malformed_metadata_is_a_bad_request(api: Api, widgets: Widgets, metadata: Any) -> None:
    body = {**widgets.named("x"), "metadata": metadata or ["x"]}
    if isinstance(metadata, dict):
        body["metadata"] = {"name": "x", **metadata}
    assert (await api.post(widgets.path, body)).status == 400


async def test_malformed_options_and_scales_are_bad_requests(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", replicas=1))
    assert (await api.delete(widgets.at("one"), {"gracePeriodSeconds": "soon"})).status == 400
    assert (await api.delete(widgets.at("one"), {"preconditions": ["x"]})).status == 400
    assert (await api.patch(widgets.at("one", "scale"), {"spec": {"replicas": "many"}})).status in {400, 422}
    assert (await api.get(widgets.at("one"))).status == 200

"""Lists: order, selectors, pages."""

from urllib.parse import quote

import pytest

from conformance.kubeapi import Api
from conformance.widgets import Widgets


@pytest.fixture
async def three(api: Api, widgets: Widgets) -> Widgets:
    for name, label in (("b", "y"), ("a", "x"), ("c", "x")):
        await api.post(widgets.path, widgets.named(name, {"labels": {"l": label}}))
    return widgets


async def test_a_list_is_sorted_and_has_a_version(api: Api, three: Widgets) -> None:
    reply = await api.get(three.path)
    assert reply.body["kind"] == "WidgetList"
    assert reply.names == ["a", "b", "c"]
    newest = max(int(item["metadata"]["resourceVersion"]) for item in reply.body["items"])
    assert int(reply.metadata["resourceVersion"]) >= newest


async def test_items_of_a_custom_resource_say_what_they_are(api: Api, three: Widgets) -> None:
    (item, *_) = (await api.get(three.path)).body["items"]
    assert (item["apiVersion"], item["kind"]) == (f"{three.group}/v1", "Widget")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("l=x", ["a", "c"]),
        ("l==x", ["a", "c"]),
        ("l!=x", ["b"]),
        ("l in (x,z)", ["a", "c"]),
        ("l notin (x)", ["b"]),
        ("l", ["a", "b", "c"]),
        ("!l", []),
        ("l,l!=y", ["a", "c"]),
    ],
)
async def test_labels_select(api: Api, three: Widgets, selector: str, names: list[str]) -> None:
    assert (await api.get(f"{three.path}?labelSelector={quote(selector)}")).names == names


async def test_the_name_selects(api: Api, three: Widgets) -> None:
    assert (await api.get(f"{three.path}?fieldSelector=metadata.name%3Da")).names == ["a"]
    assert (await api.get(f"{three.path}?fieldSelector=metadata.name!%3Da")).names == ["b", "c"]


async def test_other_fields_of_a_custom_resource_do_not_select(api: Api, three: Widgets) -> None:
    reply = await api.get(f"{three.path}?fieldSelector=spec.size%3D6")
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert reply.message == "field label not supported: spec.size"


async def test_pages_make_up_the_list_as_it_was(api: Api, three: Widgets) -> None:
    first = await api.get(f"{three.path}?limit=2")
    assert first.names == ["a", "b"]
    assert first.metadata["remainingItemCount"] == 1
    await api.post(three.path, three.named("d"))
    last = await api.get(f"{three.path}?limit=2&continue={first.metadata['continue']}")
    assert last.names == ["c"]
    assert not last.metadata.get("continue")
    assert last.metadata["resourceVersion"] == first.metadata["resourceVersion"]


async def test_a_continue_token_that_is_none_is_refused(api: Api, three: Widgets) -> None:
    assert (await api.get(f"{three.path}?limit=1&continue=nonsense")).status == 400


async def test_a_list_over_all_namespaces_holds_each(api: Api, three: Widgets) -> None:
    listed = (await api.get(f"/apis/{three.group}/v1/widgets")).body["items"]
    assert {"a", "b", "c"} <= {
        item["metadata"]["name"] for item in listed if item["metadata"]["namespace"] == three.namespace
    }


async def test_metadata_alone_can_be_listed(api: Api, three: Widgets) -> None:
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    reply = await api.get(three.path, Accept=accept)
    assert reply.body["kind"] == "PartialObjectMetadataList"
    assert all("spec" not in item for item in reply.body["items"])


async def test_metadata_of_one_object_come_without_the_rest_of_it(api: Api, widgets: Widgets) -> None:
    secrets = f"/api/v1/namespaces/{widgets.namespace}/secrets"
    await api.post(secrets, {"metadata": {"name": "one"}, "stringData": {"password": "hidden"}})
    await api.post(widgets.path, widgets.named("one"))
    for path in (f"{secrets}/one", widgets.at("one")):
        reply = await api.get(path, Accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        assert (reply.status, reply.content_type) == (200, "application/json")
        assert reply.body.keys() == {"kind", "apiVersion", "metadata"}
        assert (reply.body["kind"], reply.body["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
        assert reply.metadata["resourceVersion"] == (await api.get(path)).metadata["resourceVersion"]


async def test_what_does_not_exist_is_not_found(api: Api, widgets: Widgets) -> None:
    reply = await api.get(widgets.at("none"))
    assert (reply.status, reply.reason) == (404, "NotFound")
    assert reply.message == f'widgets.{widgets.group} "none" not found'
    assert reply.body["details"] == {"name": "none", "group": widgets.group, "kind": "widgets"}

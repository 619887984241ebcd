"""Merge, JSON and strategic merge patches."""

from typing import Any

import pytest

from conformance.kubeapi import JSON_PATCH, STRATEGIC, Api
from conformance.widgets import Widgets


async def test_a_merge_patch_changes_what_it_names(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", size=3, notes={"a": "1", "b": "2"}))
    reply = await api.patch(widgets.at("one"), {"spec": {"size": 4, "notes": {"a": None, "c": "3"}}})
    assert reply.status == 200
    assert reply.body["spec"]["notes"] == {"b": "2", "c": "3"}
    assert reply.body["spec"]["size"] == 4
    assert reply.metadata["generation"] == 2


async def test_a_merge_patch_that_changes_nothing_leaves_the_version(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one", size=3))
    reply = await api.patch(widgets.at("one"), {"spec": {"size": 3}})
    assert reply.metadata["resourceVersion"] == created.metadata["resourceVersion"]


async def test_a_merge_patch_with_a_stale_version_conflicts(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one"))
    await api.patch(widgets.at("one"), {"spec": {"size": 4}})
    stale = {"resourceVersion": created.metadata["resourceVersion"]}
    reply = await api.patch(widgets.at("one"), {"metadata": stale, "spec": {"size": 5}})
    assert (reply.status, reply.reason) == (409, "Conflict")


async def test_a_json_patch_applies_in_order(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    patch = [{"op": "replace", "path": "/spec/size", "value": 6}, {"op": "test", "path": "/spec/mode", "value": "A"}]
    assert (await api.patch(widgets.at("one"), patch, JSON_PATCH)).body["spec"]["size"] == 6


async def test_a_json_patch_whose_test_fails_changes_nothing(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    patch = [{"op": "replace", "path": "/spec/size", "value": 6}, {"op": "test", "path": "/spec/mode", "value": "B"}]
    reply = await api.patch(widgets.at("one"), patch, JSON_PATCH)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert (await api.get(widgets.at("one"))).body["spec"]["size"] == 1


async def test_custom_resources_take_no_strategic_merge_patch(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.patch(widgets.at("one"), {"spec": {"size": 7}}, STRATEGIC)
    assert (reply.status, reply.reason) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in reply.message
    assert STRATEGIC not in reply.message


async def test_a_patch_is_validated(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    assert (await api.patch(widgets.at("one"), {"spec": {"size": 0}})).causes[0] == ("spec.size", "FieldValueInvalid")


async def test_patching_what_does_not_exist_is_not_found(api: Api, widgets: Widgets) -> None:
    assert (await api.patch(widgets.at("none"), {"spec": {"size": 2}})).status == 404


def deployment(**pod: Any) -> dict[str, Any]:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "x", "env": env}], **pod},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "dep"}, "spec": spec}


def container(body: dict[str, Any]) -> dict[str, Any]:
    return body["spec"]["template"]["spec"]["containers"][0]


def patched(**changes: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", **changes}]}}}}


@pytest.fixture
async def path(api: Api, namespace: str) -> str:
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    assert (await api.post(deployments, deployment())).status == 201
    return f"{deployments}/dep"


async def test_a_strategic_patch_merges_lists_by_key(api: Api, path: str) -> None:
    env = [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]
    reply = await api.patch(path, patched(env=env), STRATEGIC)
    assert {each["name"]: each["value"] for each in container(reply.body)["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert container(reply.body)["image"] == "x"


async def test_a_strategic_patch_deletes_list_items(api: Api, path: str) -> None:
    reply = await api.patch(path, patched(env=[{"name": "A", "$patch": "delete"}]), STRATEGIC)
    assert [each["name"] for each in container(reply.body)["env"]] == ["B"]


async def test_a_strategic_patch_replaces_a_list_if_told_to(api: Api, path: str) -> None:
    reply = await api.patch(path, patched(env=[{"$patch": "replace"}, {"name": "Z", "value": "9"}]), STRATEGIC)
    assert container(reply.body)["env"] == [{"name": "Z", "value": "9"}]


async def test_a_strategic_patch_orders_a_list(api: Api, path: str) -> None:
    changes = {
        "env": [{"name": "C", "value": "3"}],
        "$setElementOrder/env": [{"name": "C"}, {"name": "B"}, {"name": "A"}],
    }
    reply = await api.patch(path, patched(**changes), STRATEGIC)
    assert [each["name"] for each in container(reply.body)["env"]] == ["C", "B", "A"]


async def test_a_strategic_patch_retains_only_the_keys_named(api: Api, path: str) -> None:
    strategy = {"$retainKeys": ["type"], "type": "Recreate"}
    reply = await api.patch(path, {"spec": {"strategy": strategy}}, STRATEGIC)
    assert reply.body["spec"]["strategy"] == {"type": "Recreate"}


async def test_a_strategic_patch_deletes_from_a_list_of_primitives(api: Api, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    finalizers = ["example.com/a", "example.com/b"]
    await api.post(maps, {"metadata": {"name": "m", "finalizers": finalizers}})
    directive = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}
    assert (await api.patch(f"{maps}/m", directive, STRATEGIC)).metadata["finalizers"] == ["example.com/b"]
    await api.patch(f"{maps}/m", {"metadata": {"finalizers": None}})


async def test_a_merge_patch_replaces_whole_lists(api: Api, path: str) -> None:
    containers = [{"name": "d", "image": "y"}]
    reply = await api.patch(path, {"spec": {"template": {"spec": {"containers": containers}}}})
    assert [each["name"] for each in reply.body["spec"]["template"]["spec"]["containers"]] == ["d"]


async def test_a_patch_cannot_rename_or_move(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    renamed = await api.patch(widgets.at("one"), {"metadata": {"name": "two"}})
    assert (renamed.status, renamed.message) == (
        400, "the name of the object (two) does not match the name on the URL (one)",
    )  # fmt: skip
    assert (await api.patch(widgets.at("one"), {"metadata": {"namespace": "default"}})).status == 400

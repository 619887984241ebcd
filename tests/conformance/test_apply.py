"""Server-side apply: shared ownership, conflicts, and dropping what one no longer names."""

from typing import Any

from conformance.kubeapi import APPLY, Api, Reply
from conformance.widgets import Widgets


def owned(reply: Reply) -> dict[tuple[str, str], Any]:
    """The fields of each manager and operation."""
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in reply.metadata["managedFields"]}


async def test_apply_creates_and_owns_what_it_names_but_no_defaults(api: Api, widgets: Widgets) -> None:
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=2, items=[{"name": "x", "v": 1}]), "alice")
    assert reply.status == 201
    assert reply.body["spec"]["mode"] == "A"
    item = {".": {}, "f:name": {}, "f:v": {}}
    assert owned(reply) == {("alice", "Apply"): {"f:spec": {"f:items": {'k:{"name":"x"}': item}, "f:size": {}}}}


async def test_managers_share_a_keyed_list(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2, items=[{"name": "x", "v": 1}]), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", items=[{"name": "y", "v": 2}]), "bob")
    assert reply.status == 200
    assert reply.body["spec"]["items"] == [{"name": "x", "v": 1}, {"name": "y", "v": 2}]
    assert set(owned(reply)) == {("alice", "Apply"), ("bob", "Apply")}


async def test_another_value_for_an_owned_field_conflicts(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=8), "bob")
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert reply.message == 'Apply failed with 1 conflict: conflict with "alice": .spec.size'
    assert reply.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".spec.size"}
    ]


async def test_several_conflicts_are_listed_by_manager(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2, low=1), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=8, low=2), "bob")
    assert reply.message == 'Apply failed with 2 conflicts: conflicts with "alice":\n- .spec.low\n- .spec.size'


async def test_the_same_value_is_shared_without_conflict(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=2), "bob")
    assert reply.status == 200
    assert owned(reply)["alice", "Apply"] == owned(reply)["bob", "Apply"] == {"f:spec": {"f:size": {}}}


async def test_force_takes_the_field_over(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2, low=1), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=8), "bob", force=True)
    assert reply.body["spec"]["size"] == 8
    assert owned(reply) == {
        ("alice", "Apply"): {"f:spec": {"f:low": {}}},
        ("bob", "Apply"): {"f:spec": {"f:size": {}}},
    }


async def test_what_the_manager_no_longer_names_goes(api: Api, widgets: Widgets) -> None:
    items = [{"name": "x", "v": 1}, {"name": "y", "v": 1}]
    await api.apply(widgets.at("s"), widgets.applied("s", size=2, low=1, items=items), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=2, items=items[:1]), "alice")
    assert "low" not in reply.body["spec"]
    assert reply.body["spec"]["items"] == [{"name": "x", "v": 1}]
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    assert "items" not in reply.body["spec"]


async def test_what_someone_else_owns_too_stays(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    await api.apply(widgets.at("s"), widgets.applied("s", size=2), "bob")
    reply = await api.apply(widgets.at("s"), widgets.applied("s"), "alice")
    assert reply.body["spec"]["size"] == 2
    assert owned(reply)["alice", "Apply"] == {"f:spec": {}}


async def test_a_dropped_field_returns_to_its_default(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2, retry={"attempts": 9}), "alice")
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    assert reply.body["spec"]["retry"] == {"attempts": 5}


async def test_an_update_takes_ownership_without_conflict(api: Api, widgets: Widgets) -> None:
    await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    reply = await api.patch(widgets.at("s"), {"spec": {"size": 3}})
    assert owned(reply) == {("conformance", "Update"): {"f:spec": {"f:size": {}}}}


async def test_an_update_managers_field_conflicts_and_names_its_version(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("s", size=2))
    reply = await api.apply(widgets.at("s"), widgets.applied("s", size=3), "alice")
    assert reply.status == 409
    assert f'conflict with "conformance" using {widgets.group}/v1: .spec.size' in reply.message


async def test_the_same_apply_again_changes_nothing(api: Api, widgets: Widgets) -> None:
    first = await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    again = await api.apply(widgets.at("s"), widgets.applied("s", size=2), "alice")
    assert again.metadata["resourceVersion"] == first.metadata["resourceVersion"]


async def test_a_field_manager_is_required(api: Api, widgets: Widgets) -> None:
    reply = await api.patch(widgets.at("s"), widgets.applied("s", size=2), APPLY)
    assert reply.status in {400, 422}
    assert "fieldManager: Required value: is required for apply patch" in reply.message


async def test_apply_reads_yaml(api: Api, widgets: Widgets) -> None:
    text = f"apiVersion: {widgets.group}/v1\nkind: Widget\nmetadata:\n  name: s\nspec:\n  size: 4\n"
    reply = await api.apply(widgets.at("s"), text, "alice")
    assert (reply.status, reply.body["spec"]["size"]) == (201, 4)


async def test_a_status_is_applied_through_its_subresource(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("s"))
    body = {**widgets.applied("s"), "status": {"replicas": 2}}
    reply = await api.apply(widgets.at("s", "status"), body, "controller")
    assert reply.body["status"] == {"replicas": 2}
    assert owned(reply)["controller", "Apply"] == {"f:status": {"f:replicas": {}}}


async def test_apply_merges_containers_and_leaves_replicas_to_whoever_scales(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template: dict[str, Any] = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    spec: dict[str, Any] = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    await api.post(path, {**body, "spec": {**spec, "replicas": 0}})
    template["spec"]["containers"][0]["image"] = "y"
    reply = await api.apply(f"{path}/d", body, "operator", force=True)
    assert reply.status == 200
    assert reply.body["spec"]["replicas"] == 0
    assert [each["image"] for each in reply.body["spec"]["template"]["spec"]["containers"]] == ["y"]
    assert owned(reply)["operator", "Apply"] == {
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:a": {}}},
                "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}},
            },
        }
    }


async def test_an_applied_field_that_is_unknown_is_an_error(api: Api, widgets: Widgets) -> None:
    for validation in ("Strict", "Ignore"):
        path = f"{widgets.at('one')}?fieldManager=me&fieldValidation={validation}"
        reply = await api.request("PATCH", path, widgets.applied("one", size=1, sizes=2), APPLY)
        assert reply.status == 500
        assert "failed to create typed patch object" in reply.message
        assert ".spec.sizes: field not declared in schema" in reply.message


async def test_a_quantity_that_is_none_is_refused(api: Api, namespace: str) -> None:
    container = {"name": "c", "image": "i", "resources": {"requests": {"memory": "256MB"}}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"}, "spec": spec}
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    applied = await api.apply(f"{deployments}/one", deployment, "me")
    assert applied.status == 500
    assert "failed to convert new object" in applied.message
    assert "quantities must match the regular expression" in applied.message
    created = await api.request("POST", deployments, deployment)
    assert created.status == 400
    assert "quantities must match the regular expression" in created.message


async def test_a_configuration_says_what_it_is(api: Api, widgets: Widgets) -> None:
    reply = await api.apply(widgets.at("one"), {"metadata": {"name": "one"}, "spec": {"size": 1}}, "me")
    assert (reply.status, reply.message) == (400, "invalid object type: /, Kind=")

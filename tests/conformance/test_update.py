"""PUT: optimistic concurrency, generations, what a client cannot change."""

from conformance.kubeapi import Api
from conformance.widgets import Widgets


async def test_a_change_of_the_spec_moves_version_and_generation(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    reply = await api.put(widgets.at("one"), {**created, "spec": {**created["spec"], "size": 2}})
    assert reply.status == 200
    assert reply.metadata["generation"] == 2
    assert int(reply.metadata["resourceVersion"]) > int(created["metadata"]["resourceVersion"])


async def test_a_change_of_labels_leaves_the_generation(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    created["metadata"]["labels"] = {"a": "b"}
    reply = await api.put(widgets.at("one"), created)
    assert reply.metadata["labels"] == {"a": "b"}
    assert reply.metadata["generation"] == 1


async def test_an_update_that_changes_nothing_leaves_the_version(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    reply = await api.put(widgets.at("one"), created)
    assert reply.metadata["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_a_stale_version_conflicts(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    await api.patch(widgets.at("one"), {"spec": {"size": 4}})
    reply = await api.put(widgets.at("one"), {**created, "spec": {"size": 5}})
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert reply.message == (
        f'Operation cannot be fulfilled on widgets.{widgets.group} "one": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_a_custom_resource_must_name_its_version(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.put(widgets.at("one"), widgets.named("one", size=2))
    assert reply.causes == [("metadata.resourceVersion", "FieldValueInvalid")]
    assert "must be specified for an update" in reply.message


async def test_what_the_system_sets_cannot_be_changed(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    forged = {**created["metadata"], "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 99}
    reply = await api.put(widgets.at("one"), {**created, "metadata": forged, "spec": {"size": 2}})
    assert reply.metadata["creationTimestamp"] == created["metadata"]["creationTimestamp"]
    assert reply.metadata["generation"] == 2


async def test_another_uid_conflicts(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    other = {**created["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}
    assert (await api.put(widgets.at("one"), {**created, "metadata": other})).status == 409


async def test_what_does_not_exist_is_not_found(api: Api, widgets: Widgets) -> None:
    reply = await api.put(widgets.at("none"), widgets.named("none", {"resourceVersion": "1"}))
    assert (reply.status, reply.message) == (404, f'widgets.{widgets.group} "none" not found')


async def test_the_body_must_have_the_name(api: Api, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.post(maps, {"metadata": {"name": "m"}})
    reply = await api.put(f"{maps}/m", {"data": {"a": "b"}})
    assert (reply.status, reply.message) == (
        400, "the name of the object (m based on URL) was undeterminable: name must be provided",
    )  # fmt: skip


async def test_the_name_in_the_body_must_be_that_of_the_path(api: Api, widgets: Widgets) -> None:
    created = (await api.post(widgets.path, widgets.named("one"))).body
    reply = await api.put(widgets.at("two"), created)
    assert reply.message == "the name of the object (one) does not match the name on the URL (two)"

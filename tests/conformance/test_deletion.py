"""Deleting: finalizers, preconditions, collections, owners."""

from conformance.kubeapi import Api
from conformance.widgets import Widgets
from waiting import eventually

FINALIZER = "example.com/hold"
NOBODY = "00000000-0000-0000-0000-000000000000"


async def test_a_delete_answers_with_success(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one"))
    reply = await api.delete(widgets.at("one"))
    assert (reply.status, reply.body["status"]) == (200, "Success")
    assert reply.body["details"] == {
        "name": "one", "group": widgets.group, "kind": "widgets", "uid": created.metadata["uid"],
    }  # fmt: skip
    assert (await api.get(widgets.at("one"))).status == 404
    assert (await api.delete(widgets.at("one"))).status == 404


async def test_a_finalizer_holds_the_object(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", {"finalizers": [FINALIZER]}))
    reply = await api.delete(widgets.at("one"))
    assert reply.status == 200
    assert reply.metadata["deletionTimestamp"]
    assert reply.metadata["deletionGracePeriodSeconds"] == 0
    assert reply.metadata["generation"] == 2
    assert (await api.get(widgets.at("one"))).status == 200
    released = await api.patch(widgets.at("one"), {"metadata": {"finalizers": None}})
    assert released.status == 200
    assert (await api.get(widgets.at("one"))).status == 404


async def test_no_finalizer_is_added_to_what_is_being_deleted(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", {"finalizers": [FINALIZER]}))
    await api.delete(widgets.at("one"))
    reply = await api.patch(widgets.at("one"), {"metadata": {"finalizers": [FINALIZER, "example.com/late"]}})
    assert (reply.status, set(reply.causes)) == (422, {("metadata.finalizers", "FieldValueForbidden")})
    await api.patch(widgets.at("one"), {"metadata": {"finalizers": None}})


async def test_a_second_delete_changes_nothing(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", {"finalizers": [FINALIZER]}))
    first, second = await api.delete(widgets.at("one")), await api.delete(widgets.at("one"))
    assert first.metadata["deletionTimestamp"] == second.metadata["deletionTimestamp"]
    assert first.metadata["resourceVersion"] == second.metadata["resourceVersion"]
    await api.patch(widgets.at("one"), {"metadata": {"finalizers": None}})


async def test_another_uid_in_the_precondition_conflicts(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one"))
    reply = await api.delete(widgets.at("one"), {"preconditions": {"uid": NOBODY}})
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert f"the UID in the precondition ({NOBODY}) does not match the UID in record" in reply.message
    right = {"preconditions": {"uid": created.metadata["uid"]}}
    assert (await api.delete(widgets.at("one"), right)).status == 200


async def test_another_version_in_the_precondition_conflicts(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one"))
    await api.patch(widgets.at("one"), {"spec": {"size": 2}})
    stale = {"preconditions": {"resourceVersion": created.metadata["resourceVersion"]}}
    assert (await api.delete(widgets.at("one"), stale)).status == 409


async def test_a_dry_run_deletes_nothing(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    assert (await api.delete(f"{widgets.at('one')}?dryRun=All")).status == 200
    assert (await api.get(widgets.at("one"))).status == 200


async def test_a_collection_is_deleted_by_selector(api: Api, widgets: Widgets) -> None:
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        await api.post(widgets.path, widgets.named(name, {"labels": {"l": label}}))
    assert (await api.delete(f"{widgets.path}?labelSelector=l%3Dx")).status == 200
    assert (await api.get(widgets.path)).names == ["b"]


def owned_by(owner: dict[str, str], blocking: bool = False) -> dict[str, object]:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["name"], "uid": owner["uid"]}
    return {"ownerReferences": [{**reference, "blockOwnerDeletion": True} if blocking else reference]}


async def family(api: Api, namespace: str, blocking: bool = False) -> str:
    """An owner and its child; returns where they are."""
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = await api.post(maps, {"metadata": {"name": "owner"}})
    child = {"metadata": {"name": "child", **owned_by(owner.metadata, blocking)}}
    assert (await api.post(maps, child)).status == 201
    return maps


async def gone(api: Api, path: str) -> None:
    async def probe() -> bool:
        return (await api.get(path)).status == 404

    await eventually(probe)


async def test_what_loses_its_owner_is_collected(api: Api, namespace: str) -> None:
    maps = await family(api, namespace)
    await api.delete(f"{maps}/owner")
    await gone(api, f"{maps}/child")


async def test_orphans_stay_and_forget_their_owner(api: Api, namespace: str) -> None:
    maps = await family(api, namespace)
    await api.delete(f"{maps}/owner", {"propagationPolicy": "Orphan"})
    await gone(api, f"{maps}/owner")
    assert "ownerReferences" not in (await api.get(f"{maps}/child")).metadata


async def test_in_the_foreground_the_owner_goes_last(api: Api, namespace: str) -> None:
    maps = await family(api, namespace, blocking=True)
    await api.patch(f"{maps}/child", {"metadata": {"finalizers": [FINALIZER]}})
    reply = await api.delete(f"{maps}/owner", {"propagationPolicy": "Foreground"})
    assert reply.metadata["finalizers"] == ["foregroundDeletion"]

    async def child_deleting() -> bool:
        return "deletionTimestamp" in (await api.get(f"{maps}/child")).metadata

    await eventually(child_deleting)
    assert (await api.get(f"{maps}/owner")).status == 200
    await api.patch(f"{maps}/child", {"metadata": {"finalizers": None}})
    await gone(api, f"{maps}/child")
    await gone(api, f"{maps}/owner")


async def test_a_child_with_a_living_owner_left_stays(api: Api, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    first, second = [(await api.post(maps, {"metadata": {"name": name}})).metadata for name in ("first", "second")]
    references = [*owned_by(first)["ownerReferences"], *owned_by(second)["ownerReferences"]]  # type: ignore[misc]
    await api.post(maps, {"metadata": {"name": "child", "ownerReferences": references}})
    await api.delete(f"{maps}/first")
    await api.post(maps, {"metadata": {"name": "witness", **owned_by({"name": "never", "uid": NOBODY})}})
    await gone(api, f"{maps}/witness")
    assert (await api.get(f"{maps}/child")).status == 200

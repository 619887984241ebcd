"""Namespaces: what a new one has, and how one ends."""

from conformance.kubeapi import Api
from conformance.widgets import Widgets, unique
from waiting import eventually

FINALIZER = "example.com/hold"


async def test_a_new_namespace_is_active_and_labelled_with_its_name(api: Api, namespace: str) -> None:
    reply = await api.get(f"/api/v1/namespaces/{namespace}")
    assert reply.metadata["labels"]["kubernetes.io/metadata.name"] == namespace
    assert reply.body["spec"] == {"finalizers": ["kubernetes"]}
    assert reply.body["status"] == {"phase": "Active"}


async def test_a_new_namespace_has_a_service_account(api: Api, namespace: str) -> None:
    async def made() -> bool:
        return (await api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")).status == 200

    await eventually(made)


async def test_a_namespace_takes_its_content_along(api: Api, group: str) -> None:
    widgets = Widgets(group, unique("doomed"))
    path = f"/api/v1/namespaces/{widgets.namespace}"
    await api.post("/api/v1/namespaces", {"metadata": {"name": widgets.namespace}})
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.delete(path)
    assert reply.body["status"] == {"phase": "Terminating"}
    assert reply.metadata["deletionTimestamp"]

    async def gone() -> bool:
        return (await api.get(path)).status == 404

    await eventually(gone)  # two hundred others may be on their way out
    assert (await api.get(widgets.path)).names == []


async def test_a_terminating_namespace_waits_for_finalizers_and_takes_nothing_new(api: Api, group: str) -> None:
    widgets = Widgets(group, unique("doomed"))
    path = f"/api/v1/namespaces/{widgets.namespace}"
    await api.post("/api/v1/namespaces", {"metadata": {"name": widgets.namespace}})
    await api.post(widgets.path, widgets.named("held", {"finalizers": [FINALIZER]}))
    await api.delete(path)

    async def being_deleted() -> bool:
        return "deletionTimestamp" in (await api.get(widgets.at("held"))).metadata

    await eventually(being_deleted)
    late = await api.post(widgets.path, widgets.named("late"))
    assert (late.status, late.reason) == (403, "Forbidden")
    assert late.message == (
        f'widgets.{group} "late" is forbidden: unable to create new content in namespace {widgets.namespace} '
        "because it is being terminated"
    )
    assert late.causes == [("metadata.namespace", "NamespaceTerminating")]
    await api.patch(widgets.at("held"), {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        return (await api.get(path)).status == 404

    await eventually(gone)  # two hundred others may be on their way out


async def test_the_default_namespace_stays(api: Api) -> None:
    reply = await api.delete("/api/v1/namespaces/default")
    assert (reply.status, reply.reason) == (403, "Forbidden")

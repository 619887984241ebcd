"""Tables, as kubectl get shows them."""

from typing import Any

from conformance.kubeapi import TABLE, Api
from conformance.widgets import Widgets


async def table(api: Api, path: str) -> dict[str, Any]:
    reply = await api.get(path, Accept=TABLE)
    assert reply.body["kind"] == "Table"
    return reply.body


def headings(body: dict[str, Any]) -> list[str]:
    return [each["name"] for each in body["columnDefinitions"] if not each["priority"]]


async def test_a_custom_resource_shows_its_printer_columns(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", size=6))
    await api.post(widgets.path, widgets.named("two"))
    await api.patch(widgets.at("one", "status"), {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    body = await table(api, widgets.path)
    assert headings(body) == ["Name", "Size", "Ready", "Age"]
    assert [row["cells"][:3] for row in body["rows"]] == [["one", 6, "True"], ["two", 1, None]]
    assert body["rows"][0]["cells"][3].endswith("s")


async def test_rows_carry_the_metadata(api: Api, widgets: Widgets) -> None:
    created = await api.post(widgets.path, widgets.named("one"))
    row = (await table(api, widgets.path))["rows"][0]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["uid"] == created.metadata["uid"]
    assert "spec" not in row["object"]


async def test_rows_carry_the_whole_object_or_none_if_so_asked(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", size=6))
    whole = (await table(api, f"{widgets.path}?includeObject=Object"))["rows"][0]["object"]
    assert whole["spec"]["size"] == 6
    assert not (await table(api, f"{widgets.path}?includeObject=None"))["rows"][0].get("object")


async def test_built_in_kinds_have_their_columns(api: Api, namespace: str) -> None:
    expected = {
        f"/api/v1/namespaces/{namespace}/pods": ["Name", "Ready", "Status", "Restarts", "Age"],
        f"/api/v1/namespaces/{namespace}/configmaps": ["Name", "Data", "Age"],
        f"/api/v1/namespaces/{namespace}/secrets": ["Name", "Type", "Data", "Age"],
        f"/api/v1/namespaces/{namespace}/services": ["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"],
        f"/api/v1/namespaces/{namespace}/events": ["Last Seen", "Type", "Reason", "Object", "Message"],
        "/api/v1/namespaces": ["Name", "Status", "Age"],
        "/api/v1/nodes": ["Name", "Status", "Roles", "Age", "Version"],
        f"/apis/apps/v1/namespaces/{namespace}/deployments": ["Name", "Ready", "Up-to-date", "Available", "Age"],
        f"/apis/apps/v1/namespaces/{namespace}/replicasets": ["Name", "Desired", "Current", "Ready", "Age"],
        f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases": ["Name", "Holder", "Age"],
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": ["Name", "Created At"],
    }
    for path, names in expected.items():
        assert headings(await table(api, f"{path}?limit=1")) == names, path


async def test_one_object_is_a_table_of_one_row(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    assert len((await table(api, widgets.at("one")))["rows"]) == 1

"""The API without HTTP: pages, versions, expiry."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.widgets import OPEN, definition
from protoqueue_devcluster.apiserver import listing
from protoqueue_devcluster.apiserver.cluster import Cluster
from protoqueue_devcluster.apiserver.expiry import expire
from protoqueue_devcluster.apiserver.kinds import Kind
from protoqueue_devcluster.apiserver.options import WriteOptions
from protoqueue_devcluster.apiserver.statuses import ApiError


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    made.start()
    return made


def kind(cluster: Cluster, group: str, version: str, plural: str) -> Kind:
    found = cluster.kinds.find(group, version, plural)
    assert found is not None
    return found


def create(cluster: Cluster, of: Kind, body: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return cluster.registry.create(of, namespace if of.namespaced else "", body, WriteOptions()).object


async def test_a_page_whose_list_is_no_longer_kept_is_gone(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SNAPSHOTS", 1)
    maps = kind(cluster, "", "v1", "configmaps")
    for name in "abc":
        create(cluster, maps, {"metadata": {"name": name}})
    first = cluster.lister.page(maps, "default", {"limit": "1"})
    create(cluster, maps, {"metadata": {"name": "d"}})
    cluster.lister.page(maps, "default", {"limit": "1"})
    with pytest.raises(ApiError) as error:
        cluster.lister.page(maps, "default", {"limit": "1", "continue": first.token})
    assert (error.value.code, error.value.reason) == (410, "Expired")


async def test_versions_of_a_custom_resource_show_the_same_objects(cluster: Cluster) -> None:
    body = definition("multi.example.com", OPEN)
    (first,) = body["spec"]["versions"]
    body["spec"]["versions"] = [{**first, "name": "v1alpha1", "storage": False}, first]
    create(cluster, kind(cluster, "apiextensions.k8s.io", "v1", "customresourcedefinitions"), body)
    await asyncio.sleep(0)
    old, new = (kind(cluster, "multi.example.com", version, "widgets") for version in ("v1alpha1", "v1"))
    written = create(cluster, old, {"metadata": {"name": "w"}, "spec": {"a": 1}})
    assert written["apiVersion"] == "multi.example.com/v1alpha1"
    stored = cluster.registry.get(new, "default", "w").object
    assert (stored["apiVersion"], stored["spec"]) == ("multi.example.com/v1", {"a": 1})
    change = {**stored, "spec": {"a": 2}}
    updated = cluster.registry.update(
        old, "default", "w", lambda _: {**change, "apiVersion": old.group_version}, "", WriteOptions()
    )
    assert updated.object["apiVersion"] == "multi.example.com/v1alpha1"
    assert cluster.kinds.groups()["multi.example.com"] == ["v1", "v1alpha1"]


async def test_events_live_for_an_hour(cluster: Cluster) -> None:
    events = kind(cluster, "", "v1", "events")
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    create(cluster, events, {"metadata": {"name": "e"}, "involvedObject": involved})
    now = datetime.now(UTC)
    assert expire(cluster.store, now + timedelta(minutes=59)) == 0
    assert expire(cluster.store, now + timedelta(minutes=61)) == 1
    assert cluster.store.collection(("", "events")).items() == []

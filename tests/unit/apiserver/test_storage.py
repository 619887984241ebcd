"""The store: one counter, immutable objects, a bounded past."""

from typing import Any

import pytest

from protoqueue_devcluster.apiserver import storage
from protoqueue_devcluster.apiserver.statuses import ApiError
from protoqueue_devcluster.apiserver.storage import Store, Watcher

KEY = ("example.com", "things")


def thing(name: str) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name, "uid": name}}


def test_every_write_takes_the_next_version() -> None:
    store = Store(start=10)
    versions = [store.put(KEY, "ns", name, thing(name)).version for name in "ab"]
    assert versions == [11, 12]
    assert store.remove(KEY, "ns", "a", thing("a")).object["metadata"]["resourceVersion"] == "13"


def test_stored_objects_are_never_changed() -> None:
    store = Store(start=0)
    first = store.put(KEY, "ns", "a", thing("a"))
    json = first.json
    store.put(KEY, "ns", "a", {**first.object, "spec": {}})
    assert first.json is json
    assert "spec" not in first.object


def test_the_past_is_known_from_where_a_collection_began() -> None:
    store = Store(start=100)
    collection = store.collection(KEY)
    store.put(KEY, "ns", "a", thing("a"))
    assert [event.type for event in collection.since(100, "")] == ["ADDED"]
    with pytest.raises(ApiError, match=r"too old resource version: 99 \(100\)"):
        collection.since(99, "")


def test_only_the_last_changes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WINDOW", 3)
    store = Store(start=0)
    for index in range(5):
        store.put(KEY, "ns", "a", {**thing("a"), "n": index})
    collection = store.collection(KEY)
    assert [event.item.version for event in collection.since(2, "")] == [3, 4, 5]
    with pytest.raises(ApiError):
        collection.since(1, "")


def test_a_later_run_counts_on() -> None:
    assert Store().version > 40_000_000_000


async def test_a_watcher_hears_of_its_namespace_only() -> None:
    store = Store(start=0)
    watcher = Watcher("mine")
    store.collection(KEY).watchers.add(watcher)
    store.put(KEY, "other", "a", thing("a"))
    assert not await watcher.wait(0.01)
    store.put(KEY, "mine", "a", thing("a"))
    assert await watcher.wait(1)
    assert [event.namespace for event in watcher.pending] == ["mine"]


async def test_a_watcher_that_falls_too_far_behind_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SLOW_WATCHER", 2)
    store = Store(start=0)
    watcher = Watcher("")
    store.collection(KEY).watchers.add(watcher)
    for index in range(4):
        store.put(KEY, "ns", f"a{index}", thing(f"a{index}"))
    assert watcher.closed
    assert len(watcher.pending) == 2


async def test_dropping_a_collection_ends_its_watches() -> None:
    store = Store(start=0)
    watcher = Watcher("")
    store.collection(KEY).watchers.add(watcher)
    store.drop(KEY)
    assert await watcher.wait(1)
    assert watcher.closed

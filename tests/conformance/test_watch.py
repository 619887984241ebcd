"""Watches: from a version, from the start, with selectors, and when the past is gone."""

import asyncio

from conformance.kubeapi import TABLE, Api
from conformance.widgets import Widgets


async def version(api: Api, widgets: Widgets) -> str:
    return (await api.get(widgets.path)).metadata["resourceVersion"]


async def test_a_watch_from_a_version_sees_what_came_after(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("before"))
    start = await version(api, widgets)
    await api.post(widgets.path, widgets.named("seen"))
    async with api.watch(widgets.path, f"resourceVersion={start}&timeoutSeconds=20") as watch:
        kind, added = await watch.next()
        assert (kind, added["metadata"]["name"]) == ("ADDED", "seen")
        await api.patch(widgets.at("seen"), {"spec": {"size": 2}})
        kind, modified = await watch.next()
        assert (kind, modified["spec"]["size"]) == ("MODIFIED", 2)
        await api.delete(widgets.at("seen"))
        kind, deleted = await watch.next()
        assert kind == "DELETED"
        assert int(deleted["metadata"]["resourceVersion"]) > int(modified["metadata"]["resourceVersion"])


async def test_a_watch_without_a_version_starts_with_what_exists(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("a"))
    async with api.watch(widgets.path, "timeoutSeconds=20") as watch:
        assert [(await watch.next())[0] for _ in range(1)] == ["ADDED"]
        await api.delete(widgets.at("a"))
        assert (await watch.next())[0] == "DELETED"


async def test_with_bookmarks_the_end_of_what_exists_is_told(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("a"))
    for query in ("", "&resourceVersion=0"):
        async with api.watch(widgets.path, f"allowWatchBookmarks=true&timeoutSeconds=20{query}") as watch:
            assert (await watch.next())[0] == "ADDED"
            kind, end = await watch.next()
            assert (kind, end["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})


async def test_a_watch_ends_at_its_timeout(api: Api, widgets: Widgets) -> None:
    start = await version(api, widgets)
    async with api.watch(widgets.path, f"resourceVersion={start}&timeoutSeconds=1") as watch:
        assert await asyncio.wait_for(watch.rest(), timeout=60) == []


async def test_bookmarks_carry_only_a_version(api: Api, widgets: Widgets) -> None:
    start = await version(api, widgets)
    await api.post(widgets.path, widgets.named("a"))
    query = f"resourceVersion={start}&timeoutSeconds=6&allowWatchBookmarks=true"
    async with api.watch(widgets.path, query) as watch:
        events = await watch.rest()
    kind, bookmark = events[-1]
    assert kind == "BOOKMARK", "the last one comes shortly before the end"
    assert (bookmark["apiVersion"], bookmark["kind"]) == (f"{widgets.group}/v1", "Widget")
    assert int(bookmark["metadata"]["resourceVersion"]) >= int(events[0][1]["metadata"]["resourceVersion"])
    assert "spec" not in bookmark


async def test_a_watch_list_says_where_the_list_ends(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("a"))
    await api.post(widgets.path, widgets.named("b"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=20"
    async with api.watch(widgets.path, query) as watch:
        names = [(await watch.next())[1]["metadata"]["name"] for _ in range(2)]
        kind, end = await watch.next()
        assert names == ["a", "b"]
        assert kind == "BOOKMARK"
        assert end["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.post(widgets.path, widgets.named("c"))
        assert (await watch.next())[1]["metadata"]["name"] == "c"


async def test_too_old_a_version_ends_the_watch_with_gone(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("a"))
    async with api.watch(widgets.path, "resourceVersion=1&timeoutSeconds=5") as watch:
        assert watch.status == 200
        ((kind, status),) = await watch.rest()
    assert kind == "ERROR"
    assert (status["code"], status["reason"]) == (410, "Expired")
    assert status["message"].startswith("too old resource version: 1 (")


async def test_objects_come_and_go_as_they_match_the_selector(api: Api, widgets: Widgets) -> None:
    start = await version(api, widgets)
    query = f"resourceVersion={start}&labelSelector=l%3Dx&timeoutSeconds=20"
    async with api.watch(widgets.path, query) as watch:
        await api.post(widgets.path, widgets.named("other"))
        await api.post(widgets.path, widgets.named("a"))
        await api.patch(widgets.at("a"), {"metadata": {"labels": {"l": "x"}}})
        kind, added = await watch.next()
        assert (kind, added["metadata"]["name"]) == ("ADDED", "a")
        await api.patch(widgets.at("a"), {"spec": {"size": 2}})
        assert (await watch.next())[0] == "MODIFIED"
        await api.patch(widgets.at("a"), {"metadata": {"labels": {"l": "y"}}})
        kind, left = await watch.next()
        assert (kind, left["metadata"]["labels"]) == ("DELETED", {"l": "x"})


async def test_one_object_can_be_watched_by_name(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("a"))
    await api.post(widgets.path, widgets.named("b"))
    async with api.watch(widgets.path, "fieldSelector=metadata.name%3Db&timeoutSeconds=20") as watch:
        assert (await watch.next())[1]["metadata"]["name"] == "b"
        await api.delete(widgets.at("a"))
        await api.delete(widgets.at("b"))
        kind, gone = await watch.next()
        assert (kind, gone["metadata"]["name"]) == ("DELETED", "b")


async def test_a_watch_of_one_namespace_does_not_see_others(api: Api, widgets: Widgets) -> None:
    elsewhere = Widgets(widgets.group, "default")
    start = await version(api, widgets)
    async with api.watch(widgets.path, f"resourceVersion={start}&timeoutSeconds=20") as watch:
        await api.post(elsewhere.path, elsewhere.named(f"e-{widgets.namespace}"))
        await api.delete(elsewhere.at(f"e-{widgets.namespace}"))
        await api.post(widgets.path, widgets.named("mine"))
        assert (await watch.next())[1]["metadata"]["name"] == "mine"


async def test_a_table_watch_sends_rows(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("a"))
    async with api.watch(widgets.path, "timeoutSeconds=20", accept=TABLE) as watch:
        kind, table = await watch.next()
        assert (kind, table["kind"], table["rows"][0]["cells"][0]) == ("ADDED", "Table", "a")
        assert next(column["name"] for column in table["columnDefinitions"]) == "Name"


async def test_all_watchers_see_the_same_events_in_order(api: Api, widgets: Widgets) -> None:
    start = await version(api, widgets)

    async def collect() -> list[str]:
        async with api.watch(widgets.path, f"resourceVersion={start}&timeoutSeconds=20") as watch:
            return [(await watch.next())[1]["metadata"]["resourceVersion"] for _ in range(20)]

    watchers = [asyncio.create_task(collect()) for _ in range(5)]
    for index in range(20):
        await api.post(widgets.path, widgets.named(f"w{index}"))
    seen = await asyncio.gather(*watchers)
    assert all(each == sorted(each, key=int) for each in seen)
    assert len({tuple(each) for each in seen}) == 1

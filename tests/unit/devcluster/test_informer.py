"""The informer against an API server that a test plays, request by request."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from protoqueue_devcluster.kube.client import PODS, KubeClient, Object
from protoqueue_devcluster.kube.informer import Informer
from waiting import eventually


def pod(name: str, version: int, uid: str | None = None) -> Object:
    metadata = {"namespace": "ns", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"kind": "Pod", "metadata": metadata}


def event(kind: str, obj: Object) -> Object:
    return {"type": kind, "object": obj}


class Script:
    """Answers in order: a list of objects for a list request, events for a watch; a watch stays open after the last."""

    def __init__(self, *answers: tuple[int, Sequence[Object]] | Sequence[Object]) -> None:
        self._answers = deque(answers)
        self.requests: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.query))
        if not self._answers:
            await asyncio.sleep(3600)
        given = self._answers.popleft()
        if isinstance(given, tuple):
            version, items = given
            return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": list(items)})
        response = web.StreamResponse()
        await response.prepare(request)
        for line in given:
            await response.write(json.dumps(line).encode() + b"\n")
        if not self._answers:
            await asyncio.sleep(3600)
        return response


@contextlib.asynccontextmanager
async def followed(script: Script, directory: Path) -> AsyncIterator[Informer]:
    app = web.Application()
    app.router.add_get("/api/v1/pods", script.answer)
    async with TestServer(app, shutdown_timeout=0) as server:
        config: dict[str, Any] = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": str(server.make_url(""))}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (directory / "kubeconfig").write_text(yaml.safe_dump(config))
        async with KubeClient(directory / "kubeconfig", "test") as client:
            informer = Informer(client, PODS)
            running = asyncio.create_task(informer.run())
            try:
                yield informer
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running


def versions(informer: Informer) -> dict[str, str]:
    return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in informer}


async def test_the_copy_follows_listing_and_watch(tmp_path: Path) -> None:
    events = [event("ADDED", pod("b", 11)), event("MODIFIED", pod("a", 12)), event("DELETED", pod("b", 13))]
    async with followed(Script((10, [pod("a", 5)]), events), tmp_path) as informer:
        await eventually(lambda: versions(informer) == {"a": "12"})


async def test_an_expired_watch_is_followed_by_a_new_listing(tmp_path: Path) -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    script = Script((10, [pod("a", 5), pod("b", 6)]), [gone], (20, [pod("a", 15)]), [])
    async with followed(script, tmp_path) as informer:
        heard: list[str] = []
        informer.listen(lambda obj: heard.append(obj["metadata"]["name"]))
        await eventually(lambda: versions(informer) == {"a": "15"})
        assert heard == ["a", "b", "a", "b"], "the pod that vanished between two listings is told too"


async def test_a_watch_that_ends_goes_on_from_the_last_bookmark(tmp_path: Path) -> None:
    bookmark = event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "42"}})
    script = Script((10, []), [bookmark], [])
    async with followed(script, tmp_path) as informer:
        await informer.synced.wait()
        await eventually(lambda: len(script.requests) == 3)
        assert script.requests[2]["resourceVersion"] == "42"


async def test_an_own_write_is_seen_at_once_and_its_echo_changes_nothing(tmp_path: Path) -> None:
    script = Script((10, []), [event("ADDED", pod("a", 11)), event("ADDED", pod("end", 13))])
    async with followed(script, tmp_path) as informer:
        informer.record(pod("a", 12))
        assert versions(informer) == {"a": "12"}
        heard: list[str] = []
        informer.listen(lambda obj: heard.append(obj["metadata"]["name"]))
        await eventually(lambda: "end" in versions(informer))
        assert versions(informer) == {"a": "12", "end": "13"}
        assert heard == ["end"]


async def test_an_own_deletion_is_not_undone_by_a_late_event(tmp_path: Path) -> None:
    late = [event("MODIFIED", pod("a", 12)), event("ADDED", pod("end", 13))]
    async with followed(Script((10, [pod("a", 5)]), late), tmp_path) as informer:
        informer.listen(lambda obj: informer.forget(obj) if obj["metadata"]["resourceVersion"] == "5" else None)
        await eventually(lambda: versions(informer) == {"end": "13"})


async def test_a_successor_of_the_same_name_survives_its_predecessors_deletion(tmp_path: Path) -> None:
    events = [event("ADDED", pod("a", 11, "new")), event("DELETED", pod("a", 9, "old")), event("ADDED", pod("end", 13))]
    async with followed(Script((10, []), events), tmp_path) as informer:
        await eventually(lambda: "end" in versions(informer))
        assert versions(informer)["a"] == "11"


@pytest.mark.parametrize("size", [10, 300_000])
async def test_an_object_of_any_size_arrives(tmp_path: Path, size: int) -> None:
    large = pod("a", 11) | {"data": "x" * size}
    async with followed(Script((10, []), [event("ADDED", large)]), tmp_path) as informer:
        await eventually(lambda: informer.get(("ns", "a")) == large)

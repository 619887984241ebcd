"""What the watches brought against what an API server lists: only what is really missing is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from protoqueue_operator.api.v1alpha1.kinds import CUSTOM_KINDS, WATCHED_KINDS
from protoqueue_operator.manager import Manager
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.runtime.client import Kubernetes
from protoqueue_operator.runtime.resync import Resync, granted_namespaces, refused_namespaces
from protoqueue_operator.settings import Settings
from unit.operator.samples import queue_body
from waiting import eventually


class Listing:
    """An API server that lists some Queues, and nothing of any other kind."""

    def __init__(self) -> None:
        self.version = "20"
        self.queues: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({"message": "no"}, status=self.status)
        self.asked.append(request.path_qs)
        items = self.queues if request.path.endswith("/queues") else []
        start = int(request.query.get("continue", 0))
        end = start + 2  # smaller pages than asked for: a server may
        rest = {"continue": str(end)} if end < len(items) else {}
        return web.json_response({"metadata": {"resourceVersion": self.version, **rest}, "items": items[start:end]})


class Seen(list[tuple[str | None, str, str]]):
    def object_seen(self, kind: str, event: str | None, body: Any) -> None:
        assert kind == "Queue"
        self.append((event, body["metadata"]["name"], body["metadata"]["uid"]))


@pytest.fixture
def listing() -> Listing:
    return Listing()


@pytest.fixture
async def kubernetes(listing: Listing) -> AsyncIterator[Kubernetes]:
    app = web.Application()
    app.router.add_get("/{path:.*}", listing.answer)
    async with TestServer(app) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        yield kubernetes
        await kubernetes.close()


async def told(kubernetes: Kubernetes, brought: list[dict[str, Any]]) -> tuple[Resync, Seen]:
    seen = Seen()
    resync = Resync(kubernetes, WATCHED_KINDS, (), seen)
    for body in brought:
        resync.observe("Queue", None, body)
    seen.clear()
    await resync.compare(underway_s=0)
    return resync, seen


async def test_what_was_brought_in_time_is_not_told_again(kubernetes: Kubernetes, listing: Listing) -> None:
    listing.queues = [queue_body(name=name) for name in ("a", "b", "c")]
    resync, seen = await told(kubernetes, listing.queues)
    assert not seen
    assert resync.behind_for_s() == 0
    assert len([path for path in listing.asked if "/queues?" in path]) == 2, "page by page"


@pytest.mark.parametrize("brought", [[], [queue_body(resourceVersion="9")], [queue_body(uid="older")]])
async def test_what_is_newer_than_the_watch_brought_is_told_and_owed_until_it_comes(
    kubernetes: Kubernetes, listing: Listing, brought: list[dict[str, Any]]
) -> None:
    listing.queues = [queue_body(resourceVersion="10")]
    resync, seen = await told(kubernetes, brought)
    assert seen == [("MODIFIED", "email", "uid-of-email")]
    assert resync.behind_for_s() > 0
    resync.observe("Queue", "MODIFIED", queue_body(resourceVersion="9"))
    assert resync.behind_for_s() > 0, "that was an older one"
    resync.observe("Queue", "MODIFIED", queue_body(resourceVersion="10"))
    assert resync.behind_for_s() == 0


async def test_what_is_gone_is_told_and_owed_by_nobody(kubernetes: Kubernetes) -> None:
    resync, seen = await told(kubernetes, [queue_body(resourceVersion="10")])
    assert seen == [("DELETED", "email", "uid-of-email")]
    assert resync.behind_for_s() == 0, "after a gap in the history no watch will bring it"
    seen.clear()
    await resync.compare(underway_s=0)
    assert not seen


async def test_what_comes_and_goes_while_a_listing_is_held_against_it_is_not_told_of(
    kubernetes: Kubernetes, listing: Listing
) -> None:
    resync = Resync(kubernetes, WATCHED_KINDS, (), seen := Seen())
    listing.queues = [queue_body(resourceVersion="10")]
    comparing = asyncio.create_task(resync.compare(underway_s=0.5))
    await eventually(lambda: listing.asked)
    resync.observe("Queue", "ADDED", queue_body(resourceVersion="10"))
    resync.observe("Queue", "DELETED", queue_body(resourceVersion="11"))
    seen.clear()
    await comparing
    assert not seen
    assert resync.behind_for_s() == 0


async def test_what_was_owed_and_is_gone_is_owed_no_more(kubernetes: Kubernetes, listing: Listing) -> None:
    listing.queues = [queue_body(resourceVersion="10")]
    resync, seen = await told(kubernetes, [])
    assert resync.behind_for_s() > 0
    seen.clear()
    listing.queues = []
    await resync.compare(underway_s=0)
    assert seen == [("DELETED", "email", "uid-of-email")]
    assert resync.behind_for_s() == 0


async def test_what_is_newer_than_the_list_is_not_taken_for_gone(kubernetes: Kubernetes, listing: Listing) -> None:
    listing.version = "20"
    _, seen = await told(kubernetes, [queue_body(resourceVersion="21")])
    assert not seen


async def test_watches_that_stay_behind_are_a_reason_to_begin_anew(kubernetes: Kubernetes, listing: Listing) -> None:
    settings = Settings(Credentials(("nats://127.0.0.1:1",)), "nats://127.0.0.1:1")
    manager = Manager(settings, kubernetes, lambda: None)
    listing.queues = [queue_body(resourceVersion="10")]
    await manager.resync.compare(underway_s=0)
    assert manager.trouble() is None, "kopf begins a watch that hangs anew; it is given the time"
    ((key, (_, body)),) = manager.resync._behind.items()
    manager.resync._behind[key] = time.monotonic() - 91, body
    assert manager.trouble() == "the watches have been behind the API server for 91 s"


@pytest.mark.parametrize(
    ("status", "is_refused", "is_granted"), [(200, False, True), (403, True, False), (500, False, False)]
)
async def test_only_what_is_forbidden_is_left_out_and_only_what_is_listed_is_served_again(
    kubernetes: Kubernetes, listing: Listing, status: int, is_refused: bool, is_granted: bool
) -> None:
    """An API server that fails for a moment says nothing of rights: nothing begins anew for that."""
    listing.status = status
    assert list(await refused_namespaces(kubernetes, WATCHED_KINDS, ("mail",))) == ["mail"] * is_refused
    assert await granted_namespaces(kubernetes, WATCHED_KINDS, ("mail",)) == ["mail"] * is_granted

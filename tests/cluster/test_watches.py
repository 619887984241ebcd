"""Watches that hang, or have missed something, are noticed, made up for, and in the end a reason to begin anew."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from cluster.detour import Detour
from cluster.lab import Lab, unique
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, NAMESPACES, QUEUES
from waiting import eventually

TEMPLATE = {"spec": {"containers": [{"name": "idle", "image": "none", "command": ["sleep", "1000"]}]}}


@pytest.fixture
async def detour(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Detour]:
    detour = Detour(kubeconfig, tmp_path)
    await detour.start()
    yield detour
    await detour.stop()


@pytest.fixture
async def resting(
    detour: Detour, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> AsyncIterator[Replica]:
    """In the place of the session's operator, not as patient, and not started yet."""
    operator.stop()
    arguments = ("--namespace", lab.namespace, "--sync-period", "2")
    replica = Replica(detour.kubeconfig, server.url, tmp_path, *arguments)
    yield replica
    replica.kill()
    operator.start()


@pytest.fixture
async def replica(resting: Replica) -> Replica:
    resting.start()
    return resting


async def test_what_a_hanging_watch_does_not_bring_is_found_by_listing(
    lab: Lab, detour: Detour, replica: Replica
) -> None:
    await lab.queue()
    await lab.queue("going")
    await lab.group(worker={"template": TEMPLATE})
    await lab.ready(queues=("email", "going"), groups=("mailers",))
    first = await lab.get(DEPLOYMENTS, "mailers")
    detour.watches_flow.clear()
    await lab.queue(visibilityTimeout="31s")
    await lab.queue("another")
    await lab.delete(QUEUES, "going")
    await lab.delete(DEPLOYMENTS, "mailers")
    await lab.ready(queues=("email", "another"))
    await lab.gone(QUEUES, "going")

    async def made_anew() -> bool:
        found = await lab.find(DEPLOYMENTS, "mailers")
        return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

    await eventually(made_anew)
    assert await behind_for_s(replica) > 0, "what is owed stays owed: liveness goes by it"
    detour.watches_flow.set()

    async def is_up_to_date() -> bool:
        return await behind_for_s(replica) == 0

    await eventually(is_up_to_date)
    await lab.delete(CONSUMER_GROUPS, "mailers")
    await lab.gone(CONSUMER_GROUPS, "mailers")


async def test_what_was_deleted_while_the_history_was_lost_is_found_by_listing(
    lab: Lab, detour: Detour, replica: Replica
) -> None:
    await lab.queue()
    await lab.group(worker={"template": TEMPLATE})
    await lab.ready(groups=("mailers",))
    first = await lab.get(DEPLOYMENTS, "mailers")
    detour.watches_flow.clear()
    await lab.delete(DEPLOYMENTS, "mailers")
    await lab.gone(DEPLOYMENTS, "mailers")
    await detour.expire_watches()
    detour.watches_flow.set()

    async def made_anew() -> bool:
        found = await lab.find(DEPLOYMENTS, "mailers")
        return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

    await eventually(made_anew)
    await lab.queue("after")
    await lab.ready(queues=("after",))
    assert await behind_for_s(replica) == 0


@pytest.mark.parametrize(
    "refusal",
    [
        (401, {}),
        (409, {}),
        (429, {"Retry-After": "1"}),
        (500, {}),
    ],
)
async def test_what_the_api_server_refuses_for_a_while_is_done_afterwards_and_not_hammered_at(
    lab: Lab, detour: Detour, replica: Replica, refusal: tuple[int, dict[str, str]]
) -> None:
    await lab.queue()
    await lab.ready()
    detour.refusal = refusal
    started = time.monotonic()
    await lab.queue(visibilityTimeout="31s")
    await lab.queue("another")
    # Several are asked for at once, and again soon: what counts is how it goes on.
    await eventually(lambda: time.monotonic() > started + 4)
    later = [asked for asked in detour.asked if asked.at > started + 2]
    assert 1 <= len(later) < 20, "it asks on, and less than ten times a second"
    detour.refusal = None
    await lab.ready(queues=("email", "another"))
    assert replica.exit_code is None


def is_group(request: web.Request) -> bool:
    return request.path == "/apis/protoqueue.dev/v1alpha1"


def is_watch_of_queues(request: web.Request) -> bool:
    return request.path.endswith("/queues") and request.query.get("watch") == "true"


def is_anything(request: web.Request) -> bool:
    return True


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (404, is_group),  # its CustomResourceDefinitions are not served yet
        (404, is_watch_of_queues),
        (403, is_watch_of_queues),  # its rights are not known yet
        (401, is_anything),
        (403, is_anything),
        (503, is_anything),
    ],
)
async def test_what_an_api_server_refuses_while_it_starts_is_asked_for_again_within_seconds(
    lab: Lab, detour: Detour, resting: Replica, status: int, refused: Callable[[web.Request], bool]
) -> None:
    detour.refuses = lambda request: status if refused(request) else None
    resting.start()
    await eventually(lambda: sum(each.status == status for each in detour.asked) >= 2)

    async def lives_and_is_not_ready() -> bool:
        assert await http_status(f"{resting.url}/healthz") == 200, "a restart would not help"
        assert await http_status(f"{resting.url}/readyz") == 503, "it sees nothing yet"
        return True

    await eventually(lives_and_is_not_ready)
    detour.refuses = lambda _: None
    await lab.queue()
    await lab.ready()
    await eventually(lambda: is_ready(resting))
    await lab.queue(visibilityTimeout="31s")
    await lab.ready()
    assert resting.exit_code is None


async def test_a_definition_that_goes_and_comes_back_is_served_again(
    lab: Lab, detour: Detour, replica: Replica
) -> None:
    await lab.queue()
    await lab.ready()
    detour.refuses = lambda request: 404 if request.path.endswith("/queues") or is_group(request) else None
    await detour.expire_watches()
    await eventually(lambda: sum(each.status == 404 for each in detour.asked) >= 2)
    detour.refuses = lambda _: None
    await lab.queue("another")
    await lab.ready(queues=("email", "another"))
    await eventually(lambda: is_ready(replica))
    assert replica.exit_code is None


async def http_status(url: str) -> int:
    """0 while nobody answers."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status
    except aiohttp.ClientError:
        return 0


async def is_ready(replica: Replica) -> bool:
    return await http_status(f"{replica.url}/readyz") == 200


async def behind_for_s(replica: Replica) -> float:
    return (await replica.metrics()).get(("protoqueue_operator_watches_behind_seconds", ()), -1)


async def test_a_namespace_that_may_not_be_listed_keeps_nobody_from_serving_the_others_and_is_named(
    lab: Lab, detour: Detour, server: NatsServer, tmp_path: Path, operator: OperatorProcess
) -> None:
    operator.stop()
    closed = unique("closed")
    made = await lab.kube.create(NAMESPACES, {"metadata": {"name": closed}})
    await lab.kube.create(QUEUES, {"metadata": {"name": "early"}, "spec": {}}, closed)

    def without_role(request: web.Request) -> int | None:
        return 403 if f"/namespaces/{closed}/" in request.path else None

    detour.refuses = without_role
    replica = Replica(detour.kubeconfig, server.url, tmp_path, "--namespace", lab.namespace, "--namespace", closed)
    replica.start()
    try:
        await lab.queue()
        await lab.ready()
        assert f"namespace not served: namespace={closed}" in replica.log.read_text()
        detour.refuses = lambda _: None

        async def is_served() -> bool:
            queue = await lab.kube.get(QUEUES, "early", closed)
            return any(each["status"] == "True" for each in queue.get("status", {}).get("conditions", ()))

        await eventually(is_served)
        # And the Role may go while the operator runs: kopf's watch ends, and would take all the others along.
        detour.refuses = without_role
        await detour.expire_watches()
        await lab.queue("later")
        await lab.ready(queues=("later",))
    finally:
        detour.refuses = lambda _: None
        await lab.kube.merge(QUEUES, {"metadata": {"finalizers": None}}, "early", closed)
        await lab.kube.delete(NAMESPACES, closed, None, made["metadata"]["uid"])
        replica.kill()
        operator.start()

"""Watches that hang, or have missed something, are noticed, made up for, and in the end a reason to begin anew."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.detour import Detour
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, QUEUES
from waiting import eventually

TEMPLATE = {"spec": {"containers": [{"name": "idle", "image": "none", "command": ["sleep", "1000"]}]}}


@pytest.fixture
async def detour(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Detour]:
    detour = Detour(kubeconfig, tmp_path)
    await detour.start()
    yield detour
    await detour.stop()


@pytest.fixture
async def replica(
    detour: Detour, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> AsyncIterator[Replica]:
    """In the place of the session's operator, and not as patient."""
    operator.stop()
    arguments = ("--namespace", lab.namespace, "--sync-period", "2")
    replica = Replica(detour.kubeconfig, server.url, tmp_path, *arguments)
    replica.start()
    yield replica
    replica.kill()
    operator.start()


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


async def behind_for_s(replica: Replica) -> float:
    return (await replica.metrics()).get(("protoqueue_operator_watches_behind_seconds", ()), -1)

"""Limits of a NATS account: the condition names the one that is reached, and it heals when that is raised."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.lab import Lab
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, Kind

ROOM = {"max_mem": "1G", "max_file": "1G", "max_streams": 100, "max_consumers": 100}


def account(**limits: Any) -> str:
    listed = ", ".join(f"{name}: {limit}" for name, limit in (ROOM | limits).items())
    return f"accounts {{ SMALL {{ jetstream: {{{listed}}}, users: [{{user: jo, password: pw}}] }} }}"


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "small", account(), login="jo:pw@")
    await server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("limit", "value", "kind", "spec"),
    [
        ("max_streams", 2, QUEUES, {}),
        ("max_file", "1M", QUEUES, {"limits": {"maxBytes": "2Mi"}}),
        ("max_mem", "1M", QUEUES, {"limits": {"maxBytes": "2Mi"}, "storage": "Memory"}),
        ("max_consumers", 2, CONSUMER_GROUPS, {}),
    ],
)
async def test_the_limit_that_is_reached_is_named_and_raising_it_is_enough(
    limit: str, value: object, kind: Kind, spec: dict[str, Any], lab: Lab, small: NatsServer
) -> None:
    await small.reload(account(**{limit: value}))
    await lab.secret("account", url=small.url, user="jo", password="pw")
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}}, deletionPolicy="Delete", **spec)
    await lab.group()
    name = "email" if kind is QUEUES else "mailers"
    condition = await lab.condition(kind, name, status="False", reason="QuotaExceeded")
    assert limit in condition["message"]
    await small.reload(account())
    await lab.ready(groups=("mailers",))


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_queue_that_there_was_no_room_for_can_be_deleted(policy: str, lab: Lab, small: NatsServer) -> None:
    await small.reload(account(max_streams=2))
    await lab.secret("account", url=small.url, user="jo", password="pw")
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}}, deletionPolicy=policy)
    await lab.condition(QUEUES, "email", status="False", reason="QuotaExceeded")
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")

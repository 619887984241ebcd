"""What NATS has no room for: the condition names it, few looks are spent on it, and it heals when there is room."""

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import StreamConfig

import nats
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import QUEUES, SECRETS
from waiting import eventually

SEVEN_STREAMS = """
accounts { SMALL { jetstream: {max_streams: 7}, users: [{user: jo, password: pw}] } }
"""


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server whose account holds a queue and the buckets, and one stream more."""
    server = NatsServer(tmp_path / "small", SEVEN_STREAMS, login="jo:pw@")
    await server.start()
    yield server
    server.stop()


async def holding(server: NatsServer, *streams: str) -> Nats:
    connection = await nats.connect(server.url, user="jo", password="pw")
    for name in streams:
        await connection.jetstream().add_stream(StreamConfig(name=name, subjects=[f"theirs.{name}"]))
    return connection


async def test_a_full_account_is_named_with_its_limit_and_heals_when_there_is_room(lab: Lab, small: NatsServer) -> None:
    connection = await holding(small, "one", "two", "three")
    values = {"url": small.url, "user": "jo", "password": "pw"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    await lab.kube.create(SECRETS, {"metadata": {"name": "account"}, "data": data}, lab.namespace)
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}}, deletionPolicy="Delete")
    condition = await lab.condition(QUEUES, "email", status="False", reason="QuotaExceeded")
    assert "max_streams" in condition["message"]
    await connection.jetstream().delete_stream("one")
    await connection.jetstream().delete_stream("two")
    await lab.ready()
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    await connection.close()


async def test_a_refused_queue_is_looked_at_ever_more_rarely(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> None:
    operator.stop()
    replica = Replica(kubeconfig, server.url, tmp_path, "--namespace", lab.namespace)
    replica.start()
    try:
        await lab.queue("invalid", visibilityTimeout="1ms")
        await lab.queue(replicas=3)
        started = time.monotonic()
        condition = await lab.condition(QUEUES, "email", status="False", reason="NatsRefused")
        assert condition["message"].startswith("spec.replicas: ")

        async def refusals(reason: str) -> float:
            name = "protoqueue_operator_reconcile_errors_total"
            return (await replica.metrics()).get((name, ("Queue", reason)), 0)

        async def refused_six_times() -> bool:
            return await refusals("NatsRefused") >= 6

        # Six looks with pauses of 0.5, 1, 2, 4 and 8 seconds, a fifth shorter at most: in a minute there are eight.
        await eventually(refused_six_times, timeout_s=40)
        assert time.monotonic() - started > 12
        assert await refusals("NatsRefused") == 6
        assert await refusals("InvalidSpec") == 1, "what only a change can heal is not tried again"
    finally:
        replica.stop()
        operator.start()

"""The operator as an administrator sees it: probes, metrics, replicas."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from cluster.lab import Lab, unique
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import LEASES, ApiError
from waiting import eventually


@pytest.fixture
def lease() -> str:
    return f"default/{unique('operator')}"


@pytest.fixture
def replicas(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lease: str, lab: Lab, operator: OperatorProcess
) -> Iterator[list[Replica]]:
    """Two that contend for one Lease and serve the test's namespace, while the session's operator rests."""
    operator.stop()
    made = []
    for number in range(2):
        directory = tmp_path / f"replica{number}"
        directory.mkdir()
        made.append(Replica(kubeconfig, server.url, directory, "--namespace", lab.namespace, "--leader-elect", lease))
    yield made
    for replica in made:
        replica.kill()
    operator.start()


async def test_probes_and_metrics_speak_of_what_there_is(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> None:
    operator.stop()
    replica = Replica(kubeconfig, server.url, tmp_path, "--namespace", lab.namespace)
    replica.start()
    try:
        await lab.queue()
        await lab.group()
        await lab.ready(groups=("mailers",))
        async with await lab.client() as client:
            await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
        name = f"{lab.namespace}/email"

        async def counted() -> bool:
            return (await replica.metrics()).get(("protoqueue_queue_tasks", (name, "ready"))) == 1

        await eventually(counted)
        metrics = await replica.metrics()
        assert metrics["protoqueue_operator_nats_up", ()] == 1
        assert metrics["protoqueue_operator_leader", ()] == 1
        assert metrics["protoqueue_operator_sample_age_seconds", ()] < 5
        assert metrics["protoqueue_operator_reconcile_seconds_count", ("Queue",)] >= 1
        assert ("protoqueue_queue_oldest_task_seconds", (name,)) in metrics
        async with aiohttp.ClientSession() as session, session.get(f"{replica.url}/healthz") as response:
            assert response.status == 200
    finally:
        replica.stop()
        operator.start()


async def test_the_second_replica_takes_over_from_a_killed_leader_within_15_seconds(
    lab: Lab, replicas: list[Replica]
) -> None:
    first, second = replicas
    first.start()
    await eventually(first.leads)
    second.start()
    await eventually(second.metrics)
    await asyncio.gather(*(lab.queue(f"before{number}") for number in range(10)))
    await lab.ready(queues=tuple(f"before{number}" for number in range(10)))
    assert not await second.leads()
    burst = asyncio.gather(*(lab.queue(f"during{number}") for number in range(20)))
    first.kill()
    killed = time.monotonic()
    await burst
    await eventually(second.leads, timeout_s=20)
    assert time.monotonic() - killed < 15
    await lab.ready(queues=tuple(f"during{number}" for number in range(20)))


async def test_a_leader_that_ends_in_order_hands_over_at_once(lab: Lab, replicas: list[Replica], lease: str) -> None:
    first, second = replicas
    first.start()
    await eventually(first.leads)
    second.start()
    await eventually(second.metrics)
    first.stop()
    await eventually(second.leads, timeout_s=5)


async def test_a_leader_whose_lease_was_taken_stops(lab: Lab, replicas: list[Replica], lease: str) -> None:
    first = replicas[0]
    first.start()
    await eventually(first.leads)
    namespace, name = lease.split("/")

    async def taken() -> bool:
        body = await lab.kube.get(LEASES, name, namespace)
        spec = body["spec"] | {"holderIdentity": "another"}
        patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "spec": spec}
        try:
            await lab.kube.merge(LEASES, patch, name, namespace)
        except ApiError as error:
            return error.code != 409
        return True

    await eventually(taken)
    await eventually(lambda: first.exit_code == 1, timeout_s=15)

"""The operator as an administrator sees it: probes and metrics."""

from pathlib import Path

import aiohttp

from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from waiting import eventually


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

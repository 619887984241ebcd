"""The operator as an administrator sees it: probes and metrics."""

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from protoqueue_operator.runtime.status_writer import COUNTER_INTERVAL_S
from waiting import eventually

AS_ANOTHER_USER = ("unshare", "--user", "--map-user=65532")


def can_be_another_user() -> bool:
    try:
        return subprocess.run([*AS_ANOTHER_USER, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


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
            values = (lab.namespace, name, "waiting")
            return (await replica.metrics()).get(("protoqueue_queue_tasks", values)) == 1

        await eventually(counted)
        metrics = await replica.metrics()
        assert metrics["protoqueue_operator_nats_up", ()] == 1
        assert metrics["protoqueue_operator_leader", ()] == 1
        assert metrics["protoqueue_operator_sample_age_seconds", ()] < 60
        assert metrics["protoqueue_operator_reconcile_seconds_count", ("Queue",)] >= 1
        assert ("protoqueue_queue_oldest_task_seconds", (lab.namespace, name)) in metrics
        assert metrics["protoqueue_group_tasks", ("mailers", lab.namespace, name, "waiting")] == 1
        assert metrics["protoqueue_resource_ready", ("Queue", "email", lab.namespace, "Reconciled")] == 1
        assert metrics["controller_runtime_reconcile_total", ("queue", "success")] >= 1
        assert metrics["workqueue_adds_total", ("reconcile", "reconcile")] >= 2
        assert metrics["workqueue_depth", ("status", "status")] == 0
        await lab.queue(visibilityTimeout="10ms")

        async def is_told() -> bool:
            values = ("Queue", "email", lab.namespace, "InvalidSpec")
            return (await replica.metrics()).get(("protoqueue_resource_ready", values)) == 0

        await eventually(is_told)
        async with aiohttp.ClientSession() as session, session.get(f"{replica.url}/healthz") as response:
            assert response.status == 200
    finally:
        replica.stop()
        operator.start()


@pytest.mark.skipif(not can_be_another_user(), reason="there are no user namespaces here")
async def test_it_runs_as_a_user_that_has_no_account(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> None:
    operator.stop()
    options = ("--namespace", lab.namespace, "--leader-elect", f"{lab.namespace}/operator")
    unnamed = {"LOGNAME": "", "USER": "", "LNAME": "", "USERNAME": ""}
    replica = Replica(kubeconfig, server.url, tmp_path, *options, variables=unnamed, before=AS_ANOTHER_USER)
    replica.start()
    try:
        await lab.queue()
        await lab.ready()
        assert replica.exit_code is None
    finally:
        replica.stop()
        operator.start()


async def test_only_the_leader_exports_objects(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> None:
    operator.stop()
    options = ("--namespace", lab.namespace, "--leader-elect", f"{lab.namespace}/operator")
    replicas = [Replica(kubeconfig, server.url, tmp_path / name, *options) for name in ("a", "b")]
    for replica in replicas:
        replica.log.parent.mkdir()
        replica.start()
    try:
        await lab.queue()
        await lab.ready()

        async def is_known() -> bool:
            texts = [await replica.metrics_text() for replica in replicas]
            assert all("workqueue_depth" in text for text in texts)
            return sum("protoqueue_resource_ready{" in text for text in texts) == 1

        await eventually(is_known)
        leading = [await replica.leads() for replica in replicas]
        objects = ["protoqueue_queue_tasks{" in await replica.metrics_text() for replica in replicas]
        assert sorted(leading) == [False, True]
        assert objects == leading
    finally:
        for replica in replicas:
            replica.stop()
        operator.start()


async def test_a_paused_queue_says_so_and_wait_tools_are_told_what_cannot_be(lab: Lab) -> None:
    await lab.queue(paused=True)
    await lab.group()
    for kind, name in ((QUEUES, "email"), (CONSUMER_GROUPS, "mailers")):
        condition = await lab.condition(kind, name, status="True", reason="Paused")
        assert "paused: nothing is delivered" in condition["message"]
        await lab.condition(kind, name, "Reconciling", status="False")
    await lab.queue("wrong", visibilityTimeout="10ms")
    await lab.condition(QUEUES, "wrong", "Stalled", status="True", reason="InvalidSpec")
    await lab.group("early", "later")
    await lab.condition(CONSUMER_GROUPS, "early", "Reconciling", status="True", reason="QueueNotFound")
    await lab.condition(CONSUMER_GROUPS, "early", "Stalled", status="False")
    chosen = await lab.kube.list(CONSUMER_GROUPS, lab.namespace, fieldSelector="spec.queueRef.name=email")
    assert [group["metadata"]["name"] for group in chosen["items"]] == ["mailers"]


async def test_a_task_that_waits_costs_no_writes_while_nothing_else_happens(lab: Lab) -> None:
    await lab.queue()
    await lab.ready()
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})

    async def counted() -> str | None:
        status = (await lab.get(QUEUES, "email"))["status"]
        return status.get("oldestTaskTime") if status["tasks"]["waiting"] == 1 else None

    oldest = await eventually(counted)
    assert datetime.fromisoformat(oldest) <= datetime.now(UTC)
    version = (await lab.get(QUEUES, "email"))["metadata"]["resourceVersion"]
    await asyncio.sleep(2 * COUNTER_INTERVAL_S)  # that nothing is written has no other sign
    assert (await lab.get(QUEUES, "email"))["metadata"]["resourceVersion"] == version

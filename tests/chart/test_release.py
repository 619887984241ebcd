"""The real helm installs, tests, upgrades and removes the chart in a cluster whose pods really run.

The tests follow a release through its life, in this order.
"""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession

import nats
from chart.observed import METRIC, OPERATOR, metrics_used
from chart.rbac import Request, denied, permissions
from chart.releasing import NAMESPACE, Cluster, running_cluster
from chart.rendering import CHART, render
from nats_server import NatsServer
from ports import free_port
from protoqueue.protocol.names import QueueName
from waiting import eventually

QUEUE = {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "Queue", "spec": {}}


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    async with running_cluster(directory) as running:
        await running.install()
        yield running


async def test_after_the_installation_the_operator_is_available(cluster: Cluster) -> None:
    deployment = await cluster.get("deployment", "pq-protoqueue", "-n", NAMESPACE)
    assert deployment["status"]["availableReplicas"] == 1


async def test_helm_test_enqueues_a_task_and_leaves_nothing_behind(cluster: Cluster) -> None:
    output = await cluster.helm("test", "pq", "--logs", "--timeout", "60s")
    assert "Phase:          Succeeded" in output
    assert "1 ready" in output
    assert (await cluster.get("queues,pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=test"))["items"] == []


async def test_every_operator_metric_used_is_in_a_scrape_of_the_installed_operator(cluster: Cluster) -> None:
    async with ClientSession() as client:
        answer = await client.get(f"http://127.0.0.1:{cluster.values['metrics']['port']}/metrics")
        answer.raise_for_status()
        exported = set(METRIC.findall(await answer.text()))
    assert {name for name in metrics_used() if name.startswith(OPERATOR)} - exported == set()


async def test_an_upgrade_replaces_the_operator_and_queues_stay_ready(cluster: Cluster) -> None:
    await apply(cluster, {**QUEUE, "metadata": {"name": "email", "namespace": "default"}})
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/email", "--timeout=100s")
    (before,) = await operator_pods(cluster)

    # The new pod becomes ready before the old one goes: on one loopback it needs a port of its own for that.
    await cluster.install(log={"level": "debug"}, metrics={"port": free_port()})

    async def replaced() -> bool:
        pods = await operator_pods(cluster)
        return len(pods) == 1 and pods[0] != before

    await eventually(replaced)
    await cluster.kubectl("annotate", "queue/email", "touched=yes")
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/email", "--timeout=100s")


async def test_a_rollback_brings_the_earlier_operator_back_and_queues_stay_ready(cluster: Cluster) -> None:
    await cluster.helm("rollback", "pq", "--wait", "--timeout", "60s")
    deployment = await cluster.get("deployment", "pq-protoqueue", "-n", NAMESPACE)
    assert "--log-level=info" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    await cluster.kubectl("annotate", "queue/email", "touched=again", "--overwrite")
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/email", "--timeout=100s")


async def operator_pods(cluster: Cluster) -> list[str]:
    pods = await cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")
    return [pod["metadata"]["uid"] for pod in pods["items"]]


async def test_an_upgrade_brings_the_definitions_of_its_chart(cluster: Cluster, tmp_path: Path) -> None:
    older = shutil.copytree(CHART, tmp_path / "protoqueue")
    file = older / "files" / "crds" / "queues.yaml"
    definition = yaml.safe_load(file.read_text())
    (version,) = definition["spec"]["versions"]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["deduplicationWindow"]
    file.write_text(yaml.safe_dump(definition))
    window = {**QUEUE, "metadata": {"name": "window", "namespace": "default"}, "spec": {"deduplicationWindow": "5m"}}

    await cluster.install(chart=older)
    assert "unknown field" in await cluster.kubectl("apply", "-f", "-", stdin=json.dumps(window), check=False)
    await cluster.install()
    await apply(cluster, window)
    assert (await cluster.get("queue", "window"))["spec"]["deduplicationWindow"] == "5m"


async def test_uninstalling_keeps_definitions_and_queues_and_another_installation_takes_them_over(
    cluster: Cluster,
) -> None:
    await apply(cluster, {**QUEUE, "metadata": {"name": "orphan", "namespace": "default"}})
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/orphan", "--timeout=60s")
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "90s")
    await eventually(lambda: no_operator(cluster))
    assert (await cluster.get("queue", "email"))["spec"]["delivery"] == "WorkQueue"
    assert "not found" in await cluster.kubectl("get", "lease", "pq-protoqueue", "-n", NAMESPACE, check=False)
    # Nobody is there to take finalizers off any more, so none may be left.
    await cluster.kubectl("delete", "queue/orphan", "--timeout=100s")

    await cluster.install()
    await cluster.kubectl("patch", "queue/email", "--type=merge", "-p", '{"spec":{"priorityLevels":4}}')

    async def reconciled() -> bool:
        return bool((await cluster.get("queue", "email"))["status"]["priorityLevels"] == 4)

    await eventually(reconciled)


async def no_operator(cluster: Cluster) -> bool:
    return not await operator_pods(cluster)


async def test_another_replica_takes_over_from_a_leader_that_is_killed(cluster: Cluster) -> None:
    first = await lease_holder(cluster)
    await cluster.kubectl("apply", "-f", "-", stdin=json.dumps(await replica(cluster, free_port())))
    await cluster.kubectl("wait", "--for=condition=Ready", "pod/replica", "-n", NAMESPACE, "--timeout=100s")
    assert await lease_holder(cluster) == first
    # With nobody to start the first again, it is the other one that has to act.
    await cluster.kubectl("scale", "deployment/pq-protoqueue", "--replicas=0", "-n", NAMESPACE)
    await cluster.kubectl("delete", "pod", "--force", "-l", "app.kubernetes.io/component=operator", "-n", NAMESPACE)

    async def taken_over() -> bool:
        return await lease_holder(cluster) not in ("", first)

    await eventually(taken_over)
    await apply(cluster, {**QUEUE, "metadata": {"name": "later", "namespace": "default"}})
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/later", "--timeout=100s")
    await cluster.kubectl("delete", "pod/replica", "-n", NAMESPACE)


async def lease_holder(cluster: Cluster) -> str:
    lease = await cluster.get("lease", "pq-protoqueue", "-n", NAMESPACE)
    return str(lease["spec"]["holderIdentity"])


async def replica(cluster: Cluster, port: int) -> dict[str, object]:
    """One more pod of the operator's Deployment, with a port of its own and known to no controller."""
    template = (await cluster.get("deployment", "pq-protoqueue", "-n", NAMESPACE))["spec"]["template"]
    (container,) = template["spec"]["containers"]
    container["args"].append(f"--liveness=http://127.0.0.1:{port}/healthz")
    container["ports"][0]["containerPort"] = port
    metadata = {"name": "replica", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


async def test_the_roles_of_the_release_allow_all_that_its_operators_have_asked_for(cluster: Cluster) -> None:
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "90s")
    await eventually(lambda: no_operator(cluster))
    requests = cluster.operator_requests()
    assert Request("patch", "protoqueue.dev", "queues/status", "default", "later") in requests
    assert denied(requests, permissions(render({}, namespace=NAMESPACE), "pq-protoqueue", NAMESPACE)) == set()


async def test_an_operator_of_one_namespace_needs_only_its_rights_there(cluster: Cluster) -> None:
    before = len(cluster.request_log.read_text().splitlines())
    await cluster.kubectl("create", "namespace", "mail")
    await cluster.install(namespaces=["mail"])
    for namespace in ("mail", "default"):
        await apply(cluster, {**QUEUE, "metadata": {"name": "letters", "namespace": namespace}})
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/letters", "--timeout=100s", "-n", "mail")
    assert "status" not in await cluster.get("queue", "letters", "-n", "default")
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "90s")
    await eventually(lambda: no_operator(cluster))

    granted = permissions(render({"namespaces": ["mail"]}, namespace=NAMESPACE), "pq-protoqueue", NAMESPACE)
    assert denied(cluster.operator_requests(before), granted) == set()


ACCOUNTS = """
accounts {
  THEIRS: {jetstream: enabled, users: [{user: queues, password: secret}]}
  ANYBODY: {jetstream: enabled, users: [{user: anybody, password: ""}]}
}
no_auth_user: anybody
"""


async def test_an_operator_given_a_secret_works_in_the_account_it_names(cluster: Cluster, tmp_path: Path) -> None:
    server = NatsServer(tmp_path, ACCOUNTS)
    await server.start()
    try:
        literals = {"url": server.url, "user": "queues", "password": "secret"}
        options = [f"--from-literal={key}={value}" for key, value in literals.items()]
        await cluster.kubectl("create", "secret", "generic", "account", "-n", NAMESPACE, *options)
        await cluster.install(nats={"bundled": {"enabled": False}, "existingSecret": "account"})
        await apply(cluster, {**QUEUE, "metadata": {"name": "private", "namespace": "default"}})
        await cluster.kubectl("wait", "--for=condition=Ready", "queue/private", "--timeout=100s")
        async with await nats.connect(server.url, user="queues", password="secret") as client:
            assert await client.jetstream().stream_info(QueueName("default", "private").stream)
        assert "1 ready" in await cluster.helm("test", "pq", "--logs", "--timeout", "60s")
    finally:
        server.kill()


async def test_an_upgrade_does_not_swap_a_server_that_holds_tasks_for_three_that_hold_none(cluster: Cluster) -> None:
    def options(replicas: int) -> list[str]:
        # Without the hook: these values do not tell its pod how to reach the API server here.
        values = f"crds.install=false,replicas=0,nats.bundled.replicas={replicas},uninstall.releaseResources=false"
        return ["--set", values, str(CHART)]

    await cluster.helm("install", "bundled", *options(1))
    refused = await cluster.helm("upgrade", "bundled", *options(3), check=False)
    assert "3 would begin without the tasks" in refused
    await cluster.helm("upgrade", "bundled", *options(1))

    remedy = refused.partition("first kubectl ")[2].split()
    await cluster.kubectl(*remedy)
    await cluster.helm("upgrade", "bundled", *options(3))
    await cluster.helm("uninstall", "bundled")


async def test_a_release_of_another_name_takes_the_definitions_over_when_told_to(cluster: Cluster) -> None:
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "90s")
    await eventually(lambda: no_operator(cluster))
    assert "invalid ownership metadata" in await cluster.install("other", check=False)
    await cluster.install("other", "--take-ownership")
    definition = await cluster.get("crd", "queues.protoqueue.dev")
    assert definition["metadata"]["annotations"]["meta.helm.sh/release-name"] == "other"


async def apply(cluster: Cluster, *objects: object) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

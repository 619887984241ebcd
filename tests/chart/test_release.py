"""The real helm installs, tests, upgrades and removes the chart in a cluster whose pods really run.

The tests follow a release through its life, in this order.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession

import nats
from chart.observed import METRIC, OPERATOR, metrics_used
from chart.rbac import Permission, denied, permissions, unused
from chart.releasing import NAMESPACE, Cluster, running_cluster
from chart.rendering import render
from nats_server import NatsServer, free_port
from protoqueue.naming import QueueName
from waiting import eventually

QUEUE = {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "Queue", "spec": {}}
GROUP = {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "ConsumerGroup"}
SLEEPER = {"containers": [{"name": "worker", "image": "unused", "command": ["sleep", "600"]}]}

NOT_ASKED_FOR_HERE = {
    Permission("update", "protoqueue.dev", "consumergroups/finalizers"): "the admission plugin "
    "OwnerReferencesPermissionEnforcement wants it of whoever sets blockOwnerDeletion",
    Permission("create", "apps", "deployments"): "an apply that creates is authorised as create too",
    Permission("get", "", "namespaces"): "asked once a deletion has waited for half a minute",
}
"""What the Roles hold although the operator does not ask for it in this test, and why."""


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
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/email", "--timeout=20s")
    (before,) = await operator_pods(cluster)

    # The new pod becomes ready before the old one goes: on one loopback it needs a port of its own for that.
    await cluster.install(log={"level": "debug"}, metrics={"port": free_port()})

    async def replaced() -> bool:
        pods = await operator_pods(cluster)
        return len(pods) == 1 and pods[0] != before

    await eventually(replaced)
    await cluster.kubectl("annotate", "queue/email", "touched=yes")
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/email", "--timeout=20s")


async def operator_pods(cluster: Cluster) -> list[str]:
    pods = await cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")
    return [pod["metadata"]["uid"] for pod in pods["items"]]


async def test_uninstalling_keeps_definitions_and_queues_and_another_installation_takes_them_over(
    cluster: Cluster,
) -> None:
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "30s")
    await eventually(lambda: no_operator(cluster))
    assert (await cluster.get("queue", "email"))["spec"]["delivery"] == "WorkQueue"

    await cluster.install()
    await cluster.kubectl("patch", "queue/email", "--type=merge", "-p", '{"spec":{"priorityLevels":4}}')

    async def reconciled() -> bool:
        return bool((await cluster.get("queue", "email"))["status"]["priorityLevels"] == 4)

    await eventually(reconciled)


async def no_operator(cluster: Cluster) -> bool:
    return not await operator_pods(cluster)


async def test_the_roles_allow_all_that_the_operator_asks_for_and_hold_nothing_it_does_not(cluster: Cluster) -> None:
    await work_with_everything_the_operator_does(cluster)
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "30s")
    await eventually(lambda: no_operator(cluster))

    requests = cluster.operator_requests()
    granted = set(permissions(render({}, namespace=NAMESPACE), "pq-protoqueue", NAMESPACE))
    assert denied(requests, granted) == set()
    assert unused(requests, granted) == set(NOT_ASKED_FOR_HERE)


async def test_an_operator_of_one_namespace_needs_only_its_rights_there(cluster: Cluster) -> None:
    before = len(cluster.request_log.read_text().splitlines())
    await cluster.kubectl("create", "namespace", "mail")
    await cluster.install(namespaces=["mail"])
    for namespace in ("mail", "default"):
        await apply(cluster, {**QUEUE, "metadata": {"name": "letters", "namespace": namespace}})
    await cluster.kubectl("wait", "--for=condition=Ready", "queue/letters", "--timeout=20s", "-n", "mail")
    assert "status" not in await cluster.get("queue", "letters", "-n", "default")
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "30s")
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
        await cluster.kubectl("wait", "--for=condition=Ready", "queue/private", "--timeout=20s")
        async with await nats.connect(server.url, user="queues", password="secret") as client:
            assert await client.jetstream().stream_info(QueueName("default", "private").stream)
    finally:
        server.kill()


async def test_a_release_of_another_name_takes_the_definitions_over_when_told_to(cluster: Cluster) -> None:
    await cluster.helm("uninstall", "pq", "--wait", "--timeout", "30s")
    await eventually(lambda: no_operator(cluster))
    assert "invalid ownership metadata" in await cluster.install("other", check=False)
    await cluster.install("other", "--take-ownership")
    definition = await cluster.get("crd", "queues.protoqueue.dev")
    assert definition["metadata"]["annotations"]["meta.helm.sh/release-name"] == "other"


async def work_with_everything_the_operator_does(cluster: Cluster) -> None:
    space = {"namespace": "orders"}
    await cluster.kubectl("create", "namespace", "orders")
    url = cluster.values["nats"]["url"]
    await cluster.kubectl("create", "secret", "generic", "account", f"--from-literal=url={url}", "-n", "orders")
    await apply(
        cluster,
        {**QUEUE, "metadata": {"name": "owned", **space}, "spec": {"deletionPolicy": "Delete"}},
        {
            **QUEUE,
            "metadata": {"name": "scaled", **space},
            "spec": {"nats": {"connectionSecretRef": {"name": "account"}}},
        },
        {**QUEUE, "metadata": {"name": "stateful", **space}},
        workload("Deployment", "theirs"),
        workload("StatefulSet", "ordered"),
        group("owned", {"template": {"spec": SLEEPER}}),
        group("scaled", {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}}),
        group("stateful", {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "ordered"}}),
    )
    in_orders = ("-n", "orders")
    for name, target in (("owned", "deployment/owned"), ("scaled", "deployment/theirs"), ("stateful", "sts/ordered")):
        await cluster.kubectl("wait", "--for=condition=Ready", f"pcg/{name}", "--timeout=20s", *in_orders)
        await cluster.kubectl("scale", f"pcg/{name}", "--replicas=2", *in_orders)
        await cluster.kubectl("wait", "--for=jsonpath={.spec.replicas}=2", target, "--timeout=20s", *in_orders)
    await cluster.kubectl("patch", "pcg/owned", "--type=merge", "-p", '{"spec":{"worker":null}}', *in_orders)
    await cluster.kubectl("wait", "--for=delete", "deployment/owned", "--timeout=20s", *in_orders)
    await cluster.kubectl("delete", "pcg,pq", "--all", "--timeout=20s", *in_orders)
    await cluster.kubectl("delete", "namespace", "orders", "--timeout=20s")


def group(queue: str, worker: object) -> dict[str, object]:
    metadata = {"name": queue, "namespace": "orders"}
    return {**GROUP, "metadata": metadata, "spec": {"queueRef": {"name": queue}, "worker": worker}}


def workload(kind: str, name: str) -> dict[str, object]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": SLEEPER}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": "orders"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


async def apply(cluster: Cluster, *objects: object) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

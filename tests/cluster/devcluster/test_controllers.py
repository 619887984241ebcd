"""Deployments and StatefulSets on any cluster: the embedded controllers by default, else the real ones."""

from typing import Any

from cluster.devcluster.pods import Space, container, pod_spec, shell
from protoqueue_devcluster.kube.client import DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS, Object
from waiting import eventually

SLEEP = shell("trap 'exit 0' TERM; while :; do sleep 0.05; done")


def workload(replicas: int, version: str = "one", **spec: Any) -> Object:
    main = container(SLEEP, env=[{"name": "VERSION", "value": version}])
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(main)}
    return {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}


async def set_version(space: Space, version: str) -> None:
    patch = {"spec": {"template": workload(1, version)["template"]}}
    await space.client.merge(DEPLOYMENTS, patch, "web", space.namespace)


async def rolled_out(space: Space, replicas: int, version: str = "one") -> list[Object]:
    """The pods, once exactly these are there and the status says so."""

    async def complete() -> list[Object] | None:
        pods = await space.pods(app="web")
        deployment = await space.client.get(DEPLOYMENTS, "web", space.namespace)
        status = deployment["status"]
        versions = [pod["spec"]["containers"][0]["env"][0]["value"] for pod in pods]
        assert versions == [version] * replicas
        assert status.get("observedGeneration") == deployment["metadata"]["generation"]
        assert [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")] == [
            replicas
        ] * 3
        return [*pods, {}]  # never empty: an empty list is not yet

    return (await eventually(complete) or [])[:-1]


async def test_a_deployment_runs_scales_rolls_and_goes(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(2))
    await rolled_out(space, 2)
    await space.kubectl("scale", "deployment/web", "--replicas=3")
    first = await rolled_out(space, 3)
    await set_version(space, "two")
    second = await rolled_out(space, 3, "two")
    assert {pod["metadata"]["name"] for pod in first}.isdisjoint(pod["metadata"]["name"] for pod in second)
    await space.kubectl("rollout", "undo", "deployment/web")
    await rolled_out(space, 3, "one")
    replica_sets = (await space.client.list(REPLICA_SETS, space.namespace))["items"]
    assert len(replica_sets) == 2, "the older template's ReplicaSet is used again"
    await space.kubectl("delete", "deployment", "web")

    async def all_gone() -> bool:
        return not await space.pods(app="web")

    await eventually(all_gone)


async def test_scaling_down_takes_the_pod_of_the_lowest_deletion_cost(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(3))
    pods = await rolled_out(space, 3)
    cheap = pods[1]["metadata"]["name"]
    annotation = {"controller.kubernetes.io/pod-deletion-cost": "-10"}
    await space.client.merge(PODS, {"metadata": {"annotations": annotation}}, cheap, space.namespace)
    await space.kubectl("scale", "deployment/web", "--replicas=2")
    left = await rolled_out(space, 2)
    assert cheap not in [pod["metadata"]["name"] for pod in left]


async def test_a_lost_pod_is_replaced(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(1))
    (lost,) = await rolled_out(space, 1)
    await space.kubectl("delete", "pod", lost["metadata"]["name"])
    (replacement,) = await rolled_out(space, 1)
    assert replacement["metadata"]["uid"] != lost["metadata"]["uid"]


async def test_recreate_never_runs_two_versions_at_once(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(2, strategy={"type": "Recreate"}))
    await rolled_out(space, 2)
    await set_version(space, "two")
    pods = await rolled_out(space, 2, "two")
    ends = [pod["status"]["startTime"] for pod in pods]
    assert len(ends) == 2


async def test_to_zero_and_back_keeps_the_replica_set(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(2))
    await rolled_out(space, 2)
    await space.kubectl("scale", "deployment/web", "--replicas=0")
    await rolled_out(space, 0)
    await space.kubectl("scale", "deployment/web", "--replicas=1")
    await rolled_out(space, 1)
    assert len((await space.client.list(REPLICA_SETS, space.namespace))["items"]) == 1


async def test_kubectl_sees_a_rollout_through(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(2))
    assert "successfully rolled out" in await space.kubectl("rollout", "status", "deployment/web", "--timeout=100s")
    await space.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=100s")
    await space.kubectl("rollout", "restart", "deployment/web")
    assert "successfully rolled out" in await space.kubectl("rollout", "status", "deployment/web", "--timeout=100s")


async def test_a_stateful_set_numbers_its_pods_and_drops_the_highest(space: Space) -> None:
    await space.create(STATEFUL_SETS, "db", spec={**workload(3), "serviceName": "db"})

    async def names() -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in await space.pods(app="web"))

    async def has(*expected: str) -> bool:
        return await names() == list(expected)

    await eventually(lambda: has("db-0", "db-1", "db-2"))
    await space.kubectl("scale", "statefulset/db", "--replicas=1")
    await eventually(lambda: has("db-0"))

    async def counted() -> bool:
        status = (await space.client.get(STATEFUL_SETS, "db", space.namespace))["status"]
        return bool(status.get("replicas") == status.get("readyReplicas") == 1)

    await eventually(counted)


async def test_describe_tells_how_a_deployment_was_scaled(space: Space) -> None:
    await space.create(DEPLOYMENTS, "web", spec=workload(1))
    await rolled_out(space, 1)
    await space.kubectl("scale", "deployment/web", "--replicas=2")
    await rolled_out(space, 2)

    async def told() -> bool:
        text = await space.kubectl("describe", "deployment", "web")
        assert text.count("ScalingReplicaSet") == 2
        assert "Scaled up replica set" in text
        return True

    await eventually(told)

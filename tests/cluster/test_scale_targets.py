"""Something that exists and is only scaled: a workload of Kubernetes' own, or of whatever kind somebody has added."""

from typing import Any

import pytest

from cluster.lab import DEFINITIONS, IDLE, Lab, existing
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, STATEFUL_SETS, ApiError, Kind
from waiting import eventually

MACHINES = Kind("example.com", "v1", "machines", "Machine")


@pytest.mark.parametrize("kind", [DEPLOYMENTS, STATEFUL_SETS], ids=lambda kind: kind.name)
async def test_something_that_exists_is_scaled_and_otherwise_left_alone(lab: Lab, kind: Kind) -> None:
    await lab.kube.create(kind, existing(replicas=0), lab.namespace)
    await lab.queue()
    await lab.group(
        worker={"scaleTargetRef": {"kind": kind.name, "name": "existing"}},
        autoscale={"maxReplicas": 2, "target": {"tasksPerWorker": 1}},
    )
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})

    async def scaled() -> bool:
        return bool((await lab.get(kind, "existing"))["spec"]["replicas"] == 1)

    await eventually(scaled)
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="True")
    assert await lab.find(DEPLOYMENTS, "mailers") is None


async def machines_are_known(lab: Lab) -> None:
    """A kind of somebody's own with a scale subresource, as operators of other projects have."""
    whole: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {
        "name": MACHINES.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": whole, "status": whole}}},
        "subresources": {"status": {}, "scale": scale},
    }
    name = f"{MACHINES.plural}.{MACHINES.group}"
    names = {"plural": MACHINES.plural, "singular": "machine", "kind": MACHINES.name}
    spec = {"group": MACHINES.group, "scope": "Namespaced", "names": names, "versions": [version]}
    await lab.kube.apply(DEFINITIONS, {"metadata": {"name": name}, "spec": spec}, name, "cluster-tests")

    async def are_served() -> bool:
        try:
            return bool(await lab.kube.list(MACHINES, lab.namespace))
        except ApiError:
            return False

    await eventually(are_served)


async def test_anything_with_a_scale_subresource_is_scaled(lab: Lab) -> None:
    await machines_are_known(lab)
    await lab.kube.create(MACHINES, {"metadata": {"name": "existing"}, "spec": {"replicas": 0}}, lab.namespace)
    await lab.queue()
    target = {"apiVersion": MACHINES.api_version, "kind": MACHINES.name, "name": "existing"}
    await lab.group(worker={"scaleTargetRef": target}, replicas=3)
    await lab.ready(groups=("mailers",))

    async def scaled() -> bool:
        return bool((await lab.get(MACHINES, "existing"))["spec"]["replicas"] == 3)

    await eventually(scaled)


async def test_a_scale_target_that_is_missing_is_named(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"scaleTargetRef": {"name": "missing"}}, autoscale={})
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="False", reason="TargetNotFound")
    assert "Deployment missing" in condition["message"]
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="TargetNotFound")
    assert condition["message"].startswith("spec.worker.scaleTargetRef: Deployment missing cannot be read")

    async def is_told_of() -> bool:
        return "TargetNotFound" in await lab.event_reasons("mailers")

    await eventually(is_told_of)


async def test_a_fixed_size_is_kept_whoever_makes_removes_or_sizes_the_target(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"scaleTargetRef": {"name": "existing"}}, replicas=2)
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="TargetNotFound")

    async def runs_two() -> bool:
        deployment = await lab.get(DEPLOYMENTS, "existing")
        group = await lab.get(CONSUMER_GROUPS, "mailers")
        return bool(deployment["spec"]["replicas"] == group["status"].get("replicas") == 2)

    await lab.kube.create(DEPLOYMENTS, existing(replicas=0), lab.namespace)
    await eventually(runs_two)
    await lab.ready(groups=("mailers",))
    await lab.kube.merge(DEPLOYMENTS, {"spec": {"replicas": 1}}, "existing", lab.namespace)
    await eventually(runs_two)
    await lab.delete(DEPLOYMENTS, "existing")
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="TargetNotFound")


async def test_a_size_that_somebody_gives_a_sleeping_target_is_undone(lab: Lab) -> None:
    await lab.kube.create(DEPLOYMENTS, existing(replicas=0), lab.namespace)
    await lab.queue()
    delays = {"scaleDownDelay": "0s", "idleDelay": "0s"}
    await lab.group(worker={"scaleTargetRef": {"name": "existing"}}, autoscale=delays)
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="True", reason="Idle")
    await lab.kube.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "existing", lab.namespace)
    await has_size(lab, 0)


async def has_size(lab: Lab, replicas: int, name: str = "existing") -> None:
    async def has() -> bool:
        return await lab.replicas(name) == replicas

    await eventually(has)


async def two_groups(lab: Lab, first: dict[str, Any], second: dict[str, Any], reason: str = "Reconciled") -> None:
    """Each of a queue of its own, so that nothing but the target is common to them.

    The second comes when the first is what `reason` says.
    """
    for number, worker in ((1, first), (2, second)):
        name = f"group-{number}"
        await lab.queue(f"queue-{number}")
        await lab.group(name, queue=f"queue-{number}", worker=worker, replicas=number * 2)
        if number == 1:
            await lab.ready(queues=("queue-1",))
            await lab.condition(CONSUMER_GROUPS, "group-1", reason=reason)


async def test_of_two_groups_that_name_one_target_the_older_sizes_it_until_it_goes(lab: Lab) -> None:
    await lab.kube.create(DEPLOYMENTS, existing(replicas=0), lab.namespace)
    shared = {"scaleTargetRef": {"name": "existing"}}
    await two_groups(lab, shared, shared)
    condition = await lab.condition(CONSUMER_GROUPS, "group-2", status="False", reason="ScaleTargetTaken")
    assert "group-1" in condition["message"]
    await lab.condition(CONSUMER_GROUPS, "group-2", "Scaling", status="False")
    assert await lab.consumers("queue-2"), "whoever works for it is served all the same"
    await has_size(lab, 2)
    await lab.delete(CONSUMER_GROUPS, "group-1")
    await lab.ready(queues=(), groups=("group-2",))
    await has_size(lab, 4)


async def test_a_target_is_free_as_soon_as_its_group_names_another(lab: Lab) -> None:
    for name in ("existing", "other"):
        await lab.kube.create(DEPLOYMENTS, existing(name, replicas=0), lab.namespace)
    shared = {"scaleTargetRef": {"name": "existing"}}
    await two_groups(lab, shared, shared)
    await lab.condition(CONSUMER_GROUPS, "group-2", status="False", reason="ScaleTargetTaken")
    await lab.group("group-1", queue="queue-1", worker={"scaleTargetRef": {"name": "other"}})
    await lab.ready(queues=(), groups=("group-1", "group-2"))
    await has_size(lab, 4)
    await has_size(lab, 2, "other")


async def test_the_deployment_of_a_group_is_sized_by_that_group_alone(lab: Lab) -> None:
    await two_groups(lab, {"template": IDLE}, {"scaleTargetRef": {"name": "group-1"}})
    condition = await lab.condition(CONSUMER_GROUPS, "group-2", status="False", reason="ScaleTargetTaken")
    assert "group-1" in condition["message"]
    await has_size(lab, 2, "group-1")


async def test_what_a_group_makes_is_its_own_though_another_named_it_before(lab: Lab) -> None:
    await two_groups(lab, {"scaleTargetRef": {"name": "group-2"}}, {"template": IDLE}, reason="TargetNotFound")
    await lab.condition(CONSUMER_GROUPS, "group-1", status="False", reason="ScaleTargetTaken")
    await lab.ready(queues=(), groups=("group-2",))
    await has_size(lab, 4, "group-2")

"""The Deployment that the operator makes of a group's template: what others do to it, and who has its size."""

from typing import Any

import pytest

from cluster.lab import EVENTS, IDLE, Lab, existing
from cluster.operator_process import OperatorProcess
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, ApiError
from waiting import eventually


def idle(seconds: int) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "idle", "image": "none", "command": ["sleep", str(seconds)]}]}}


async def command(lab: Lab) -> list[str]:
    body = await lab.get(DEPLOYMENTS, "mailers")
    found: list[str] = body["spec"]["template"]["spec"]["containers"][0]["command"]
    return found


async def runs(lab: Lab, seconds: int) -> None:
    async def does() -> bool:
        return await command(lab) == ["sleep", str(seconds)]

    await eventually(does)


async def edit(lab: Lab) -> None:
    """Somebody gives the workers another command."""
    containers = (await lab.get(DEPLOYMENTS, "mailers"))["spec"]["template"]["spec"]["containers"]
    containers[0]["command"] = ["sleep", "1"]
    await merge(lab, {"template": {"spec": {"containers": containers}}})


async def merge(lab: Lab, spec: dict[str, Any], subresource: str | None = None) -> None:
    await lab.kube.merge(DEPLOYMENTS, {"spec": spec}, "mailers", lab.namespace, subresource)


async def events(lab: Lab) -> list[tuple[str, str]]:
    """Reason and message of what was said of the group, as often as it was said: the same again is counted."""
    items = (await lab.kube.list(EVENTS, lab.namespace))["items"]
    told = [each for each in items if each["involvedObject"]["name"] == "mailers"]
    return [(each["reason"], each["message"]) for each in told for _ in range(each.get("count", 1))]


async def test_an_edit_of_the_template_reaches_the_deployment_and_a_foreign_edit_is_undone(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=0)
    await lab.ready(groups=("mailers",))
    await lab.group(worker={"template": idle(2000)}, replicas=0)
    await runs(lab, 2000)
    await edit(lab)
    await runs(lab, 2000)
    assert await lab.replicas() == 0, "an apply does not bring workers up"


async def test_a_deployment_that_somebody_has_edited_or_deleted_is_told_of_once_and_nothing_else_is(lab: Lab) -> None:
    """Neither our own edit and change of size are, nor what others add beside, as a restart of the rollout does."""
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=2)
    await lab.ready(groups=("mailers",))
    await lab.group(worker={"template": idle(2000)}, replicas=1)
    await runs(lab, 2000)
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    await merge(lab, {"template": {"metadata": {"annotations": restarted}}})
    changed = "was changed by somebody else: the Deployment mailers: spec.template.spec.containers[idle].command"
    for number in (1, 2):
        await edit(lab)
        await runs(lab, 2000)

        async def is_told(number: int = number) -> bool:
            told = [message for reason, message in await events(lab) if reason == "DriftRepaired"]
            return told == [changed] * number

        await eventually(is_told)
    await lab.delete(DEPLOYMENTS, "mailers")

    async def is_told_of_the_end() -> bool:
        return ("DriftRepaired", "was deleted by somebody else: the Deployment mailers") in await events(lab)

    await eventually(is_told_of_the_end)
    await runs(lab, 2000)
    assert [reason for reason, _ in await events(lab)].count("DriftRepaired") == 3


def appliers_of_replicas(deployment: dict[str, Any]) -> list[str]:
    entries = deployment["metadata"]["managedFields"]
    return [
        each["manager"]
        for each in entries
        if each["operation"] == "Apply" and "f:replicas" in each["fieldsV1"].get("f:spec", {})
    ]


async def test_the_size_stays_with_whoever_writes_the_scale_and_no_apply_takes_it_back(lab: Lab) -> None:
    """The first apply has to state a size; who writes another one, as kubectl scale does, meets no conflict."""
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=2)
    await lab.ready(groups=("mailers",))
    assert (await lab.get(DEPLOYMENTS, "mailers"))["spec"]["replicas"] == 2
    await merge(lab, {"replicas": 1}, "scale")
    assert appliers_of_replicas(await lab.get(DEPLOYMENTS, "mailers")) == []

    async def is_kept() -> bool:
        return await lab.replicas() == 2

    await eventually(is_kept)
    await lab.group(worker={"template": idle(2000)}, replicas=2)
    await runs(lab, 2000)
    deployment = await lab.get(DEPLOYMENTS, "mailers")
    assert deployment["spec"]["replicas"] == 2
    assert appliers_of_replicas(deployment) == []


async def test_a_deployment_edited_while_the_operator_was_away_is_put_right(
    lab: Lab, operator: OperatorProcess
) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=0)
    await lab.ready(groups=("mailers",))
    operator.stop()
    try:
        await edit(lab)
    finally:
        operator.start()

    await runs(lab, 1000)


@pytest.mark.parametrize("worker", [None, {"template": None, "scaleTargetRef": {"name": "existing"}}])
async def test_a_group_without_a_template_any_more_ends_the_deployment_it_owned(
    lab: Lab, worker: dict[str, Any] | None
) -> None:
    await lab.kube.create(DEPLOYMENTS, existing(replicas=1), lab.namespace)
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=1)
    await lab.ready(groups=("mailers",))
    await eventually(lambda: lab.find(DEPLOYMENTS, "mailers"))
    await lab.group(worker=worker)
    await lab.gone(DEPLOYMENTS, "mailers")
    await lab.ready(groups=("mailers",))

    async def counted() -> bool:
        status = (await lab.get(CONSUMER_GROUPS, "mailers"))["status"]
        return bool(status.get("desiredReplicas") == (1 if worker else None))

    await eventually(counted)
    assert "metadata" in await lab.get(DEPLOYMENTS, "existing"), "what is not its own stays"


async def test_a_deployment_of_somebody_else_is_left_alone(lab: Lab) -> None:
    await lab.kube.create(DEPLOYMENTS, existing("mailers", replicas=0), lab.namespace)
    await lab.queue()
    await lab.group(worker={"template": IDLE})
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="ForeignAsset")
    assert "scaleTargetRef" in condition["message"]
    assert (await lab.get(DEPLOYMENTS, "mailers"))["metadata"].get("ownerReferences") is None


async def test_a_quantity_that_is_none_is_refused_before_it_is_stored_and_names_its_field(lab: Lab) -> None:
    resources = {"requests": {"memory": "256MB"}}
    template = {"spec": {"containers": [{**IDLE["spec"]["containers"][0], "resources": resources}]}}
    await lab.queue()
    with pytest.raises(ApiError, match=r"template\.spec\.containers\[0\]\.resources\.requests\.memory.*256MB"):
        await lab.group(worker={"template": template})

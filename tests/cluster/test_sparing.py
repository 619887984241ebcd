"""When a group gets smaller, its idle workers go first."""

from cluster.lab import Lab
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS
from waiting import eventually

UNTIL_RELEASED = """
from pathlib import Path

@worker.handler
async def handle(payload: dict):
    pod = os.environ["HOSTNAME"]
    tell("began", pod)
    while not Path(f"release-{pod}").exists():
        await asyncio.sleep(0.05)
    tell("ended", pod)
"""


async def resize(lab: Lab, size: int) -> None:
    await lab.kube.merge(CONSUMER_GROUPS, {"spec": {"replicas": size}}, "mailers", lab.namespace, "scale")


async def has(lab: Lab, size: int) -> bool:
    return len(await lab.pods()) == size


async def names(lab: Lab) -> set[str]:
    return {pod["metadata"]["name"] for pod in await lab.pods()}


async def test_the_worker_that_has_a_task_stays_although_it_is_the_youngest(lab: Lab) -> None:
    await lab.queue()
    template = lab.worker_template(UNTIL_RELEASED, PROTOQUEUE_CONCURRENCY="1")
    await lab.group(worker={"template": template}, replicas=2)
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue_batch([{}, {}])
        await eventually(lambda: len(lab.told) == 2)
        older = await names(lab)
        await resize(lab, 3)
        await eventually(lambda: has(lab, 3))
        (youngest,) = await names(lab) - older
        await queue.enqueue({})
        await eventually(lambda: ["began", youngest] in lab.told)
    for pod in older:
        (lab.directory / f"release-{pod}").touch()
        await eventually(lambda pod=pod: ["ended", pod] in lab.told)
    await resize(lab, 1)
    await eventually(lambda: has(lab, 1))
    assert await names(lab) == {youngest}
    assert ["ended", youngest] not in lab.told
    (lab.directory / f"release-{youngest}").touch()
    await eventually(lambda: ["ended", youngest] in lab.told)

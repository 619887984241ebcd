"""How a group says what its size is, and goes on being scaled, where something is in the way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.lab import IDLE, Lab
from cluster.operator_process import OperatorProcess
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.throttle import ThrottledUntil
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, ApiError
from waiting import eventually

ONE_EACH = {"maxReplicas": 8, "target": {"tasksPerWorker": 1}}

SLOW = """
worker = protoqueue.Worker(concurrency=1)

@worker.handler
async def handle(payload: dict):
    await asyncio.sleep(0.5)
"""


async def enqueue(lab: Lab, count: int, **fields: Any) -> None:
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        for number in range(count):
            await queue.enqueue({"n": number}, **{name: value(number) for name, value in fields.items()})


async def has_size(lab: Lab, size: int) -> None:
    async def has() -> bool:
        return await lab.replicas() == size

    await eventually(has)


async def test_a_group_whose_workers_crash_says_so_until_one_stays(lab: Lab) -> None:
    crashing = {"spec": {"containers": [{"name": "worker", "image": "none", "command": ["false"]}]}}
    await lab.queue()
    await lab.group(worker={"template": crashing}, replicas=3)
    await lab.ready()
    await enqueue(lab, 10)

    async def is_told() -> dict[str, Any]:
        return await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="WorkersFailing")

    condition = await eventually(is_told, timeout_s=120)
    assert "3 workers available; container worker exited 1, " in condition["message"]
    assert (await lab.get(CONSUMER_GROUPS, "mailers"))["status"]["desiredReplicas"] == 3
    await lab.group(worker={"template": IDLE}, replicas=3)

    async def is_ready() -> bool:
        await lab.ready(groups=("mailers",))
        return bool((await lab.get(CONSUMER_GROUPS, "mailers"))["status"].get("availableReplicas") == 3)

    await eventually(is_ready)


async def test_a_refused_edit_does_not_end_the_scaling_of_a_group_nor_does_a_restart(
    lab: Lab, operator: OperatorProcess
) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, autoscale=ONE_EACH)
    await lab.ready(groups=("mailers",))
    await has_size(lab, 0)
    await lab.group(priorityWeights=[1, 2])
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="InvalidSpec")
    await enqueue(lab, 2)
    await has_size(lab, 2)
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="InvalidSpec")
    operator.stop()
    operator.start()
    await enqueue(lab, 2)
    await has_size(lab, 4)


async def test_a_queue_that_is_refused_does_not_end_the_scaling_of_its_group(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, autoscale=ONE_EACH)
    await lab.ready(groups=("mailers",))
    await lab.queue(visibilityTimeout="10ms")
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="QueueNotReady")
    await enqueue(lab, 2)
    await has_size(lab, 2)


async def test_who_else_writes_the_size_is_named(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=1)
    await lab.ready(groups=("mailers",))
    for _ in range(3):
        await lab.kube.merge(DEPLOYMENTS, {"spec": {"replicas": 2}}, "mailers", lab.namespace, "scale")
        await has_size(lab, 1)
    told = await lab.condition(CONSUMER_GROUPS, "mailers", "Contended", status="True", reason="SizeOverwritten")
    deployment = await lab.get(DEPLOYMENTS, "mailers")
    others = {each["manager"] for each in deployment["metadata"]["managedFields"]} - {"protoqueue-operator"}
    assert told["message"].split()[0] in {*others, "cluster-tests"}

    async def is_told_once() -> bool:
        return (await lab.event_reasons("mailers")).count("SizeOverwritten") == 1

    await eventually(is_told_once)


async def test_a_size_written_beside_autoscale_is_said_to_have_no_effect_and_removing_autoscale_keeps_the_size(
    lab: Lab,
) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, autoscale={"minReplicas": 2, "maxReplicas": 2})
    await has_size(lab, 2)
    await lab.group(autoscale=None)
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="False", reason="Disabled")
    assert condition["message"].endswith("keeping 2 workers")
    assert await lab.replicas() == 2
    await lab.group(autoscale={"minReplicas": 2, "maxReplicas": 2})
    await lab.kube.merge(CONSUMER_GROUPS, {"spec": {"replicas": 5}}, "mailers", lab.namespace, "scale")
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", "Contended", status="True", reason="ReplicasIgnored")
    assert "written through its scale (kubectl scale), is ignored" in condition["message"]
    await lab.group(replicas=6)

    async def is_named() -> bool:
        told = await lab.condition(CONSUMER_GROUPS, "mailers", "Contended", status="True", reason="ReplicasIgnored")
        return "last written by cluster-tests" in told["message"]

    await eventually(is_named)
    await lab.group(replicas=None)
    await lab.condition(CONSUMER_GROUPS, "mailers", "Contended", status="False")


@pytest.mark.parametrize(
    ("queue", "group", "limit"),
    [
        ({"ordering": {"partitions": 2}}, {}, "ordering.partitions"),
        ({"priorityLevels": 1}, {"maxInFlight": 2}, "maxInFlight"),
    ],
)
async def test_no_worker_comes_that_could_get_no_task(
    lab: Lab, queue: dict[str, Any], group: dict[str, Any], limit: str
) -> None:
    await lab.queue(**queue)
    await lab.group(worker={"template": IDLE}, autoscale=ONE_EACH, **group)
    await lab.ready(groups=("mailers",))
    await enqueue(lab, 8, **({"ordering_key": lambda number: f"key-{number}"} if "ordering" in queue else {}))
    limited = "8 waiting would need 8 workers; 2 tasks can be in flight at a time"

    async def is_told() -> bool:
        condition = await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="InFlightLimited")
        return limited in condition["message"] and limit in condition["message"]

    await eventually(is_told)
    assert await lab.replicas() == 2


async def test_while_a_handler_throttles_a_group_it_does_not_grow_and_says_until_when(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, autoscale=ONE_EACH)
    await lab.ready(groups=("mailers",))
    until = datetime.now(UTC) + timedelta(hours=1)
    key = GroupName(QueueName(lab.namespace, "email"), "mailers").throttle_key
    async with await lab.client() as client:
        throttle = ThrottledUntil(until, "429 Too Many Requests", "mailers-1").encode()
        revision = await client._broker.write_key(DONE_BUCKET, key, throttle, 0, 60)
        await enqueue(lab, 5)

        async def is_told() -> dict[str, Any]:
            return await lab.condition(CONSUMER_GROUPS, "mailers", "Throttled", status="True")

        condition = await eventually(is_told)
        told = f"no task is started before {until:%Y-%m-%dT%H:%M:%SZ}: 429 Too Many Requests"
        assert (condition["reason"], condition["message"]) == ("ThrottledByHandler", told)
        scaling = await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="Throttled")
        assert "holding 0 workers" in scaling["message"]
        assert await lab.replicas() == 0
        over = ThrottledUntil(datetime.now(UTC)).encode()
        await client._broker.write_key(DONE_BUCKET, key, over, revision, 60)
    await has_size(lab, 5)
    await lab.condition(CONSUMER_GROUPS, "mailers", "Throttled", status="False", reason="NotThrottled")


async def test_the_first_tasks_that_a_group_ever_gets_are_in_its_queues_samples(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, autoscale=ONE_EACH)
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="Idle")
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue_batch([{"n": number} for number in range(3)])
        await has_size(lab, 3)

        async def are_counted() -> bool:
            return sum(sample.arrivals for sample in (await queue.samples(since=600)).samples) == 3

        await eventually(are_counted)


@pytest.mark.parametrize(
    ("autoscale", "says"),
    [
        ({"target": {"drainTime": "30s", "maxWait": "5s"}}, "exactly one of tasksPerWorker, drainTime and maxWait"),
        ({"target": {}}, "exactly one of tasksPerWorker, drainTime and maxWait"),
        ({"minReplicas": 3, "maxReplicas": 2}, "minReplicas exceeds maxReplicas"),
        ({"maxReplicas": 2, "fallback": {"replicas": 3}}, "fallback.replicas exceeds maxReplicas"),
        ({"activationTasks": 0}, "activationTasks"),
        ({"scaleUpLimit": {"workers": 0}}, "scaleUpLimit.workers"),
    ],
)
async def test_scaling_that_contradicts_itself_is_refused(lab: Lab, autoscale: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError, match=re.escape(says)):
        await lab.group(autoscale=autoscale)
    await lab.group(autoscale={"target": {"maxWait": "5s"}, "activationTasks": 2, "scaleUpLimit": {"workers": 1}})


async def test_a_group_with_a_longest_wait_grows_for_what_waits_too_long_and_says_by_what_speed(lab: Lab) -> None:
    """Half a second of each worker for each task: one alone would need six seconds."""
    await lab.queue()
    await lab.group(
        worker={"template": lab.worker_template(SLOW)},
        autoscale={"maxReplicas": 6, "target": {"maxWait": "1s"}, "idleDelay": "1s", "scaleDownDelay": "1s"},
    )
    await lab.ready(groups=("mailers",))
    await enqueue(lab, 60)

    async def is_told() -> bool:
        events = [event["message"] for event in await lab.events("mailers")]
        return any("one worker does" in message and "→" in message for message in events)

    await eventually(is_told)
    await has_size(lab, 0)

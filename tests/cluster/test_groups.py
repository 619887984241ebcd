"""A ConsumerGroup in the cluster: its consumers, its configuration, its workers' Deployment, and its size."""

import time
from typing import Any

import pytest

from cluster.lab import IDLE, Lab
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, QUEUES, ApiError
from waiting import eventually

SECOND = 10**9


async def test_a_group_has_a_consumer_for_each_level(lab: Lab) -> None:
    await lab.queue(visibilityTimeout="9s")
    await lab.group(maxInFlight=70)
    await lab.ready(groups=("mailers",))
    consumers = await lab.consumers()
    assert sorted(consumers) == ["mailers_p0", "mailers_p1", "mailers_p2"]
    config = consumers["mailers_p1"]["config"]
    prefix = f"pq.{lab.namespace}.email"
    new = ["task.1", "retry.*.1"]
    taken = (*new, *(f"due.{each}" for each in new), "due.unique.*.1")
    assert config["filter_subjects"] == [f"{prefix}.{each}" for each in taken]
    assert (config["ack_policy"], config["max_deliver"]) == ("explicit", -1)
    assert (config["max_ack_pending"], config["ack_wait"]) == (70, 9 * SECOND)
    owner = config["metadata"]["protoqueue.dev/owner"]
    assert (
        owner
        == f"ConsumerGroup/{lab.namespace}/mailers/{(await lab.get(CONSUMER_GROUPS, 'mailers'))['metadata']['uid']}"
    )


@pytest.mark.parametrize("group_first", [True, False])
async def test_the_order_of_creation_does_not_matter(lab: Lab, group_first: bool) -> None:
    if group_first:
        await lab.group()
        condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="QueueNotFound")
        assert "spec.queueRef.name" in condition["message"]
        await lab.queue()
    else:
        await lab.queue()
        await lab.group()
    await lab.ready(groups=("mailers",))


async def test_workers_learn_their_group_from_the_bucket_and_changes_reach_them_live(lab: Lab) -> None:
    await lab.queue()
    await lab.group(priorityPolicy="Strict", retry={"maxAttempts": 2})
    await lab.ready(groups=("mailers",))
    entry = await lab.entry("email", "mailers")
    assert entry is not None
    assert [consumer["name"] for consumer in entry["consumers"]] == ["mailers_p2", "mailers_p1", "mailers_p0"]
    assert (entry["priorityPolicy"], entry["retry"]["maxAttempts"]) == ("Strict", 2)
    await lab.group(retry={"maxAttempts": 4}, visibilityTimeout="11s", maxInFlight=5)
    await lab.ready(groups=("mailers",))
    entry = await lab.entry("email", "mailers")
    assert entry is not None
    assert (entry["retry"]["maxAttempts"], entry["visibilityTimeout"], entry["maxInFlight"]) == (4, "11s", 5)
    config = (await lab.consumers())["mailers_p0"]["config"]
    assert (config["ack_wait"], config["max_ack_pending"]) == (11 * SECOND, 5)


async def test_of_retry_a_group_does_otherwise_only_what_it_states_and_follows_its_queue_in_the_rest(lab: Lab) -> None:
    """The API server stores what is stated: a default there would hide the queue's."""
    await lab.queue(retry={"maxAttempts": 9, "maxDelay": "20s", "jitter": 0})
    await lab.group(retry={"maxAttempts": 2})
    await lab.ready(groups=("mailers",))

    async def workers_learn() -> dict[str, Any]:
        entry = await lab.entry("email", "mailers")
        return entry["retry"] if entry else {}

    stated = {"maxAttempts": 2, "initialDelay": "1s", "multiplier": 2.0, "maxCrashes": 5, "rolloutGrace": "900s"}
    assert await workers_learn() == {**stated, "maxDelay": "20s"}
    await lab.queue(retry={"maxAttempts": 9, "maxDelay": "40s", "jitter": 0.5})

    async def have_followed() -> bool:
        return await workers_learn() == {**stated, "maxDelay": "40s", "jitter": 0.5}

    await eventually(have_followed)


async def test_a_group_whose_workers_do_not_come_up_is_not_ready_until_they_do(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": {"spec": {**IDLE["spec"], "nodeSelector": {"no.such/node": "anywhere"}}}})
    await lab.ready(groups=("mailers",))
    await lab.kube.merge(DEPLOYMENTS, {"spec": {"progressDeadlineSeconds": 1}}, "mailers", lab.namespace)
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="WorkersFailing")
    assert "timed out progressing" in condition["message"]
    await lab.group(worker={"template": lab.worker_template("")})
    await lab.ready(groups=("mailers",))


async def test_what_a_group_reads_once_cannot_be_changed(lab: Lab) -> None:
    await lab.queue()
    await lab.group(startFrom="New")
    for field, change in (("startFrom", {"startFrom": "All"}), ("queueRef", {"queueRef": {"name": "other"}})):
        with pytest.raises(ApiError, match=f"{field} is immutable"):
            await lab.kube.merge(CONSUMER_GROUPS, {"spec": change}, "mailers", lab.namespace)


async def test_a_change_of_the_queue_reaches_its_group(lab: Lab) -> None:
    await lab.queue(priorityLevels=2)
    await lab.group()
    await lab.ready(groups=("mailers",))
    await lab.queue(priorityLevels=4, visibilityTimeout="13s")
    await eventually(lambda: lab.consumers())

    async def grown() -> bool:
        consumers = await lab.consumers()
        return len(consumers) == 4 and consumers["mailers_p0"]["config"]["ack_wait"] == 13 * SECOND

    await eventually(grown)


@pytest.mark.parametrize("of_queue", [True, False])
async def test_pausing_binds_every_client_within_a_second(lab: Lab, of_queue: bool) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))

    async def paused() -> set[bool]:
        return {consumer.get("paused", False) for consumer in (await lab.consumers()).values()}

    assert await paused() == {False}
    took = []
    for wanted in (True, False) * 3:
        began = time.monotonic()
        await (lab.queue(paused=wanted) if of_queue else lab.group(paused=wanted))

        async def is_so(wanted: bool = wanted) -> bool:
            return await paused() == {wanted}

        await eventually(is_so)
        took.append(time.monotonic() - began)
    assert min(took) < 1, "a machine that is busy with other things may hold up some of them"


async def test_an_ordered_queue_has_a_consumer_for_each_partition(lab: Lab) -> None:
    await lab.queue(ordering={"partitions": 3})
    await lab.group()
    await lab.ready(groups=("mailers",))
    consumers = await lab.consumers()
    assert sorted(consumers) == ["mailers_o0", "mailers_o1", "mailers_o2"]
    assert {consumer["config"]["max_ack_pending"] for consumer in consumers.values()} == {1}


async def test_each_group_of_a_broadcast_queue_gets_its_own_copy_from_where_it_starts(lab: Lab) -> None:
    await lab.queue(delivery="Broadcast", priorityLevels=1)
    await lab.group("early")
    await lab.ready(groups=("early",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.group("late")
    await lab.group("history", startFrom="All")
    await lab.ready(groups=("late", "history"))
    consumers = await lab.consumers()
    waiting = {name: consumer["num_pending"] for name, consumer in consumers.items()}
    assert waiting == {"early_p0": 1, "late_p0": 0, "history_p0": 1}
    assert consumers["late_p0"]["config"]["filter_subjects"][1].endswith(".retry.late.0")


async def test_a_broadcast_queue_grows_levels_without_a_moment_in_which_nobody_listens(lab: Lab) -> None:
    await lab.queue(delivery="Broadcast", priorityLevels=1)
    await lab.group("early")
    await lab.ready(groups=("early",))
    await lab.queue(delivery="Broadcast", priorityLevels=2)
    await lab.ready(groups=("early",))
    entry = await lab.entry("email")
    assert entry is not None
    assert entry["priorityLevels"] == 2
    assert sorted(await lab.consumers()) == ["early_p0", "early_p1"]


async def test_a_second_group_of_a_work_queue_is_refused_until_the_first_goes(lab: Lab) -> None:
    await lab.queue()
    await lab.group("first")
    await lab.ready(groups=("first",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.group("second")
    condition = await lab.condition(CONSUMER_GROUPS, "second", status="False", reason="QueueHasGroup")
    assert "the group first" in condition["message"]
    await lab.delete(CONSUMER_GROUPS, "first")
    await lab.gone(CONSUMER_GROUPS, "first")
    await lab.ready(groups=("second",))
    consumers = await lab.consumers()
    assert sorted(consumers) == ["second_p0", "second_p1", "second_p2"]
    assert sum(consumer["num_pending"] for consumer in consumers.values()) == 1, "the successor finds what was left"
    assert await lab.entry("email", "first") is None


async def test_a_queue_waits_for_its_groups_and_says_so(lab: Lab) -> None:
    await lab.queue(deletionPolicy="Delete")
    await lab.group()
    await lab.ready(groups=("mailers",))
    await lab.delete(QUEUES, "email")
    condition = await lab.condition(QUEUES, "email", status="False", reason="WaitingForGroups")
    assert "mailers" in condition["message"]
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="QueueNotFound")
    await lab.delete(CONSUMER_GROUPS, "mailers")
    await lab.gone(QUEUES, "email")
    assert await lab.stream() is None


@pytest.mark.parametrize(
    ("spec", "reason", "field"),
    [
        ({"priorityWeights": [1, 2]}, "InvalidSpec", "spec.priorityWeights"),
        ({"visibilityTimeout": "1ms"}, "InvalidSpec", "spec.visibilityTimeout"),
    ],
)
async def test_a_bad_group_names_its_field(lab: Lab, spec: dict[str, Any], reason: str, field: str) -> None:
    await lab.queue()
    await lab.group(**spec)
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason=reason)
    assert condition["message"].startswith(field)


async def test_a_template_without_containers_is_refused_when_it_is_applied(lab: Lab) -> None:
    with pytest.raises(ApiError, match=r"spec\.worker\.template\.spec\.containers"):
        await lab.group(worker={"template": {"spec": {"containers": []}}})


async def test_the_deployment_is_the_groups_own_and_follows_its_size(lab: Lab) -> None:
    await lab.queue()
    group = await lab.group(worker={"template": IDLE}, replicas=2)
    await lab.ready(groups=("mailers",))
    deployment = await lab.get(DEPLOYMENTS, "mailers")
    (owner,) = deployment["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (group["metadata"]["uid"], True)
    env = {each["name"]: each["value"] for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env == {
        "PROTOQUEUE_NATS_URL": lab.nats_url,
        "PROTOQUEUE_QUEUE": f"{lab.namespace}/email",
        "PROTOQUEUE_GROUP": "mailers",
        "PROTOQUEUE_GRACE_PERIOD": "30",
    }
    assert deployment["spec"]["replicas"] == 2
    await lab.kube.merge(CONSUMER_GROUPS, {"spec": {"replicas": 1}}, "mailers", lab.namespace, "scale")

    async def follows() -> bool:
        status = (await lab.get(CONSUMER_GROUPS, "mailers"))["status"]
        return await lab.replicas() == 1 and status["desiredReplicas"] == 1

    await eventually(follows)
    scale = await lab.kube._request("GET", CONSUMER_GROUPS.path(lab.namespace, "mailers", "scale"))
    assert scale["status"]["selector"] == "protoqueue.dev/consumer-group=mailers"
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="False", reason="Disabled")


async def test_what_is_new_is_ready_with_its_numbers(lab: Lab) -> None:
    await lab.queue()
    await lab.ready()
    counts = (await lab.get(QUEUES, "email"))["status"]["tasks"]
    assert counts == {"waiting": 0, "inFlight": 0, "scheduled": 0, "dead": 0, "stranded": 0}
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.group()
    await lab.ready(groups=("mailers",))
    assert (await lab.get(CONSUMER_GROUPS, "mailers"))["status"]["tasks"] == {"waiting": 1, "inFlight": 0}


async def test_the_size_shown_follows_the_workers_at_once(lab: Lab) -> None:
    await lab.queue()
    await lab.group(worker={"template": IDLE}, replicas=0)
    await lab.ready(groups=("mailers",))
    took = []
    for size in (2, 0, 1):
        await lab.kube.merge(CONSUMER_GROUPS, {"spec": {"replicas": size}}, "mailers", lab.namespace, "scale")

        async def workers(size: int = size) -> bool:
            return bool((await lab.get(DEPLOYMENTS, "mailers"))["status"].get("replicas", 0) == size)

        async def shown(size: int = size) -> bool:
            status = (await lab.get(CONSUMER_GROUPS, "mailers"))["status"]
            return bool((status["replicas"], status["desiredReplicas"]) == (size, size))

        await eventually(workers)
        began = time.monotonic()
        await eventually(shown)
        took.append(time.monotonic() - began)
    assert min(took) < 2, "a machine that is busy with other things may hold up some of them"

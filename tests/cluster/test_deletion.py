"""What goes with a resource, what stays, and that nothing holds up a namespace for ever."""

from pathlib import Path
from typing import Any

import pytest

import protoqueue
from cluster.lab import Lab
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, NAMESPACES, QUEUES, SECRETS, ApiError, Kind
from waiting import eventually


async def namespace_is_gone(lab: Lab) -> bool:
    try:
        await lab.kube.get(NAMESPACES, lab.namespace)
    except ApiError as error:
        return error.code == 404
    return False


async def test_tasks_in_flight_stay_when_their_group_goes_and_reach_its_successor(lab: Lab) -> None:
    await lab.queue(visibilityTimeout="1h")
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue_batch([{"n": number} for number in range(5)])
        held = await queue.receive(max_tasks=3, wait=5, group="mailers")
        await held[0].ack()
        await lab.delete(CONSUMER_GROUPS, "mailers")
        await lab.gone(CONSUMER_GROUPS, "mailers")
        info = await lab.stream()
        assert info is not None
        assert info["state"]["messages"] == 4, "all but the one that was acknowledged"
        await lab.group("successors")
        await lab.ready(groups=("successors",))
        again = await queue.receive(max_tasks=5, wait=5, group="successors")
        assert sorted(task.payload()["n"] for task in again) == [1, 2, 3, 4]


async def test_growing_levels_neither_lose_nor_reorder_what_is_stored(lab: Lab) -> None:
    await lab.queue(priorityLevels=2)
    await lab.group(priorityPolicy="Strict")
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        for number in range(4):
            await queue.enqueue({"n": number}, priority=1)
            await queue.enqueue({"n": number + 4}, priority=10)
    await lab.queue(priorityLevels=10)
    await lab.ready()

    async def listens_to_all() -> bool:
        entry = await lab.entry("email", "mailers")
        return entry is not None and len(entry["consumers"]) == 10

    await eventually(listens_to_all)  # the group, which was Ready before, comes after its queue
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue({"n": 8}, priority=10)
        found: list[int] = []
        while len(found) < 9:
            for task in await queue.receive(max_tasks=1, wait=5, group="mailers"):
                found.append(task.payload()["n"])
                await task.ack()
    assert found == [8, 4, 5, 6, 7, 0, 1, 2, 3]


@pytest.mark.parametrize("policy", ["Delete", "DeleteIfEmpty"])
async def test_a_stream_of_somebody_else_outlives_the_queue(lab: Lab, policy: str) -> None:
    name = lab.stream_name(suffix="_DLQ")
    await lab.queue(deletionPolicy=policy, deadLetter={"enabled": False})
    await lab.ready()
    await lab.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"foreign.{lab.namespace}"]})
    await lab.nats.jetstream().publish(f"foreign.{lab.namespace}", b"theirs")
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    assert await lab.stream() is None
    left = await lab.stream(suffix="_DLQ")
    assert left is not None
    assert left["state"]["messages"] == 1
    await lab.api(f"STREAM.DELETE.{name}")


async def test_a_namespace_goes_although_nats_hangs(lab: Lab, server: NatsServer) -> None:
    policies = {policy.lower(): policy for policy in ("Retain", "Delete", "DeleteIfEmpty")}
    for name, policy in policies.items():
        await lab.queue(name, deletionPolicy=policy)
        await lab.group(f"of-{name}", name)
    await lab.ready(queues=tuple(policies), groups=tuple(f"of-{name}" for name in policies))
    with server.hung():
        await lab.delete_namespace()
        await eventually(lambda: namespace_is_gone(lab))


async def test_a_namespace_goes_although_a_queue_to_be_emptied_is_not(lab: Lab) -> None:
    await lab.queue(deletionPolicy="DeleteIfEmpty")
    await lab.ready()
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.delete_namespace()
    condition: dict[str, Any] = await lab.condition(QUEUES, "email", status="False", reason="NotEmpty")
    assert "1 task" in condition["message"]
    await eventually(lambda: namespace_is_gone(lab))
    left = await lab.stream()
    assert left is not None
    assert left["state"]["messages"] == 1, "what was not to be lost is not"


async def test_a_queue_that_never_was_is_deleted_at_once_although_its_secret_is_missing(lab: Lab) -> None:
    await lab.queue(deletionPolicy="Delete", nats={"connectionSecretRef": {"name": "nowhere"}})
    await lab.condition(QUEUES, "email", status="False", reason="SecretNotFound")
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")


@pytest.mark.parametrize("first", [CONSUMER_GROUPS, QUEUES], ids=["group first", "queue first"])
async def test_a_queue_and_its_group_that_are_deleted_together_go_when_the_tasks_are_done(
    lab: Lab, first: Kind
) -> None:
    await lab.queue(deletionPolicy="DeleteIfEmpty")
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue_batch([{"n": number} for number in range(3)])
        for kind in (first, QUEUES if first is CONSUMER_GROUPS else CONSUMER_GROUPS):
            await lab.delete(kind, "email" if kind is QUEUES else "mailers")
        condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="Draining")
        assert "3 tasks" in condition["message"]
        done = 0
        while done < 3:
            for task in await queue.receive(max_tasks=3, wait=5, group="mailers"):
                await task.ack()
                done += 1
    await lab.gone(CONSUMER_GROUPS, "mailers")
    await lab.gone(QUEUES, "email")
    assert await lab.stream() is None


async def test_a_group_that_is_deleted_alone_goes_although_its_queue_holds_tasks(lab: Lab) -> None:
    await lab.queue(deletionPolicy="DeleteIfEmpty")
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.delete(CONSUMER_GROUPS, "mailers")
    await lab.gone(CONSUMER_GROUPS, "mailers")
    await lab.ready()


async def test_what_lives_in_a_nats_that_is_gone_for_good_goes_on_request(lab: Lab, tmp_path: Path) -> None:
    elsewhere = NatsServer(tmp_path / "elsewhere")
    await elsewhere.start()
    await lab.secret("account", url=elsewhere.url)
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}})
    await lab.group()
    await lab.ready(groups=("mailers",))
    elsewhere.kill()
    await lab.delete(SECRETS, "account")
    await lab.delete(CONSUMER_GROUPS, "mailers")
    await lab.delete(QUEUES, "email")
    condition = await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="NatsUnavailable")
    command = f"kubectl annotate -n {lab.namespace} consumergroup mailers protoqueue.dev/abandon=true"
    assert command in condition["message"]
    abandon = {"metadata": {"annotations": {"protoqueue.dev/abandon": "true"}}}
    await lab.kube.merge(CONSUMER_GROUPS, abandon, "mailers", lab.namespace)
    await lab.gone(CONSUMER_GROUPS, "mailers")
    await lab.gone(QUEUES, "email")
    assert "LeftBehind" in await lab.event_reasons("mailers")


async def test_a_namespace_that_is_made_again_does_not_get_the_tasks_of_the_one_before_unasked(lab: Lab) -> None:
    await lab.queue()
    await lab.ready()
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"secret": 1})
    await lab.delete_namespace()
    await eventually(lambda: namespace_is_gone(lab))
    await lab.kube.create(NAMESPACES, {"metadata": {"name": lab.namespace}})
    await lab.queue()
    condition = await lab.condition(QUEUES, "email", status="False", reason="ForeignAsset")
    assert "annotate the Queue with protoqueue.dev/adopt=<uid of that namespace>" in condition["message"]
    stream = await lab.stream()
    assert stream
    earlier = stream["config"]["metadata"]["protoqueue.dev/namespace-uid"]
    assert earlier not in condition["message"], "the next tenant must not learn it here"
    async with await lab.client() as client:
        with pytest.raises(protoqueue.QueueNotFound):
            await client.queue(f"{lab.namespace}/email")
    adopt = {"metadata": {"annotations": {"protoqueue.dev/adopt": earlier}}}
    await lab.kube.merge(QUEUES, adopt, "email", lab.namespace)
    await lab.condition(QUEUES, "email", status="True")
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        assert len(await queue.peek(5)) == 1

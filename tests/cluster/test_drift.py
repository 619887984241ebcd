"""What somebody else does to the operator's assets is noticed and undone."""

import json

from cluster.lab import Lab
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from waiting import eventually

WITHIN_S = 30


async def test_an_edited_stream_is_set_right_and_an_event_says_so(lab: Lab) -> None:
    await lab.queue(limits={"maxTasks": 50})
    await lab.ready()
    config = await lab.config()
    await lab.api(f"STREAM.UPDATE.{config['name']}", config | {"max_msgs": 3, "description": "an administrator's"})

    async def repaired() -> bool:
        return (await lab.config())["max_msgs"] == 50 and "DriftRepaired" in await lab.event_reasons("email")

    await eventually(repaired, timeout_s=WITHIN_S)
    assert (await lab.config())["description"] == "an administrator's", "what is not the operator's stays"


async def test_a_deleted_stream_is_made_anew_and_the_loss_is_told(lab: Lab) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})

    async def counted() -> bool:
        return bool((await lab.get(QUEUES, "email"))["status"].get("tasks", {}).get("ready") == 1)

    await eventually(counted)
    await lab.api(f"STREAM.DELETE.{lab.stream_name()}")
    condition = await lab.condition(QUEUES, "email", "TasksLost", status="True", reason="StreamGone")
    assert f"{lab.stream_name()} with 1 tasks" in condition["message"]

    async def repaired() -> bool:
        return await lab.stream() is not None and len(await lab.consumers()) == 3

    await eventually(repaired, timeout_s=WITHIN_S)
    await lab.queue(visibilityTimeout="33s")
    await lab.condition(QUEUES, "email", "TasksLost", status="False")


async def test_a_deleted_or_resumed_consumer_is_set_right(lab: Lab) -> None:
    await lab.queue()
    await lab.group(paused=True)
    await lab.ready(groups=("mailers",))
    await lab.api(f"CONSUMER.DELETE.{lab.stream_name()}.mailers_p0")
    await lab.api(f"CONSUMER.PAUSE.{lab.stream_name()}.mailers_p1", {})

    async def repaired() -> bool:
        consumers = await lab.consumers()
        return len(consumers) == 3 and all(consumer.get("paused") for consumer in consumers.values())

    await eventually(repaired, timeout_s=WITHIN_S)
    await eventually(lambda: lab.event_reasons("mailers"))
    assert set(await lab.event_reasons("mailers")) == {"DriftRepaired"}


async def test_an_edited_consumer_with_work_is_set_right(lab: Lab) -> None:
    await lab.queue()
    await lab.group(visibilityTimeout="9s")
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    name, config = "mailers_p0", (await lab.consumers())["mailers_p0"]["config"]
    request = {"stream_name": lab.stream_name(), "config": config | {"ack_wait": 10**9}, "action": "update"}
    assert "error" not in await lab.api(f"CONSUMER.CREATE.{lab.stream_name()}.{name}", request)

    async def repaired() -> bool:
        return bool((await lab.consumers())[name]["config"]["ack_wait"] == 9 * 10**9)

    await eventually(repaired, timeout_s=WITHIN_S)


async def test_an_entry_edited_by_hand_is_written_anew(lab: Lab) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    bucket = await lab.nats.jetstream().key_value("pq-config")
    for names in (("email",), ("email", "mailers")):
        before = await lab.entry(*names)
        await bucket.put(".".join((lab.namespace, *names)), json.dumps({"by": "hand"}).encode())

        async def repaired(names: tuple[str, ...] = names, before: object = before) -> bool:
            return await lab.entry(*names) == before

        await eventually(repaired, timeout_s=WITHIN_S)
    await lab.condition(CONSUMER_GROUPS, "mailers", status="True")

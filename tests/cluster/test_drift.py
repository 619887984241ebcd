"""What somebody else does to the operator's assets is noticed and undone."""

import asyncio
import json

import pytest

from cluster.lab import Lab
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, Kind
from waiting import eventually

WITHIN_S = 30
SECOND = 10**9
MOMENT = "2026-01-01T00:00:00Z"


async def test_an_edited_stream_is_set_right_and_an_event_says_so(lab: Lab) -> None:
    await lab.queue(limits={"maxTasks": 50})
    await lab.ready()
    config = await lab.config(suffix="_NEW")
    await lab.api(f"STREAM.UPDATE.{config['name']}", config | {"max_msgs": 3, "description": "an administrator's"})

    async def repaired() -> bool:
        return (await lab.config(suffix="_NEW"))["max_msgs"] == 50 and "DriftRepaired" in await lab.event_reasons(
            "email"
        )

    await eventually(repaired, timeout_s=WITHIN_S)
    assert (await lab.config(suffix="_NEW"))["description"] == "an administrator's", "what is not the operator's stays"


async def test_a_stream_that_is_edited_all_the_time_costs_few_events(lab: Lab) -> None:
    await lab.queue(limits={"maxTasks": 50})
    await lab.ready()
    config = await lab.config(suffix="_NEW")
    repairs = 0
    while repairs < 12:
        await lab.api(f"STREAM.UPDATE.{config['name']}", config | {"max_msgs": 3})

        async def repaired() -> bool:
            return bool((await lab.config(suffix="_NEW"))["max_msgs"] == 50)

        await eventually(repaired, timeout_s=WITHIN_S)
        repairs += 1
    told = [event for event in await lab.events("email") if event["reason"] == "DriftRepaired"]
    assert len(told) == 1, "one Event that is counted"

    async def counted() -> bool:
        (event,) = [event for event in await lab.events("email") if event["reason"] == "DriftRepaired"]
        return bool(event["count"] == repairs)

    await eventually(counted)


@pytest.mark.parametrize("kind", [QUEUES, CONSUMER_GROUPS], ids=["Queue", "ConsumerGroup"])
async def test_a_status_that_is_edited_is_set_right(lab: Lab, kind: Kind) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    name = "email" if kind is QUEUES else "mailers"
    false = {"type": "Ready", "status": "False", "reason": "Edited", "message": "", "lastTransitionTime": MOMENT}
    await lab.kube.merge(kind, {"status": {"conditions": [false]}}, name, lab.namespace, "status")
    await lab.condition(kind, name, status="True", reason="Reconciled")


async def test_a_deleted_stream_is_made_anew_and_the_loss_is_told(lab: Lab) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})

    async def counted() -> bool:
        return bool((await lab.get(QUEUES, "email"))["status"].get("tasks", {}).get("waiting") == 1)

    await eventually(counted)
    await lab.api(f"STREAM.DELETE.{lab.stream_name()}")
    condition = await lab.condition(QUEUES, "email", "TasksLost", status="True", reason="StreamGone")
    assert f"{lab.stream_name()} with 1 task" in condition["message"]

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


@pytest.mark.parametrize("request_", ["CREATE", "DURABLE.CREATE"])
async def test_edited_consumers_of_idle_queues_are_set_right(lab: Lab, request_: str) -> None:
    """The server announces no such edit, and the consumers of an empty queue are sampled when its turn comes."""
    queues = tuple(f"q{number}" for number in range(30))
    await asyncio.gather(*(lab.queue(name) for name in queues))
    await asyncio.gather(*(lab.group(f"of-{name}", name, visibilityTimeout="9s") for name in queues))
    await lab.ready(queues=queues, groups=tuple(f"of-{name}" for name in queues))
    answers = await lab.nats.subscribe("answers.>")
    for name in queues:
        stream, consumer = lab.stream_name(name), f"of-{name}_p0"
        config = (await lab.consumers(name))[consumer]["config"] | {"ack_wait": SECOND}
        body = json.dumps({"stream_name": stream, "config": config}).encode()
        await lab.nats.publish(f"$JS.API.CONSUMER.{request_}.{stream}.{consumer}", body, reply=f"answers.{name}")
    for _ in queues:
        answer = json.loads((await answers.next_msg(60)).data)
        assert answer["config"]["ack_wait"] == SECOND, "whoever asks is answered by JetStream"

    async def repaired() -> bool:
        found = [(await lab.consumers(name))[f"of-{name}_p0"]["config"] for name in queues]
        return {config["ack_wait"] for config in found} == {9 * SECOND}

    await eventually(repaired)
    await eventually(lambda: lab.event_reasons("of-q0"))
    assert set(await lab.event_reasons("of-q0")) == {"DriftRepaired"}
    assert not answers.pending_msgs, "and by nobody else: the operator only listens"
    await answers.unsubscribe()


async def test_the_counter_of_scheduled_tasks_is_set_right(lab: Lab) -> None:
    await lab.queue()
    await lab.ready()
    stream, name = lab.stream_name(), "_scheduled"
    config = (await lab.api(f"CONSUMER.INFO.{stream}.{name}"))["config"]
    request = {"stream_name": stream, "config": config | {"max_ack_pending": 7}}
    assert "error" not in await lab.api(f"CONSUMER.CREATE.{stream}.{name}", request)

    async def repaired() -> bool:
        info = await lab.api(f"CONSUMER.INFO.{stream}.{name}")
        return bool(info["config"]["max_ack_pending"] == config["max_ack_pending"])

    await eventually(repaired, timeout_s=WITHIN_S)


async def test_a_purged_schedule_is_set_again(lab: Lab) -> None:
    await lab.queue(schedules=[{"name": "nightly", "cron": "0 0 3 * * *"}])
    await lab.ready()
    later = lab.stream_name()
    await lab.api(f"STREAM.PURGE.{later}")

    async def is_there() -> bool:
        subject = f"pq.{lab.namespace}.email.cron.nightly"
        return "error" not in await lab.api(f"STREAM.MSG.GET.{later}", {"last_by_subj": subject})

    await eventually(is_there, timeout_s=WITHIN_S)


@pytest.mark.parametrize("how", ["PURGE", "DELETE"])
async def test_entries_that_went_with_their_bucket_are_written_anew(lab: Lab, how: str) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    before = [await lab.entry("email"), await lab.entry("email", "mailers")]
    assert all(before)
    await lab.api(f"STREAM.{how}.KV_pq-config")

    async def written() -> bool:
        return (
            "error" not in await lab.api("STREAM.INFO.KV_pq-config")
            and [await lab.entry("email"), await lab.entry("email", "mailers")] == before
        )

    await eventually(written, timeout_s=WITHIN_S)

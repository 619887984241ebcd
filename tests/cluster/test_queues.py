"""A Queue in the cluster, and what it is in JetStream, read back with a plain client."""

import contextlib
import json
import re
from collections import Counter
from typing import Any

import pytest
from nats.js.errors import APIError

import protoqueue
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from protoqueue import NewTask
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, ApiError
from waiting import eventually

SECOND = 10**9


async def test_an_applied_queue_becomes_ready_and_says_what_it_is(lab: Lab) -> None:
    await lab.queue()
    await lab.ready()
    status = (await lab.get(QUEUES, "email"))["status"]
    assert status["stream"] == lab.stream_name()
    assert status["deadLetterStream"] == lab.stream_name(suffix="_DLQ")
    assert status["priorityLevels"] == 3

    async def counted() -> bool:
        body = await lab.get(QUEUES, "email")
        nothing = dict.fromkeys(("waiting", "inFlight", "scheduled", "dead", "stranded"), 0)
        return bool(body["status"].get("tasks") == nothing)

    await eventually(counted)


async def test_the_streams_are_as_the_contract_says(lab: Lab) -> None:
    await lab.queue()
    await lab.ready()
    owner = f"Queue/{lab.namespace}/email/{(await lab.get(QUEUES, 'email'))['metadata']['uid']}"
    tasks, dead = await lab.config(), await lab.config(suffix="_DLQ")
    prefix = f"pq.{lab.namespace}.email"
    new = [f"{prefix}.{kind}.{level}" for kind in ("task", "retry.*") for level in range(3)]
    later = [f"{prefix}.{subject}" for subject in ("scheduled.*", "scheduled.*.*", "cron.*")]
    due = [each.replace(prefix, f"{prefix}.due") for each in new]
    unique = [f"{prefix}.{place}" for place in ("scheduled.unique.*.*", *(f"due.unique.*.{n}" for n in range(3)))]
    assert tasks["subjects"] == [*new, f"{prefix}.redrive.*", *later, *due, *unique]
    assert (tasks["retention"], tasks["storage"]) == ("workqueue", "file")
    assert all(tasks[f"allow_{what}"] for what in ("msg_schedules", "msg_ttl", "atomic"))
    assert not tasks.get("sources")
    assert (dead["subjects"], dead["retention"]) == ([f"pqdlq.{lab.namespace}.email.>"], "limits")
    assert {config["metadata"]["protoqueue.dev/owner"] for config in (tasks, dead)} == {owner}
    assert await lab.stream(suffix="_LATER") is None
    assert await lab.stream(suffix="_NEW") is None
    counter = await lab.api(f"CONSUMER.INFO.{tasks['name']}._scheduled")
    assert counter["config"]["filter_subjects"] == [f"{prefix}.scheduled.>"]


@pytest.mark.parametrize(
    ("spec", "suffix", "expected"),
    [
        ({"delivery": "Broadcast"}, "", {"retention": "interest"}),
        ({"storage": "Memory"}, "", {"storage": "memory"}),
        ({"limits": {"maxTasks": 7}}, "_NEW", {"max_msgs": 7, "discard": "new"}),
        ({"limits": {"maxBytes": "1Mi"}}, "_NEW", {"max_bytes": 1 << 20}),
        ({"limits": {"maxTaskSize": "2Ki"}}, "", {"max_msg_size": 2048 + 4096}),
        ({"limits": {"maxAge": "1h"}}, "_NEW", {"max_age": 3600 * SECOND}),
        ({"limits": {"maxTasks": 7, "onFull": "DropOldest"}}, "_NEW", {"discard": "old"}),
        ({"deduplicationWindow": "45s"}, "", {"duplicate_window": 45 * SECOND}),
        ({"deduplicationWindow": "45s", "ordering": {"partitions": 1}}, "_LATER", {"duplicate_window": 45 * SECOND}),
        ({"deadLetter": {"maxAge": "2d", "maxTasks": 9}}, "_DLQ", {"max_age": 2 * 86_400 * SECOND, "max_msgs": 9}),
    ],
)
async def test_each_field_takes_effect(lab: Lab, spec: dict[str, Any], suffix: str, expected: dict[str, Any]) -> None:
    await lab.queue(**spec)
    await lab.ready()
    config = await lab.config(suffix=suffix)
    assert {name: config[name] for name in expected} == expected


async def test_clients_learn_the_settings_from_the_bucket(lab: Lab) -> None:
    await lab.queue(retry={"maxAttempts": 9}, visibilityTimeout="7s", priorityLevels=5, deadLetter={"expired": True})
    await lab.ready()
    entry = await lab.entry("email")
    assert entry is not None
    assert (entry["stream"], entry["priorityLevels"], entry["visibilityTimeout"]) == (lab.stream_name(), 5, "7s")
    assert entry["retry"]["maxAttempts"] == 9
    assert entry["deadLetter"] == {"enabled": True, "expired": True}


async def test_an_edit_takes_effect_without_losing_what_is_stored(lab: Lab) -> None:
    await lab.queue(limits={"maxTasks": 5})
    await lab.ready()
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.queue(limits={"maxTasks": 8}, deduplicationWindow="30s", priorityLevels=4)
    await lab.ready()
    info = await lab.stream(suffix="_NEW")
    assert info is not None
    assert (info["config"]["max_msgs"], info["config"]["duplicate_window"]) == (8, 30 * SECOND)
    assert info["state"]["messages"] == 1
    entry = await lab.entry("email")
    assert entry is not None
    assert entry["priorityLevels"] == 4


async def test_a_restarted_operator_writes_nothing_where_nothing_changed(lab: Lab, operator: OperatorProcess) -> None:
    await lab.queue(schedules=[{"name": "nightly", "cron": "0 0 3 * * *"}])
    await lab.group()
    await lab.ready(groups=("mailers",))
    heard = []
    advisories = await lab.nats.subscribe("$JS.EVENT.ADVISORY.>")
    before = (await lab.get(QUEUES, "email"), await lab.stream())
    operator.stop()
    operator.start()
    await lab.queue("barrier")
    await lab.group("keepers", "barrier")
    await lab.ready(queues=("barrier",), groups=("keepers",))
    made = {lab.stream_name("barrier", suffix) for suffix in ("", "_DLQ")}
    while advisories.pending_msgs or not made <= {each.get("stream") for each in heard}:
        heard.append(json.loads((await advisories.next_msg(60)).data))
    await advisories.unsubscribe()
    changed = {advisory["stream"] for advisory in heard if "stream" in advisory}
    assert lab.stream_name("barrier") in changed
    assert not changed & {lab.stream_name(suffix=suffix) for suffix in ("", "_DLQ")}
    after = (await lab.get(QUEUES, "email"), await lab.stream())
    assert before[0]["metadata"]["resourceVersion"] == after[0]["metadata"]["resourceVersion"]
    assert before[1] is not None
    assert after[1] is not None
    assert before[1]["state"]["last_seq"] == after[1]["state"]["last_seq"]


@pytest.mark.parametrize(("policy", "kept"), [("Retain", True), ("Delete", False)])
async def test_deleting_the_queue_keeps_or_removes_its_streams(lab: Lab, policy: str, kept: bool) -> None:
    await lab.queue(deletionPolicy=policy)
    await lab.ready()
    done = f"$KV.{DONE_BUCKET}.{GroupName(QueueName(lab.namespace, 'email'), 'mailers').done_key('nightly@1')}"
    await lab.nats.jetstream().publish(done, b"")
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        assert await queue.cancel((await queue.enqueue(1, dedup_id="a")).id)
    assert await lab.entry("email._freed") is not None
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    for suffix in ("", "_DLQ"):
        assert (await lab.stream(suffix=suffix) is not None) is kept
    assert await lab.entry("email") is None
    assert (await lab.entry("email._freed") is not None) is kept
    noted = await lab.api(f"STREAM.INFO.KV_{DONE_BUCKET}", {"subjects_filter": done})
    assert bool(noted["state"].get("subjects")) is kept, "a queue of the same name counts its tasks from 1 again"


async def test_a_queue_made_anew_gets_its_tasks_back(lab: Lab) -> None:
    first = await lab.queue()
    await lab.ready()
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    second = await lab.queue()
    await lab.ready()
    info = await lab.stream()
    assert info is not None
    assert info["state"]["messages"] == 1
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert info["config"]["metadata"]["protoqueue.dev/owner"].endswith(second["metadata"]["uid"])


async def test_delete_if_empty_waits_for_the_last_task_and_says_so(lab: Lab) -> None:
    await lab.queue(deletionPolicy="DeleteIfEmpty")
    await lab.ready()
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue({"n": 1})
        await queue.enqueue({"n": 2}, delay=3600)
    await lab.delete(QUEUES, "email")
    condition = await lab.condition(QUEUES, "email", status="False", reason="NotEmpty")
    assert "1 task, 1 task not yet due" in condition["message"]
    await lab.api(f"STREAM.PURGE.{lab.stream_name()}")
    await lab.gone(QUEUES, "email")
    assert await lab.stream() is None


async def test_somebody_elses_stream_is_left_alone_until_it_goes(lab: Lab) -> None:
    name = lab.stream_name()
    subjects = [f"pq.{lab.namespace}.email.{kind}.>" for kind in ("task", "retry")]
    await lab.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, "num_replicas": 1})
    await lab.queue()
    await lab.group()
    condition = await lab.condition(QUEUES, "email", status="False", reason="ForeignAsset")
    assert name in condition["message"]
    await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="QueueNotReady")
    assert (await lab.config())["subjects"] == subjects
    assert await lab.consumers() == {}
    await lab.api(f"STREAM.DELETE.{name}")
    await lab.queue(paused=False, visibilityTimeout="31s")
    await lab.ready(groups=("mailers",))


async def test_what_nats_refuses_is_told_and_heals_when_corrected(lab: Lab) -> None:
    await lab.queue(replicas=3)
    condition = await lab.condition(QUEUES, "email", status="False", reason="NatsRefused")
    assert condition["message"].startswith("spec.replicas: ")
    assert "replicas > 1 not supported" in condition["message"]
    await eventually(lambda: lab.event_reasons("email"))
    assert await lab.event_reasons("email") == ["NatsRefused"]
    await lab.queue(replicas=1)
    await lab.ready()


@pytest.mark.parametrize(
    ("spec", "reason", "field"),
    [
        ({"visibilityTimeout": "1ms"}, "InvalidSpec", "spec.visibilityTimeout"),
        (
            {"schedules": [{"name": "x", "cron": "0 0 25 * * *"}]},
            "InvalidSpec",
            "spec.schedules[x].cron: hour '25' is not valid",
        ),
        (
            {"schedules": [{"name": "x", "cron": "0 0 3 * * *", "timeZone": "Mars/Base"}]},
            "InvalidSpec",
            "spec.schedules[x].timeZone: must be a name",
        ),
        ({"nats": {"connectionSecretRef": {"name": "none"}}}, "SecretNotFound", "spec.nats.connectionSecretRef"),
    ],
)
async def test_a_bad_spec_names_its_field_once_and_heals_when_corrected(
    lab: Lab, spec: dict[str, Any], reason: str, field: str
) -> None:
    await lab.queue(**spec)
    condition = await lab.condition(QUEUES, "email", status="False", reason=reason)
    assert condition["message"].startswith(field)
    await eventually(lambda: lab.event_reasons("email"))
    assert await lab.event_reasons("email") == [reason]
    await lab.queue(**{name: "30s" if name == "visibilityTimeout" else None for name in spec})
    await lab.ready()


async def test_the_schema_refuses_what_must_not_change(lab: Lab) -> None:
    await lab.queue()
    for change in (
        {"storage": "Memory"},
        {"delivery": "Broadcast"},
        {"priorityLevels": 2},
        {"ordering": {"partitions": 2}},
    ):
        with pytest.raises(ApiError, match="422"):
            await lab.queue(**change)


async def test_lanes_are_added_to_a_queue_with_tasks_and_none_is_taken_away(lab: Lab) -> None:
    await lab.queue(priorityLevels=1)
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue("before")
        for lanes in (2, 4):
            await lab.queue(priorityLevels=1, fairness={"lanes": lanes})

            async def is_told(lanes: int = lanes) -> bool:
                entry = await lab.entry("email") or {}
                return entry.get("fairnessLanes") == lanes == queue._settings.lanes

            await eventually(is_told)
            await queue.enqueue_batch([NewTask(n, fairness_key=f"key-{n}") for n in range(8)])
        wanted = {"mailers_p0", *(f"mailers_p0-{lane}" for lane in range(4))}

        async def are_made() -> bool:
            entry = await lab.entry("email", "mailers") or {}
            return {each["name"] for each in entry.get("consumers", ())} == wanted == set(await lab.consumers())

        await eventually(are_made)
        for change in (
            {"fairness": {"lanes": 3}},
            {"fairness": None},
            {"priorityLevels": 65},
            {"delivery": "Broadcast"},
        ):
            with pytest.raises(ApiError, match="422"):
                await lab.queue(**{"fairness": {"lanes": 4}, "priorityLevels": 1} | change)
        worker = protoqueue.Worker(queue.name, group="mailers", url=lab.nats_url)
        keys: Counter[str] = Counter()

        @worker.handler
        async def work(task: protoqueue.Task) -> None:
            keys[task.fairness_key] += 1

        assert await worker.run_once() == 17
    assert keys == {"": 1} | {f"key-{n}": 2 for n in range(8)}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"fairness": {"lanes": 4}, "ordering": {}}, "ordering and fairness exclude each other"),
        ({"fairness": {}, "delivery": "Broadcast"}, "fairness excludes delivery: Broadcast"),
        ({"fairness": {}, "priorityLevels": 10}, "at most 256"),
        ({"fairness": {"lanes": 1}}, "fairness.lanes"),
    ],
)
async def test_a_queue_that_cannot_be_fair_is_refused(lab: Lab, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError, match=re.escape(says)):
        await lab.queue(**spec)


async def test_schedules_are_set_changed_and_removed(lab: Lab) -> None:
    subjects = f"pq.{lab.namespace}.email.cron.>"

    async def stored() -> dict[str, int]:
        info = await lab.api(f"STREAM.INFO.{lab.stream_name()}", {"subjects_filter": subjects})
        found: dict[str, int] = info["state"].get("subjects") or {}
        return found

    await lab.queue(
        schedules=[{"name": "tick", "every": "1s", "payload": '{"n": 1}'}, {"name": "rare", "cron": "0 0 3 * * *"}]
    )
    await lab.ready()
    assert await stored() == {f"pq.{lab.namespace}.email.cron.{name}": 1 for name in ("tick", "rare")}

    async def fired() -> bool:
        due = f"pq.{lab.namespace}.email.due.>"
        info = await lab.api(f"STREAM.INFO.{lab.stream_name()}", {"subjects_filter": due})
        return bool(info["state"].get("subjects"))

    await eventually(fired)
    await lab.queue(schedules=[{"name": "rare", "cron": "0 0 4 * * *"}])
    await lab.ready()
    assert await stored() == {f"pq.{lab.namespace}.email.cron.rare": 1}
    message = await lab.api(f"STREAM.MSG.GET.{lab.stream_name()}", {"last_by_subj": subjects})
    assert message["message"]["subject"].endswith("rare")
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    assert await stored() == {}, "a stream that is kept does not go on filling"


@pytest.mark.parametrize("shape", [{}, {"ordering": {"partitions": 1}}], ids=["levels", "ordering"])
async def test_a_delayed_task_as_large_as_allowed_comes_due_and_holds_nothing_up(
    lab: Lab, shape: dict[str, Any]
) -> None:
    """JetStream adds headers on the way from LATER, and stops at the first message that its target does not take."""
    await lab.queue(limits={"maxTaskSize": "2Ki"}, **shape)
    await lab.ready()
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        largest, key = 2048, "k" if shape else ""
        while True:
            with contextlib.suppress(protoqueue.PayloadTooLarge):
                await queue.enqueue(b"x" * largest, delay=0.1, ordering_key=key)
                break
            largest -= 1
        await queue.enqueue(b"small", delay=0.2, ordering_key=key)

        async def both_are_due() -> bool:
            return (await queue.stats()).waiting == 2

        await eventually(both_are_due)
    kind = "ordered" if shape else "task"
    with pytest.raises(APIError, match="maximum"):
        await lab.nats.jetstream().publish(f"pq.{lab.namespace}.email.due.{kind}.0", b"x" * 7000)


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ({"priorityLevels": 5}, {"priorityLevels": 3}, "spec.priorityLevels"),
        ({}, {"ordering": {"partitions": 4}}, "spec.ordering"),
    ],
    ids=["levels", "ordering"],
)
async def test_kept_tasks_that_nobody_would_take_keep_their_queue_s_shape(
    lab: Lab, first: dict[str, Any], second: dict[str, Any], field: str
) -> None:
    await lab.queue(**first)
    await lab.ready()
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue({"n": 1}, priority=10)
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    await lab.queue(**second)
    condition = await lab.condition(QUEUES, "email", status="False", reason="ImmutableField")
    assert condition["message"].startswith(f"{field}: ")
    assert "holds 1 task" in condition["message"]
    await lab.api(f"STREAM.PURGE.{lab.stream_name()}")
    await lab.queue(**second, visibilityTimeout="31s")
    await lab.ready()


async def test_messages_that_no_consumer_takes_are_counted_and_named(lab: Lab) -> None:
    await lab.queue(limits={"maxTasks": 3})
    await lab.group()
    await lab.ready(groups=("mailers",))
    stray = f"pq.{lab.namespace}.email.task.99"

    async def stored() -> bool:
        """Let the stream take it for the moment until the operator sets its subjects right."""
        config = await lab.config(suffix="_NEW")
        await lab.api(f"STREAM.UPDATE.{config['name']}", config | {"subjects": [*config["subjects"], stray]})
        with contextlib.suppress(Exception):
            await lab.nats.jetstream().publish(stray, b"", timeout=2)
        info = await lab.stream(suffix="_NEW")
        return info is not None and info["state"]["messages"] >= 3

    await eventually(stored)
    stranded = await lab.condition(QUEUES, "email", "Stranded", status="True", reason="NoConsumer")
    assert "3 messages" in stranded["message"]
    assert "task.99 (3)" in stranded["message"]
    full = await lab.condition(QUEUES, "email", "Full", status="True", reason="LimitReached")
    assert "spec.limits.maxTasks is 3" in full["message"]
    assert (await lab.get(QUEUES, "email"))["status"]["tasks"]["stranded"] == 3
    await lab.api(f"STREAM.PURGE.{lab.stream_name(suffix='_NEW')}", {"filter": stray})
    await lab.condition(QUEUES, "email", "Stranded", status="False")
    await lab.condition(QUEUES, "email", "Full", status="False")


async def test_a_broadcast_group_that_fills_its_queue_is_named(lab: Lab) -> None:
    await lab.queue(delivery="Broadcast", limits={"maxTasks": 5})
    for name in ("mailers", "audit"):
        await lab.group(name)
    await lab.ready(groups=("mailers", "audit"))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        for number in range(5):
            await queue.enqueue({"n": number})
        done = 0
        while done < 5:
            for task in await queue.receive(max_tasks=5, wait=5, group="mailers"):
                await task.ack()
                done += 1

        async def is_named() -> bool:
            full = await lab.condition(QUEUES, "email", "Full", status="True", reason="LimitReached")
            return "the group audit is furthest behind, with 5 waiting" in full["message"]

        await eventually(is_named)
        with pytest.raises(protoqueue.QueueFull, match="the group audit is furthest behind, with 5 tasks"):
            await queue.enqueue({"n": 6})

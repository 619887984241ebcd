"""Queues on three nats-servers that are one cluster, while servers die under it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from nats.aio.msg import Msg

import nats
import protoqueue
from cluster.lab import Lab
from nats_cluster import NatsCluster
from nats_server import taken_in
from protoqueue.protocol.buckets import SAMPLES_BUCKET
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from waiting import eventually

WORKER = """
@worker.handler
async def handle(payload: dict):
    tell("done", payload["n"])
"""
TASKS = 600
AT_REST_S = 25
"""Longer than it takes until everything has been compared with what it should be."""


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsCluster]:
    cluster = NatsCluster(tmp_path_factory.mktemp("nats-cluster"))
    await cluster.start()
    yield cluster
    cluster.stop()


async def queue(lab: Lab, cluster: NatsCluster, name: str = "email", **spec: Any) -> None:
    await lab.secret("cluster", url=cluster.url)
    await lab.queue(name, nats={"connectionSecretRef": {"name": "cluster"}}, **spec)


async def enqueue(lab: Lab, cluster: NatsCluster, numbers: range, name: str = "email") -> None:
    async with await protoqueue.connect(cluster.url) as client:
        target = await client.queue(f"{lab.namespace}/{name}")
        await target.enqueue_batch([{"n": number} for number in numbers])


async def test_one_replica_becomes_three_while_tasks_are_stored_and_then_nothing_is_written(
    lab: Lab, cluster: NatsCluster
) -> None:
    await queue(lab, cluster)
    await lab.group(paused=True)
    await lab.ready(groups=("mailers",))
    await enqueue(lab, cluster, range(20))
    await queue(lab, cluster, replicas=3)
    await lab.ready(groups=("mailers",))

    async def replicated() -> bool:
        infos = [await cluster.api(f"STREAM.INFO.{lab.stream_name(suffix=end)}") for end in ("", "_DLQ")]
        assert infos[0]["state"]["messages"] == 20
        return all([each["current"] for each in info["cluster"].get("replicas", ())] == [True, True] for info in infos)

    async def is_measured() -> bool:
        return "error" not in await cluster.api(f"STREAM.INFO.KV_{SAMPLES_BUCKET}")

    await eventually(replicated)
    await eventually(is_measured)
    asked = await requests(cluster, AT_REST_S)
    written = {subject: count for subject, count in asked.items() if any(verb in subject for verb in WRITES)}
    assert not written, "equal states plan nothing"
    assert asked["STREAM.LIST"] <= AT_REST_S * 1.2


WRITES = ("CREATE", "UPDATE", "DELETE", "PAUSE", "PURGE")


async def requests(cluster: NatsCluster, for_s: float) -> Counter[str]:
    """What JetStream is asked for by its clients: how often each kind of request.

    A server too asks for a consumer, through which one stream sources another, whenever their leaders change.
    """
    counted: Counter[str] = Counter()

    async def count(message: Msg) -> None:
        if not message.reply.startswith("$JSC."):
            counted[".".join(message.subject.split(".")[2:4])] += 1

    connection = await nats.connect(cluster.url.split(","))
    await connection.subscribe("$JS.API.>", cb=count)
    await taken_in(connection)
    await asyncio.sleep(for_s)  # how much comes within a time is what is measured
    await connection.close()
    return counted


@contextlib.asynccontextmanager
async def watched(lab: Lab, seen: set[int]) -> AsyncIterator[None]:
    """Note every number of ready tasks that the status of the queue `still` shows."""

    async def look() -> None:
        while True:
            status = (await lab.get(QUEUES, "still"))["status"]
            seen.add(status["tasks"]["waiting"])
            await asyncio.sleep(0.1)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()


async def producing(lab: Lab, cluster: NatsCluster, numbers: Iterator[int], accepted: set[int]) -> None:
    """Enqueue at a steady pace, each as often as it takes; `accepted` are those that NATS has acknowledged."""
    async with await protoqueue.connect(cluster.url) as client:
        target = await client.queue(f"{lab.namespace}/email")
        for number in numbers:
            while number not in accepted:
                with contextlib.suppress(protoqueue.Unavailable):
                    await target.enqueue({"n": number}, dedup_id=f"n{number}", timeout=5)
                    accepted.add(number)
            await asyncio.sleep(0.02)


async def test_servers_that_die_lose_nothing_and_no_backlog_is_read_as_zero(lab: Lab, cluster: NatsCluster) -> None:
    await queue(lab, cluster, replicas=3, visibilityTimeout="5s")
    await queue(lab, cluster, "still", replicas=3)
    await lab.group(worker={"template": lab.worker_template(WORKER)}, replicas=2)
    await lab.group("idle", "still", paused=True)
    await lab.ready(queues=("email", "still"), groups=("mailers", "idle"))
    await enqueue(lab, cluster, range(100), "still")
    await eventually(lambda: ready_tasks(lab, 100))
    accepted: set[int] = set()
    seen: set[int] = set()
    producer = asyncio.create_task(producing(lab, cluster, iter(range(TASKS)), accepted))
    async with watched(lab, seen):
        for stream in (None, lab.stream_name(), lab.stream_name("still")):
            victim = cluster.servers[await cluster.leader(stream)]
            progress = len(accepted)
            victim.kill()
            await eventually(lambda before=progress: len(accepted) > before + 20)
            await victim.start()
            await cluster.is_whole()
        await asyncio.wait_for(producer, 60)
        await eventually(lambda: {int(number) for _, number in lab.told} == set(range(TASKS)))
        await recovered(lab, "email", "still")
    assert seen == {100}


async def ready_tasks(lab: Lab, count: int) -> bool:
    return bool((await lab.get(QUEUES, "still"))["status"].get("tasks", {}).get("waiting") == count)


async def recovered(lab: Lab, *queues: str) -> None:
    """Wait until every condition is well again, without anybody having done anything."""

    async def well() -> bool:
        found = [await lab.get(QUEUES, name) for name in queues]
        found += [await lab.get(CONSUMER_GROUPS, name) for name in ("mailers", "idle")]
        for body in found:
            (ready,) = (each for each in body["status"]["conditions"] if each["type"] == "Ready")
            assert ready["status"] == "True", f"{body['metadata']['name']}: {ready}"
        return True

    await eventually(well)


async def test_a_server_that_is_away_with_a_queue_does_not_disturb_the_others(lab: Lab, cluster: NatsCluster) -> None:
    await queue(lab, cluster, replicas=3)
    await queue(lab, cluster, "still")
    target = {"minReplicas": 0, "maxReplicas": 2, "target": {"tasksPerWorker": 100}, "idleDelay": "1s"}
    await lab.group(worker={"template": lab.worker_template(WORKER)}, autoscale=target)
    await lab.group("idle", "still", paused=True)
    await lab.ready(queues=("email", "still"), groups=("mailers", "idle"))
    await enqueue(lab, cluster, range(100), "still")
    await eventually(lambda: ready_tasks(lab, 100))
    await eventually(lambda: sleeps(lab))
    victim = cluster.servers[await cluster.leader(lab.stream_name("still"))]
    seen: set[int] = set()
    async with watched(lab, seen):
        victim.kill()
        await enqueue_until_taken(lab, cluster)
        await eventually(lambda: ["done", "0"] in lab.told)
        await eventually(lambda: sleeps(lab))
        await victim.start()
        await recovered(lab, "email", "still")
    assert seen == {100}


async def sleeps(lab: Lab) -> bool:
    return await lab.replicas() == 0


async def enqueue_until_taken(lab: Lab, cluster: NatsCluster) -> None:
    """A cluster that has lost a leader takes a moment to choose another."""

    async def taken() -> bool:
        with contextlib.suppress(protoqueue.Unavailable):
            await enqueue(lab, cluster, range(1))
            return True
        return False

    await eventually(taken)

"""The permissions that the documentation gives to the operator, a worker and others are enough for all they do."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

import nats
import protoqueue
from cluster.lab import Lab
from docs.fences import ROOT, fences
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from waiting import PATIENCE_S, eventually

WORKER = """
@worker.handler
async def handle(payload: dict, task: Task):
    if payload["n"] == "again" and task.attempt == 1:
        raise RuntimeError("once more")
    if payload["n"] == "never":
        raise Reject("no")
    tell("done", payload["n"])
"""


@pytest.fixture
async def strict(lab: Lab, tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server that lets each do what the page says, and an administrator everything."""
    named = {
        fence.title: fence.text.replace("acme", lab.namespace) for fence in fences(ROOT / "docs/security.md", "conf")
    }
    assert set(named) == {"operator", "worker", "producer", "charts", "asker"}
    named["admin"] = ""
    users = ", ".join(f"{{user: {name}, password: pw, {permissions}}}" for name, permissions in named.items())
    server = NatsServer(tmp_path / "strict", f"authorization {{ users: [{users}] }}", login="admin:pw@")
    await server.start()
    yield server
    server.stop()


def url(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:pw@")


async def edit_a_consumer(admin: Nats, stream: str, consumer: str) -> None:
    info = json.loads((await admin.request(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}", b"")).data)
    request = {"stream_name": stream, "config": info["config"] | {"max_ack_pending": 7}}
    await admin.request(f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}", json.dumps(request).encode())


async def test_the_documented_permissions_are_enough(lab: Lab, strict: NatsServer) -> None:
    admin = await nats.connect(strict.url, user="admin", password="pw")
    await lab.secret("account", url=strict.url, user="operator", password="pw")
    await lab.queue(
        nats={"connectionSecretRef": {"name": "account"}},
        deletionPolicy="Delete",
        schedules=[{"name": "nightly", "cron": "0 0 3 * * *"}],
        rateLimit={"tasks": 1000},
        retry={"initialDelay": "100ms"},
        history={},
    )
    await lab.secret("mailers", user="worker", password="pw")
    limits = {"rateLimit": {"tasks": 1000, "scope": "Group"}, "exactlyOnce": True}
    scale = {"maxReplicas": 2, "target": {"tasksPerWorker": 2}, "scaleDownDelay": "1s", "idleDelay": "3s"}
    await lab.group(
        worker={"template": lab.worker_template(WORKER), "natsSecretRef": {"name": "mailers"}},
        autoscale=scale,
        **limits,
    )
    await lab.ready(groups=("mailers",))
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="Idle")
    await edit_a_consumer(admin, lab.stream_name(), "mailers_p0")
    await eventually(lambda: lab.event_reasons("mailers"))
    async with await protoqueue.connect(url(strict, "producer")) as client:
        queue = await client.queue(f"{lab.namespace}/email")
        for number in ("once", "again", "never"):
            await queue.enqueue({"n": number})
        await queue.enqueue({"n": "later"}, delay=1)
        await queue.enqueue_batch([{"n": "together"}, {"n": "jointly"}])
    done = {"once", "again", "later", "together", "jointly"}
    await eventually(lambda: {word for _, word in lab.told} == done)
    await eventually(lambda: dead(lab))
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="Idle")
    async with await protoqueue.connect(url(strict, "charts")) as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await eventually(lambda: drawn(queue))
    async with await protoqueue.connect(url(strict, "asker")) as client:
        asked = await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": "asked"})
        assert await asked.result(timeout=PATIENCE_S) is None
    await lab.queue(schedules=[], paused=True, limits={"maxTasks": 10})
    await lab.ready(groups=("mailers",))
    for kind, name in ((CONSUMER_GROUPS, "mailers"), (QUEUES, "email")):
        await lab.delete(kind, name)
        await lab.gone(kind, name)
    within = {"subjects_filter": f"$KV.pq-samples.{lab.namespace}.email.>"}
    left = json.loads((await admin.request("$JS.API.STREAM.INFO.KV_pq-samples", json.dumps(within).encode())).data)
    assert not left["state"].get("subjects"), "what was measured goes with the queue"
    await admin.close()
    violations = [line for line in strict.log_file.read_text().splitlines() if "Violation" in line]
    assert not violations


async def drawn(queue: protoqueue.Queue) -> bool:
    """Whether its charts show what it did, and why there were workers."""
    found = await queue.samples(since=600)
    assert sum(sample.arrivals for sample in found.samples) >= 6
    assert sum(sample.completions for sample in found.samples) >= 6
    assert {sample.workers_desired for sample in found.samples} >= {0}
    up, *_ = found.changes
    assert up.after > up.before == 0, found.changes
    assert "outstanding" in up.message, found.changes
    return True


async def dead(lab: Lab) -> bool:
    return bool((await lab.get(QUEUES, "email"))["status"]["tasks"]["dead"] == 1)

"""The permissions that the documentation gives the operator's NATS user are enough for all it does."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

import nats
from cluster.lab import Lab
from docs.fences import ROOT, fences
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, SECRETS
from waiting import eventually

TEMPLATE = {"spec": {"containers": [{"name": "idle", "image": "none", "command": ["sleep", "1000"]}]}}


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server that lets the operator do what the page says, and an administrator everything."""
    (block,) = fences(ROOT / "docs/security.md", "conf")
    users = f"{{user: operator, password: pw, {block.text}}}, {{user: admin, password: pw}}"
    server = NatsServer(tmp_path / "strict", f"authorization {{ users: [{users}] }}", login="admin:pw@")
    await server.start()
    yield server
    server.stop()


async def edit_a_consumer(admin: Nats, stream: str, consumer: str) -> None:
    info = json.loads((await admin.request(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}", b"")).data)
    request = {"stream_name": stream, "config": info["config"] | {"max_ack_pending": 7}}
    await admin.request(f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}", json.dumps(request).encode())


async def test_the_documented_permissions_are_enough(lab: Lab, strict: NatsServer) -> None:
    admin = await nats.connect(strict.url, user="admin", password="pw")
    values = {"url": strict.url, "user": "operator", "password": "pw"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    await lab.kube.create(SECRETS, {"metadata": {"name": "account"}, "data": data}, lab.namespace)
    await lab.queue(
        nats={"connectionSecretRef": {"name": "account"}},
        deletionPolicy="Delete",
        schedules=[{"name": "nightly", "cron": "0 0 3 * * *"}],
    )
    await lab.group(worker={"template": TEMPLATE}, autoscale={"maxReplicas": 1})
    await lab.ready(groups=("mailers",))
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="Idle")
    await edit_a_consumer(admin, lab.stream_name(), "mailers_p0")
    await eventually(lambda: lab.event_reasons("mailers"))
    await admin.jetstream().publish(f"pq.{lab.namespace}.email.task.0", b"")
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", reason="ScaledUp")
    await lab.queue(schedules=[], paused=True)
    await lab.ready(groups=("mailers",))
    for kind, name in ((CONSUMER_GROUPS, "mailers"), (QUEUES, "email")):
        await lab.delete(kind, name)
        await lab.gone(kind, name)
    await admin.close()
    assert "Violation" not in strict.log_file.read_text()

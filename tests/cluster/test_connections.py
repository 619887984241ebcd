"""Queues on another NATS than the operator's own, named by a Secret."""

import base64
from collections.abc import AsyncIterator

import pytest

import nats
import protoqueue
from cluster.lab import EVENTS, Lab
from cluster.operator_process import OperatorProcess
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, QUEUES, SECRETS
from waiting import eventually

PASSWORD = "n0b0dy-m4y-r34d-th1s"


@pytest.fixture(scope="module")
async def other(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """A server that asks who one is."""
    server = NatsServer(
        tmp_path_factory.mktemp("other"), f"authorization {{ users: [{{user: jo, password: {PASSWORD}}}] }}"
    )
    server.url = server.url.replace("//", f"//jo:{PASSWORD}@")
    await server.start()
    server.url = server.url.replace(f"jo:{PASSWORD}@", "")
    yield server
    server.stop()


async def put_secret(lab: Lab, **values: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    if await lab.find(SECRETS, "account") is None:
        await lab.kube.create(SECRETS, {"metadata": {"name": "account"}, "data": data}, lab.namespace)
    else:
        await lab.kube.merge(SECRETS, {"data": data}, "account", lab.namespace)


async def test_a_queue_lives_where_its_secret_says_and_its_workers_get_the_secret_mounted(
    lab: Lab, other: NatsServer, operator: OperatorProcess
) -> None:
    url = other.url.replace("//", f"//jo:{PASSWORD}@")
    await put_secret(lab, url=url)
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}})
    text = """
@worker.handler
async def handle(payload: dict):
    tell("done", payload["n"])
"""
    await lab.group(worker={"template": lab.worker_template(text)})
    await lab.ready(groups=("mailers",))
    assert await lab.stream() is None, "nothing of it is on the operator's own server"
    async with await protoqueue.connect(url) as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await eventually(lambda: lab.told == [["done", "1"]])
    everything = [
        await lab.get(QUEUES, "email"),
        await lab.get(CONSUMER_GROUPS, "mailers"),
        await lab.get(DEPLOYMENTS, "mailers"),
    ]
    events = (await lab.kube.list(EVENTS, lab.namespace))["items"]
    assert PASSWORD not in str(everything) + str(events) + operator.log.read_text()
    await lab.delete(CONSUMER_GROUPS, "mailers")
    await lab.gone(CONSUMER_GROUPS, "mailers")
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    connection = await nats.connect(url)
    names = [info.config.name for info in await connection.jetstream().streams_info()]
    await connection.close()
    assert lab.stream_name() in names, "deletionPolicy Retain holds there too"


async def test_a_wrong_secret_is_named_without_its_values_and_heals_when_corrected(lab: Lab, other: NatsServer) -> None:
    await put_secret(lab, url=other.url, user="jo")
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}}, deletionPolicy="Delete")
    condition = await lab.condition(QUEUES, "email", status="False", reason="SecretInvalid")
    assert "user and password together" in condition["message"]
    await put_secret(lab, url=other.url, user="jo", password="wrong")

    async def refused() -> bool:
        conditions = (await lab.get(QUEUES, "email"))["status"]["conditions"]
        return bool(conditions[0]["reason"] == "NatsUnavailable")

    await eventually(refused, timeout_s=30)
    await put_secret(lab, url=other.url, user="jo", password=PASSWORD)

    async def is_ready() -> bool:
        conditions = (await lab.get(QUEUES, "email"))["status"]["conditions"]
        return bool(conditions[0]["status"] == "True")

    await eventually(is_ready, timeout_s=60)
    assert PASSWORD not in str(await lab.get(QUEUES, "email"))

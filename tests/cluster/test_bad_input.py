"""What cannot be: the condition names it, few looks are spent on it, and it heals when the cause goes away."""

import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import StreamConfig

import nats
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, SECRETS, ApiError, Kind
from waiting import eventually

SEVEN_STREAMS = """
accounts { SMALL { jetstream: {max_streams: 7}, users: [{user: jo, password: pw}] } }
"""
THEIRS = ("one", "two", "three")


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server whose account holds a queue and the buckets, and one stream more."""
    server = NatsServer(tmp_path / "small", SEVEN_STREAMS, login="jo:pw@")
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def full(small: NatsServer) -> AsyncIterator[Nats]:
    """Somebody else's streams leave too little of it."""
    connection = await nats.connect(small.url, user="jo", password="pw")
    for name in THEIRS:
        await connection.jetstream().add_stream(StreamConfig(name=name, subjects=[f"theirs.{name}"]))
    yield connection
    await connection.close()


@pytest.fixture
async def replica(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lab: Lab, operator: OperatorProcess
) -> AsyncIterator[Replica]:
    """In the place of the session's operator, to count what it does."""
    operator.stop()
    replica = Replica(kubeconfig, server.url, tmp_path, "--namespace", lab.namespace)
    replica.start()
    yield replica
    replica.stop()
    operator.start()


@dataclass(frozen=True)
class Wrong:
    kind: Kind
    name: str
    reason: str
    message: str
    looks: int
    """Refusals while one whose pauses double from half a second is refused six times."""
    cure: Callable[[], Awaitable[Any]]


async def secret(lab: Lab, name: str, **values: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    if await lab.find(SECRETS, name):
        await lab.kube.merge(SECRETS, {"data": data}, name, lab.namespace)
    else:
        await lab.kube.create(SECRETS, {"metadata": {"name": name}, "data": data}, lab.namespace)


def through(name: str) -> dict[str, Any]:
    return {"connectionSecretRef": {"name": name}}


async def make_room(full: Nats) -> None:
    for name in THEIRS:
        await full.jetstream().delete_stream(name)


async def everything_wrong(lab: Lab, small: NatsServer, full: Nats) -> list[Wrong]:
    """One of each, made at the same time: each reason is one object's, so that its refusals can be counted."""
    url = lab.nats_url
    await secret(lab, "keyless", token="x")
    await secret(lab, "narrow", url=small.url, user="jo", password="pw")
    await lab.queue("invalid", visibilityTimeout="1ms")
    await lab.queue("secretless", nats=through("nowhere"))
    await lab.queue("keyless", nats=through("keyless"))
    await lab.queue("threefold", replicas=3)
    await lab.queue("crowded", nats=through("narrow"))
    await lab.queue()
    await lab.group("stray", "unknown")
    with pytest.raises(ApiError, match=r"spec\.worker\.template\.spec\.containers"):  # by the schema
        await lab.group("empty", worker={"template": {"spec": {"containers": []}}})
    q, g = QUEUES, CONSUMER_GROUPS
    return [
        Wrong(q, "invalid", "InvalidSpec", "spec.visibilityTimeout: must be at least 100ms", 2,
              lambda: lab.queue("invalid", visibilityTimeout="1s")),
        Wrong(q, "secretless", "SecretNotFound", "spec.nats.connectionSecretRef: there is no Secret nowhere", 3,
              lambda: secret(lab, "nowhere", url=url)),
        Wrong(q, "keyless", "SecretInvalid", "the Secret keyless has no key url", 3,
              lambda: lab.kube.merge(SECRETS, {"data": {"token": None, "url": base64.b64encode(url.encode()).decode()}},
                                     "keyless", lab.namespace)),
        Wrong(q, "threefold", "NatsRefused", "spec.replicas: NATS has fewer servers", 6,
              lambda: lab.queue("threefold", replicas=1)),
        Wrong(q, "crowded", "QuotaExceeded", "how many streams the account may have (max_streams)", 7,
              lambda: make_room(full)),
        Wrong(g, "stray", "QueueNotFound", "spec.queueRef.name: there is no Queue unknown in namespace", 2,
              lambda: lab.queue("unknown")),
    ]  # fmt: skip


async def test_whatever_is_wrong_is_named_costs_few_looks_and_heals(
    lab: Lab, small: NatsServer, full: Nats, replica: Replica
) -> None:
    started = time.monotonic()
    wrong = await everything_wrong(lab, small, full)
    for each in wrong:
        condition = await lab.condition(each.kind, each.name, status="False", reason=each.reason)
        assert each.message in condition["message"]

    async def refusals(each: Wrong) -> float:
        labels = (each.kind.name, each.reason)
        return (await replica.metrics()).get(("protoqueue_operator_reconcile_errors_total", labels), 0)

    async def refused_six_times() -> bool:
        return await refusals(wrong[3]) >= 6

    # Six looks with pauses of 0.5, 1, 2, 4 and 8 seconds, a fifth shorter at most: in a minute there are eight.
    await eventually(refused_six_times)
    assert time.monotonic() - started > 12
    for each in wrong:
        assert 1 <= await refusals(each) <= each.looks, each.name
        assert 1 <= (await lab.event_reasons(each.name)).count(each.reason) <= 2, "not with every look"
    metrics = await replica.metrics()
    looks = sum(metrics["protoqueue_operator_reconcile_seconds_count", (kind,)] for kind in ("Queue", "ConsumerGroup"))
    assert looks < 40, "also those that end well"
    for each in wrong:
        await each.cure()

    async def healed() -> bool:
        for each in wrong:
            conditions = (await lab.get(each.kind, each.name))["status"]["conditions"]
            assert [c["status"] for c in conditions if c["type"] == "Ready"] == ["True"], conditions
        return True

    await eventually(healed)


async def test_a_queue_that_somebody_keeps_spoiling_is_not_looked_at_all_the_time(lab: Lab, replica: Replica) -> None:
    await lab.queue()
    await lab.ready()
    before = await lab.entry("email")

    async def looks() -> float:
        return (await replica.metrics())["protoqueue_operator_reconcile_seconds_count", ("Queue",)]

    first, started, written = await looks(), time.monotonic(), 0
    bucket = await lab.nats.jetstream().key_value("pq-config")
    while time.monotonic() - started < 5:
        await bucket.put(f"{lab.namespace}.email", b"{}")
        written += 1
    assert written > 100
    assert await looks() - first <= 12, "twice a second at most"

    async def repaired() -> bool:
        return await lab.entry("email") == before

    await eventually(repaired)


@pytest.mark.parametrize("kind", [QUEUES, CONSUMER_GROUPS])
@pytest.mark.parametrize("name", ["with.dots", "x" * 64])
async def test_a_name_that_is_no_label_is_refused_on_the_spot(lab: Lab, kind: Kind, name: str) -> None:
    spec = {"queueRef": {"name": "email"}} if kind is CONSUMER_GROUPS else {}
    with pytest.raises(ApiError, match="must be a DNS label: up to 63 lower-case letters, digits and dashes, no dots"):
        await lab.kube.create(kind, {"metadata": {"name": name}, "spec": spec}, lab.namespace)


@pytest.mark.parametrize("duration", ["soon", "5", "-1s", "1 h", ""])
async def test_what_is_no_duration_is_refused_on_the_spot(lab: Lab, duration: str) -> None:
    with pytest.raises(ApiError, match=r"spec.visibilityTimeout"):
        await lab.queue(visibilityTimeout=duration)

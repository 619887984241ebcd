"""Secrets that Queues name: where their queues live, what is wrong with them, and how they are rotated."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import protoqueue
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.producer import enqueue
from cluster.replica import Replica
from cluster.secrecy import Secrecy
from doors import DOORS, Door, password, users
from nats_server import NatsServer
from ports import free_port
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from waiting import eventually

WORKER = """
@worker.handler
async def handle(payload: dict):
    tell("done", payload["n"])
"""
SECRET_AGAIN_S = 30
"""Within this time a changed Secret is known to the operator."""


@pytest.fixture(scope="module")
async def operator(
    operator: OperatorProcess, kubeconfig: Path, server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replica]:
    """The operator of this module says all it can say."""
    operator.stop()
    replica = Replica(kubeconfig, server.url, tmp_path_factory.mktemp("talkative"), "--log-level", "debug")
    replica.start()
    yield replica
    replica.stop()
    operator.start()


@pytest.fixture
def secrecy(lab: Lab, operator: Replica) -> Secrecy:
    return Secrecy(lab, operator)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Door]:
    """A server that asks for user and password."""
    door = DOORS["user"](tmp_path / "guarded")
    await door.server.start()
    yield door
    door.server.stop()


async def test_a_queue_lives_where_its_secret_says(lab: Lab, guarded: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.secret("account", **guarded.secret)
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}})
    await lab.group()
    await lab.ready(groups=("mailers",))
    assert await lab.stream() is None, "nothing of it is on the operator's own server"
    await enqueue(lab, monkeypatch, guarded.secret, 1)
    await lab.delete(CONSUMER_GROUPS, "mailers")
    await lab.gone(CONSUMER_GROUPS, "mailers")
    await lab.delete(QUEUES, "email")
    await lab.gone(QUEUES, "email")
    async with await protoqueue.connect(guarded.server.url) as client:
        assert await client._broker.stream_state(lab.stream_name(), 5), "deletionPolicy Retain holds there too"


async def test_a_connection_is_shared_by_equal_secrets_and_ends_with_the_last_who_needs_it(
    lab: Lab, guarded: Door
) -> None:
    for name in ("one", "two"):
        await lab.secret(name, **guarded.secret)
        await lab.queue(name, nats={"connectionSecretRef": {"name": name}})
    await lab.ready(queues=("one", "two"))
    assert await guarded.server.connected() == ["protoqueue-operator"]
    await lab.delete(QUEUES, "one")
    await lab.gone(QUEUES, "one")
    assert await guarded.server.connected() == ["protoqueue-operator"]
    await lab.delete(QUEUES, "two")

    async def nobody() -> bool:
        return not await guarded.server.connected()

    await eventually(nobody)


WRONG: dict[str, tuple[str, dict[str, str]]] = {
    "half-a-pair": ("SecretInvalid", {"user": "pl4ntedUser"}),
    "two-ways": ("SecretInvalid", {"token": "pl4ntedToken", "nkey": "pl4ntedSeed"}),
    "no-address": ("SecretInvalid", {"url": "nats://jo:pl4nt/edPassword@127.0.0.1:4222"}),
    "nobody-there": ("NatsUnavailable", {"url": f"nats://jo:pl4ntedPassword@127.0.0.1:{free_port()}"}),
    "password": ("NatsUnavailable", {"user": "jo", "password": "pl4ntedPassword"}),
    "token": ("NatsUnavailable", {"token": "pl4ntedToken"}),
    "nkey": ("NatsUnavailable", {"nkey": "SUpl4ntedSeed"}),
    "creds": ("NatsUnavailable", {"creds": "-----BEGIN NATS USER JWT-----\npl4ntedJwt\n------END NATS USER JWT------"}),
    "certificate": ("NatsUnavailable", {"tls.crt": "pl4ntedCertificate", "tls.key": "pl4ntedKey"}),
    "authority": ("NatsUnavailable", {"ca.crt": "pl4ntedAuthority"}),
}


async def test_what_is_wrong_with_a_secret_is_told_without_its_values_and_heals_when_corrected(
    lab: Lab, guarded: Door, secrecy: Secrecy
) -> None:
    """A Queue for each kind of wrong: they are told apart by name, and wait for their correction together."""
    for name, (_, values) in WRONG.items():
        await lab.secret(name, **{"url": guarded.server.url, **values})
        await lab.queue(name, nats={"connectionSecretRef": {"name": name}}, deletionPolicy="Delete")
    for name, (reason, _) in WRONG.items():
        await lab.condition(QUEUES, name, status="False", reason=reason)
    await secrecy.holds("pl4nt", "edPassword")
    for name in WRONG:
        await lab.secret(name, **guarded.secret)
    for name in WRONG:
        await eventually(lambda name=name: is_ready(lab, QUEUES, name), timeout_s=SECRET_AGAIN_S)


async def is_ready(lab: Lab, kind: Any, name: str) -> bool:
    conditions = (await lab.get(kind, name))["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def test_a_rotated_password_loses_nothing_and_drops_the_connection_that_had_the_old_one(
    lab: Lab, guarded: Door, monkeypatch: pytest.MonkeyPatch, secrecy: Secrecy
) -> None:
    await lab.secret("account", **guarded.secret)
    await lab.queue(nats={"connectionSecretRef": {"name": "account"}}, visibilityTimeout="5s")
    await lab.group(worker={"template": secrecy.worker_template(WORKER)})
    await lab.ready(groups=("mailers",))
    await enqueue(lab, monkeypatch, guarded.secret, *range(50))
    second = password()
    await guarded.server.reload(users(jo=second))
    secret = guarded.secret | {"password": second}
    await enqueue(lab, monkeypatch, secret, *range(50, 100))
    await lab.condition(QUEUES, "email", status="False", reason="NatsUnavailable")
    await lab.secret("account", **secret)
    await eventually(lambda: is_ready(lab, QUEUES, "email"), timeout_s=SECRET_AGAIN_S)
    await eventually(lambda: {int(number) for _, number in lab.told} == set(range(100)))
    await eventually(lambda: is_ready(lab, CONSUMER_GROUPS, "mailers"))
    assert (await guarded.server.connected()).count("protoqueue-operator") == 1
    await secrecy.holds(*guarded.hidden, second)


async def test_accounts_are_apart_and_one_that_is_away_does_not_disturb_the_other(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, one = (accounts(*names) for names in (("acme", "beta"), ("acme",)))
    server = NatsServer(tmp_path / "shared", both, login="acme:acme@")
    await server.start()
    try:
        for name in ("acme", "beta"):
            await lab.secret(name, url=server.url, user=name, password=name)
            await lab.queue(name, nats={"connectionSecretRef": {"name": name}})
        await lab.ready(queues=("acme", "beta"))
        places = [(await lab.get(QUEUES, name))["status"]["nats"]["account"] for name in ("acme", "beta")]
        assert places == ["ACME", "BETA"]
        assert await streams(server, "acme") == await streams(server, "beta", "beta")
        await server.reload(one)
        await lab.condition(QUEUES, "beta", status="False", reason="NatsUnavailable")
        await lab.queue("acme", visibilityTimeout="33s")
        await lab.ready(queues=("acme",))
        await server.reload(both)
        await eventually(lambda: is_ready(lab, QUEUES, "beta"))
    finally:
        server.stop()


def accounts(*names: str) -> str:
    listed = ", ".join(
        f"{name.upper()} {{ jetstream: enabled, users: [{{user: {name}, password: {name}}}] }}" for name in names
    )
    return f"accounts {{ {listed} }}"


async def streams(server: NatsServer, user: str, queue: str = "acme") -> int:
    """How many streams of this queue, and of no other, the account has."""
    async with await protoqueue.connect(server.url.replace("//", f"//{user}:{user}@")) as client:
        answer = await client._broker._api("STREAM.NAMES", {}, 5)  # type: ignore[attr-defined]
        names = [name for name in answer["streams"] if name.startswith("PQ_")]
        assert all(f"_{queue}" in name for name in names)
        return len(names)

"""Each kind of connection serves the operator as its own, and by a Secret the operator and the workers it runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.lab import Lab, unique
from cluster.operator_process import OperatorProcess
from cluster.producer import enqueue, mounted
from cluster.replica import Replica
from cluster.secrecy import Secrecy
from doors import DOORS, password, users
from protoqueue_devcluster.kube.client import QUEUES
from waiting import eventually

WORKER = """
@worker.handler
async def handle(payload: dict):
    tell("done", payload["n"])
"""


@pytest.fixture(scope="module", autouse=True)
async def resting(operator: OperatorProcess) -> AsyncIterator[None]:
    """Each test has an operator of its own, in the place of the session's."""
    operator.stop()
    yield
    operator.start()


@pytest.mark.parametrize("kind", DOORS)
async def test_every_kind_serves_the_operator_and_the_workers_and_is_seen_nowhere(
    kind: str, lab: Lab, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = DOORS[kind](tmp_path / "server")
    await door.server.start()
    variables = {"PROTOQUEUE_NATS_SECRET_DIR": str(mounted(tmp_path / "mounted", door.secret))}
    options = ("--log-level", "debug", "--namespace", lab.namespace)
    replica = Replica(kubeconfig, door.secret["url"], tmp_path, *options, variables=variables)
    replica.start()
    try:
        secrecy = Secrecy(lab, replica)
        await lab.secret("account", **door.secret)
        await lab.queue("own")
        await lab.queue(nats={"connectionSecretRef": {"name": "account"}})
        await lab.group(worker={"template": secrecy.worker_template(WORKER)})
        await lab.ready(queues=("own", "email"), groups=("mailers",))
        await enqueue(lab, monkeypatch, door.secret, 1)
        await eventually(lambda: lab.told == [["done", "1"]])
        assert (await door.server.connected()).count("protoqueue-operator") == 1, "equal content is one connection"
        await secrecy.holds(*door.hidden)
    finally:
        replica.stop()
        door.server.stop()


async def test_the_operator_follows_the_files_of_its_own_connection(lab: Lab, kubeconfig: Path, tmp_path: Path) -> None:
    door = DOORS["user"](tmp_path / "server")
    await door.server.start()
    directory = mounted(tmp_path / "mounted", door.secret)
    variables = {"PROTOQUEUE_NATS_SECRET_DIR": str(directory)}
    replica = Replica(kubeconfig, door.secret["url"], tmp_path, "--namespace", lab.namespace, variables=variables)
    replica.start()
    try:
        await lab.queue()
        await lab.group()
        await lab.ready(groups=("mailers",))
        second = password()
        await door.server.reload(users(jo=second))
        await lab.condition(QUEUES, "email", status="False", reason="NatsUnavailable")
        mounted(directory, {"password": second})
        await lab.ready(groups=("mailers",))
        assert (await door.server.connected()).count("protoqueue-operator") == 1, "nothing of the old one is left"
        (directory / "user").unlink()
        mounted(directory, {"token": second})
        await eventually(lambda: "nats credentials not reloaded" in replica.log.read_text())
        await lab.queue(visibilityTimeout="33s")
        await lab.ready()
        assert second not in replica.log.read_text()
    finally:
        replica.stop()
        door.server.stop()


async def test_a_replica_that_takes_over_knows_the_password_of_today(
    lab: Lab, kubeconfig: Path, tmp_path: Path
) -> None:
    door = DOORS["user"](tmp_path / "server")
    await door.server.start()
    directory = mounted(tmp_path / "mounted", door.secret)
    options = ("--namespace", lab.namespace, "--leader-elect", f"default/{unique('operator')}")
    variables = {"PROTOQUEUE_NATS_SECRET_DIR": str(directory)}
    replicas = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        replicas.append(Replica(kubeconfig, door.secret["url"], tmp_path / name, *options, variables=variables))
    first, second = replicas
    try:
        first.start()
        await eventually(first.leads)
        second.start()
        await lab.queue()
        await lab.ready()
        await eventually(second.metrics)
        changed = password()
        await door.server.reload(users(jo=changed))
        mounted(directory, {"password": changed})
        for replica in replicas:
            await eventually(lambda replica=replica: "nats credentials reloaded" in replica.log.read_text())
        await lab.ready()
        known = len(second.log.read_text())  # it is connected while it waits, and is told of the change
        first.stop()
        await eventually(second.leads)
        await lab.queue(visibilityTimeout="33s")
        await lab.ready()
        assert "nats error" not in second.log.read_text()[known:]
    finally:
        for replica in replicas:
            replica.stop()
        door.server.stop()

"""A Queue that names another NATS than the one its tasks are in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import protoqueue
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from doors import DOORS, Door
from protoqueue_devcluster.kube.client import QUEUES
from waiting import eventually

WORKER = """
@worker.handler
async def handle(payload: dict):
    tell("done", payload["n"])
"""


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[tuple[Door, Door]]:
    made = DOORS["url"](tmp_path / "old"), DOORS["url"](tmp_path / "new")
    for door in made:
        await door.server.start()
    yield made
    for door in made:
        door.server.stop()


async def enqueue(lab: Lab, door: Door, number: int) -> None:
    async with await protoqueue.connect(door.secret["url"]) as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": number})


async def living_at(lab: Lab, secret: str, door: Door) -> None:
    await lab.secret(secret, **door.secret)
    await lab.queue(nats={"connectionSecretRef": {"name": secret}})


async def stored(lab: Lab, door: Door) -> int | None:
    """Tasks in the queue's stream there; None where there is no such stream."""
    async with await protoqueue.connect(door.secret["url"]) as client:
        state = await client._broker.stream_state(lab.stream_name(), 5)
        return state.messages if state else None


async def test_a_queue_moves_only_when_it_is_empty_and_its_workers_with_it(
    lab: Lab, doors: tuple[Door, Door], operator: OperatorProcess
) -> None:
    old, new = doors
    await living_at(lab, "old", old)
    await lab.group(worker={"template": lab.worker_template(WORKER)}, paused=True)
    await lab.ready(groups=("mailers",))
    await enqueue(lab, old, 1)
    await living_at(lab, "new", new)
    condition = await lab.condition(QUEUES, "email", status="False", reason="Moving")
    assert old.server.url in condition["message"]
    assert new.server.url in condition["message"]
    assert "1 task" in condition["message"]
    await enqueue(lab, old, 2)
    await lab.group(paused=False)
    await eventually(lambda: sorted(lab.told) == [["done", "1"], ["done", "2"]])
    await lab.ready(groups=("mailers",))
    assert await stored(lab, old) is None
    with pytest.raises(protoqueue.QueueNotFound):
        await enqueue(lab, old, 3)
    await eventually(lambda: moved(lab))
    await enqueue(lab, new, 4)
    await eventually(lambda: ["done", "4"] in lab.told)
    assert (await lab.get(QUEUES, "email"))["status"]["nats"]["servers"] == new.server.url


async def moved(lab: Lab) -> bool:
    return "Moved" in await lab.event_reasons("email")


async def test_what_cannot_be_looked_into_is_not_given_up(
    lab: Lab, doors: tuple[Door, Door], operator: OperatorProcess
) -> None:
    old, new = doors
    await living_at(lab, "account", old)
    await lab.ready()
    await enqueue(lab, old, 1)
    operator.kill()
    await lab.secret("account", **new.secret)
    operator.start()
    condition = await lab.condition(QUEUES, "email", status="False", reason="Moving")
    assert "cannot be read" in condition["message"]
    assert await stored(lab, new) is None, "nothing is begun elsewhere"
    await lab.secret("account", **old.secret)
    await eventually(lambda: is_ready(lab))
    assert await stored(lab, old) == 1


async def is_ready(lab: Lab) -> bool:
    conditions = (await lab.get(QUEUES, "email"))["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def test_other_names_and_passwords_of_the_same_servers_are_no_move(
    lab: Lab, doors: tuple[Door, Door], operator: OperatorProcess
) -> None:
    old, _ = doors
    await living_at(lab, "account", old)
    await lab.ready()
    await enqueue(lab, old, 1)
    renamed = Door(old.server, {"url": old.secret["url"].replace("127.0.0.1", "localhost")})
    await living_at(lab, "renamed", renamed)
    await lab.ready()
    assert await stored(lab, old) == 1
    assert "localhost" in (await lab.get(QUEUES, "email"))["status"]["nats"]["servers"]
    assert not await moved(lab)

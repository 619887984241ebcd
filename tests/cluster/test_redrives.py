"""A Redrive puts dead letters back into their queue: each once, whoever is killed; its status tells how far it is."""

import asyncio
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from letters import bury, stored, task_id
from nats_server import NatsServer
from protoqueue.aio import cancel
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.task_codec import read_task
from protoqueue_devcluster.kube.client import QUEUES, REDRIVES, ApiError
from terminal import PROTOQUEUE
from waiting import eventually


class Email:
    """A queue with dead letters, and Redrives of them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.name = QueueName(lab.namespace, "email")

    async def bury(self, count: int, **kinds: Any) -> None:
        await bury(self.lab.nats, self.name, range(count), **kinds)

    async def redrive(self, name: str = "again", **spec: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"queueRef": {"name": "email"}, **spec}}
        await self.lab.kube.create(REDRIVES, body, self.lab.namespace)

    async def change(self, name: str = "again", **spec: Any) -> None:
        await self.lab.kube.merge(REDRIVES, {"spec": spec}, name, self.lab.namespace)

    async def status(self, name: str = "again") -> dict[str, Any]:
        status: dict[str, Any] = (await self.lab.get(REDRIVES, name))["status"]
        return status

    async def says(self, reason: str, name: str = "again", kind: str = "Progressing", status: str = "False") -> str:
        """The message with which it gives that reason."""
        condition = await self.lab.condition(REDRIVES, name, kind, reason=reason, status=status)
        message: str = condition["message"]
        return message

    async def complete(self, name: str = "again", **expected: Any) -> dict[str, Any]:
        """Wait until it is; its status then."""
        await self.lab.condition(REDRIVES, name, "Complete", status="True")
        status = await self.status(name)
        assert {key: status[key] for key in expected} == expected
        return status

    async def left(self) -> int:
        return await stored(self.lab.nats, self.name)

    async def moved(self) -> int:
        """How many tasks are back."""
        request = {"subjects_filter": self.name.retry("*", "*")}
        state = (await self.lab.api(f"STREAM.INFO.{self.name.stream}", request))["state"]
        return sum((state.get("subjects") or {}).values())

    async def checkpoints(self) -> int:
        request = {"subjects_filter": self.name.all_checkpoints}
        state = (await self.lab.api(f"STREAM.INFO.{self.name.stream}", request))["state"]
        return sum((state.get("subjects") or {}).values())

    async def tasks(self) -> list[str]:
        """The ids of those that are back, each as often as it is; they are taken."""
        jetstream = self.lab.nats.jetstream()
        consumer = await jetstream.pull_subscribe(self.name.retry("*", "*"), stream=self.name.stream)
        found: list[str] = []
        while await self.moved():
            with suppress(TimeoutError):
                messages = await consumer.fetch(1000, timeout=2)
                found += [read_task(message.data, message.headers or {}, 1).id for message in messages]
                await asyncio.gather(*(message.ack_sync(60) for message in messages))
        return found

    async def until_moved(self, count: int) -> None:
        async def far_enough() -> bool:
            return await self.moved() >= count

        await eventually(far_enough)

    async def let_go(self, name: str = "again") -> None:
        """Wait until nothing is kept of it but the object."""

        async def is_let_go() -> bool:
            return "finalizers" not in (await self.lab.get(REDRIVES, name))["metadata"]

        await eventually(is_let_go)
        assert await self.checkpoints() == 0


@pytest.fixture
async def email(lab: Lab) -> Email:
    await lab.queue()
    await lab.ready()
    return Email(lab)


async def test_all_letters_become_tasks_and_the_status_says_so(email: Email) -> None:
    await email.bury(1500)
    await email.redrive()
    status = await email.complete(matched=1500, moved=1500, remaining=0, failed=0)
    assert status["completionTime"] >= status["startTime"]
    await email.let_go()
    assert await email.left() == 0
    assert sorted(await email.tasks()) == sorted(map(task_id, range(1500)))
    assert "Completed" in await email.lab.event_reasons("again")


class Watched:
    """Reads a status all the time, and what is true when it was read."""

    def __init__(self, email: Email) -> None:
        self._email = email
        self.reads = 0
        self.wrong: list[Any] = []
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        before = 0
        while True:
            try:
                status = await self._email.status()
                true = await self._email.moved()
            except Exception:  # whoever was asked has just been killed
                await asyncio.sleep(0.05)
                continue
            if "moved" in status:
                self.reads += 1
                adds_up = status["moved"] + status["remaining"] + status["failed"] == status["matched"]
                if not (before <= status["moved"] <= true and adds_up):
                    self.wrong.append((before, status, true))
                before = status["moved"]
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        await cancel(self._task)


@pytest.mark.timeout(900)  # the operator starts six times
async def test_each_letter_is_moved_once_however_often_operator_and_nats_are_killed(
    email: Email, operator: OperatorProcess, server: NatsServer
) -> None:
    count, kills = 6000, 5
    await email.bury(count)
    watched = Watched(email)
    await email.redrive(rate={"tasks": 1500})
    for number in range(kills):
        await email.until_moved(count * (number + 1) // (kills + 2))
        operator.kill()
        if number == 2:
            server.kill()
            await server.start()
        operator.start()
    status = await email.complete(matched=count, moved=count, remaining=0, failed=0)
    await watched.stop()
    assert not watched.wrong
    assert watched.reads > kills
    assert await email.left() == 0
    assert sorted(await email.tasks()) == sorted(map(task_id, range(count)))
    assert status["position"] == status["lastSequence"]


async def test_one_can_be_suspended_resumed_sped_up_and_deleted_in_the_middle(email: Email) -> None:
    await email.bury(3000)
    await email.redrive(rate={"tasks": 100})
    await email.until_moved(20)
    await email.change(suspend=True)
    assert await email.says("Suspended") == "spec.suspend is true"
    before = await email.moved()
    await email.change(suspend=False, rate={"tasks": 300})
    await email.until_moved(before + 100)
    await email.lab.delete(REDRIVES, "again")
    await email.lab.gone(REDRIVES, "again")
    moved = await email.moved()
    assert 0 < moved < 3000
    assert moved + await email.left() == 3000
    assert await email.checkpoints() == 0
    await email.redrive("rest", rate={"tasks": 100})
    await email.says("Redriving", "rest", status="True")
    await email.change("rest", rate=None)
    await email.complete("rest", moved=3000 - moved)
    assert sorted(await email.tasks()) == sorted(map(task_id, range(3000)))


async def test_one_without_its_queue_waits_and_one_whose_queue_goes_has_failed(lab: Lab) -> None:
    email = Email(lab)
    await email.redrive()
    assert await email.says("QueueNotFound") == (
        f"spec.queueRef.name: there is no Queue email in namespace {lab.namespace}: create it, or correct the name"
    )
    await lab.queue(deletionPolicy="Delete")
    await email.complete(matched=0, moved=0)
    await email.bury(500)
    await email.redrive("slow", rate={"tasks": 50})
    await email.until_moved(10)
    await lab.delete(QUEUES, "email")
    assert "before all was moved" in await email.says("QueueDeleted", "slow", "Failed", "True")
    await lab.gone(QUEUES, "email")


async def test_a_full_queue_is_waited_for_and_said_to_be(lab: Lab) -> None:
    await lab.queue(limits={"maxTasks": 100})
    await lab.ready()
    email = Email(lab)
    email.name = QueueName(lab.namespace, "email")
    await email.bury(150)
    await email.redrive()
    assert "spec.limits.maxTasks is 100" in await email.says("QueueFull")
    assert (await email.status())["moved"] < 100
    assert await email.left() > 50
    await lab.queue(limits={"maxTasks": 1000})
    await email.complete(moved=150)


async def test_the_command_line_creates_one_and_waits_for_it(email: Email, kubeconfig: Path) -> None:
    queue = str(email.name)

    async def protoqueue(*words: str) -> tuple[int, str]:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        process = await asyncio.create_subprocess_exec(
            PROTOQUEUE, "redrive", *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return await process.wait(), (await process.communicate())[0].decode().strip()

    await email.bury(30, types=("welcome", "invoice"), reasons=("MaxAttempts", "Rejected", "Crashed"))
    assert await protoqueue(queue, "--dry-run") == (0, "30 dead letters match")
    assert await protoqueue(queue, "--type", "invoice", "--reason", "Rejected", "--reason", "Crashed", "--limit", "7",
                            "--rate", "100") == (0, "7 dead letters redriven")  # fmt: skip
    status, said = await protoqueue(queue, "--no-wait", "-o", "json")
    assert status == 0
    await email.complete(json.loads(said)["name"], moved=23)
    status, said = await protoqueue(queue, "--server", "http://127.0.0.1:1", "--key", "pq_a_b")
    assert (status, "protoqueue dead redrive" in said) == (1, True)
    status, said = await protoqueue(f"{email.lab.namespace}/not-there", "--no-wait", "--group", "Not a name")
    assert (status, "spec.group" in said, "Traceback" in said) == (1, True, False)


async def test_kubectl_waits_for_it_shows_how_far_it_is_and_explains_it(email: Email, kubeconfig: Path) -> None:
    await email.bury(40, types=("welcome", "goodbye"))

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", "--kubeconfig", str(kubeconfig), "-n", email.lab.namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    await email.redrive("counted", dryRun=True, filter={"types": ["welcome"]}, ttlAfterFinished="1s")
    await email.redrive("limited", limit=5)
    wait = asyncio.to_thread(kubectl, "wait", "--for=condition=Complete", "prd/limited", "--timeout=90s")
    assert "condition met" in await wait
    row = (await asyncio.to_thread(kubectl, "get", "prd", "limited", "--no-headers")).split()
    assert row[:7] == ["limited", "email", "Completed", "40", "5", "0", "0"]
    await email.lab.gone(REDRIVES, "counted")  # some time after it has finished, as it says
    explained = await asyncio.to_thread(kubectl, "explain", "redrive.spec.rate")
    assert "at an even pace" in explained


UNCHANGEABLE: dict[str, Any] = {
    "queueRef": {"name": "other"}, "group": "loggers", "filter": {"types": ["x"]}, "limit": 7, "dryRun": True,
}  # fmt: skip


async def test_what_it_moves_cannot_be_changed(lab: Lab) -> None:
    email = Email(lab)
    await email.redrive(suspend=True)
    for field, value in UNCHANGEABLE.items():
        with pytest.raises(ApiError, match=f"{field} is immutable: create another Redrive"):
            await email.change(**{field: value})
    nothing = {"failedAfter": "2026-11-30T12:00:00Z", "failedBefore": "2026-11-30T12:00:00Z"}
    with pytest.raises(ApiError, match="no dead letter would match"):
        await email.redrive("nothing", filter=nothing)

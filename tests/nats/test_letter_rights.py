"""What workers may publish where dead letters are tasks of another queue, and what happens where they may not."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

import nats
import protoqueue
from docs.fences import ROOT, fences
from nats_server import NatsServer
from protoqueue import Redrive, Reject, Task
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

PAGE = ROOT / "docs/security.md"
OF_MAILERS = ["pq.acme.email-dlq.task.*"]
OF_ANALYSTS = ["pq.acme.email.scheduled.*.*", "pq.acme.email.due.retry.mailers.*"]


def permissions(group: str, *more: str) -> str:
    """Those of the page for a worker of `mailers`, or of `analysts` of its dead letter queue, and some more."""
    (text,) = (fence.text for fence in fences(PAGE, "conf") if fence.title == "worker")
    if group == "analysts":
        text = re.sub(r"acme([._])email\b", r"acme\1email-dlq", text).replace("mailers", "analysts")
    added = "".join(f'"{subject}", ' for subject in more)
    return text.replace("publish: [", f"publish: [{added}").replace("_INBOX_worker", f"_INBOX_{group}")


def settings(mailers: list[str], analysts: list[str]) -> str:
    users = ", ".join(
        f"{{user: {name}, password: pw, {permissions(name, *more)}}}"
        for name, more in (("mailers", mailers), ("analysts", analysts))
    )
    return f"authorization {{ users: [{{user: admin, password: pw}}, {users}] }}".replace("acme", "default")


@pytest_asyncio.fixture
async def strict(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "strict", settings(OF_MAILERS, OF_ANALYSTS), login="admin:pw@")
    await server.start()
    admin = await nats.connect(server.url, user="admin", password="pw")
    quick = {"max_attempts": 1}
    await provision(admin, QueueSpec("email-dlq"), [GroupSpec("analysts", retry=quick)])
    await provision(admin, QueueSpec("email", dead_letter_queue="email-dlq"), [GroupSpec("mailers")])
    await admin.close()
    yield server
    server.kill()


def url(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:pw@")


async def run(strict: NatsServer, start) -> list[str]:
    """Of one task what became of it: its worker gives it up the first time, and that of the letters sends it back."""
    seen: list[str] = []
    mailers = protoqueue.Worker("default/email", group="mailers", url=url(strict, "mailers"))
    analysts = protoqueue.Worker("default/email-dlq", group="analysts", url=url(strict, "analysts"))

    @mailers.handler
    async def work(payload: int) -> None:
        seen.append("task")
        if len(seen) == 1:
            raise Reject("no")

    @analysts.handler
    async def analyze(payload: int, task: Task) -> None:
        seen.append("letter")
        raise Redrive

    async with await protoqueue.connect(url(strict, "admin")) as client:
        await (await client.queue("default/email")).enqueue(1)
    start(mailers)
    start(analysts)
    return seen


async def dead(strict: NatsServer, queue: str) -> list[protoqueue.DeadLetter]:
    async with await protoqueue.connect(url(strict, "admin")) as client:
        return [letter async for letter in (await client.queue(f"default/{queue}")).dead_letters()]


async def test_the_documented_rights_are_enough_for_a_letter_and_its_redrive(strict, start) -> None:
    text = PAGE.read_text()
    assert all(f"`{subject}`" in text for subject in (*OF_MAILERS, *OF_ANALYSTS))
    seen = await run(strict, start)
    await eventually(lambda: seen == ["task", "letter", "task"])
    assert not [line for line in strict.log_file.read_text().splitlines() if "Violation" in line]


async def test_without_the_right_to_the_other_queue_a_letter_stays_and_the_log_says_so(strict, start, caplog) -> None:
    await strict.reload(settings([], OF_ANALYSTS))
    seen = await run(strict, start)
    (letter,) = await eventually(lambda: dead(strict, "email"))
    assert letter.reason == "Rejected"
    assert "permission to publish to pq.default.email-dlq.task.1" in caplog.text
    assert seen == ["task"]


async def test_without_the_right_to_the_queue_of_origin_a_redrive_fails_and_says_so(strict, start) -> None:
    await strict.reload(settings(OF_MAILERS, []))
    seen = await run(strict, start)
    (letter,) = await eventually(lambda: dead(strict, "email-dlq"))
    assert (letter.reason, letter.error_type) == ("MaxAttempts", "PermissionDenied")
    assert "permission to publish to pq.default.email.scheduled." in letter.error
    assert seen == ["task", "letter"]

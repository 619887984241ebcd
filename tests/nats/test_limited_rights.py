"""What a worker needs to be allowed where its queue has limits: the documented rights, and those the page adds."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import nats
import protoqueue
from docs.fences import ROOT, fences
from nats_server import NatsServer
from protoqueue import NewTask, Reject, Snooze, Task
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

PAGE = ROOT / "docs/security.md"
RETRIES = "pq.acme.email.retry.mailers.*"


def permissions(*, stated: bool) -> str:
    """Those of the page, with pulls and acks of a second stream; and with a `stated` maxInFlight retries."""
    (text,) = (fence.text for fence in fences(PAGE, "conf") if fence.title == "worker")
    of_new = [
        each.replace("PQ_acme_email", "PQ_acme_email_NEW") for each in re.findall(r'"\$JS[^"]*mailers_p[^"]*"', text)
    ]
    assert len(of_new) == 9
    added = ", ".join([*of_new, f'"{RETRIES}"'] if stated else of_new)
    return text.replace("publish: [", f"publish: [{added}, ")


@pytest.fixture(params=[False, True], ids=["plain", "maxInFlight"])
def stated(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest_asyncio.fixture
async def strict(tmp_path: Path, stated: bool) -> AsyncIterator[NatsServer]:
    users = f"{{user: admin, password: pw}}, {{user: worker, password: pw, {permissions(stated=stated)}}}"
    server = NatsServer(tmp_path / "strict", f"authorization {{ users: [{users}] }}", login="admin:pw@")
    await server.start()
    admin = await nats.connect(server.url, user="admin", password="pw")
    group = GroupSpec(retry={"initial_delay": 0.05}, states_max_in_flight=stated)
    await provision(admin, QueueSpec("email", "acme", limits={"max_msgs": 100}), [group])
    await admin.close()
    yield server
    server.kill()


async def test_the_documented_rights_are_enough_for_all_a_worker_does_where_its_queue_has_limits(
    strict: NatsServer, start
) -> None:
    text = PAGE.read_text()
    assert "`PQ_acme_email_NEW`" in text
    assert f"`{RETRIES}`" in text
    seen: set[tuple[str, int]] = set()
    worker = protoqueue.Worker("acme/email", group="mailers", url=strict.url.replace("//", "//worker:pw@"))

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        seen.add((payload, task.attempt))
        if payload == "reject":
            raise Reject("no")
        if payload == "snooze" and (payload, 1) not in snoozed:
            snoozed.add((payload, 1))
            raise Snooze(0.05)
        if task.attempt == 1 and payload != "snooze":
            raise ValueError(payload)

    snoozed: set[tuple[str, int]] = set()
    start(worker)
    async with await protoqueue.connect(strict.url.replace("//", "//admin:pw@")) as client:
        queue = await client.queue("acme/email")
        await queue.enqueue_batch(["now", "reject", "snooze", NewTask("later", delay=0.1)])
        await eventually(lambda: {("now", 2), ("reject", 1), ("snooze", 1), ("later", 2)} <= seen)

        async def is_settled() -> bool:
            stats = await queue.stats()
            return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 1)

        await eventually(is_settled)
    assert not [line for line in strict.log_file.read_text().splitlines() if "Violation" in line]


async def test_without_the_rights_to_the_second_stream_a_worker_says_what_it_lacks(
    strict: NatsServer, stated: bool, start, caplog: pytest.LogCaptureFixture
) -> None:
    (plain,) = (fence.text for fence in fences(PAGE, "conf") if fence.title == "worker")
    users = f"{{user: admin, password: pw}}, {{user: worker, password: pw, {plain}}}"
    await strict.reload(f"authorization {{ users: [{users}] }}")
    worker = protoqueue.Worker("acme/email", group="mailers", url=strict.url.replace("//", "//worker:pw@"))

    @worker.handler
    async def work(payload: str) -> None: ...

    start(worker)
    await eventually(lambda: "consumer.msg.next.pq_acme_email_new.mailers_p" in caplog.text.lower())

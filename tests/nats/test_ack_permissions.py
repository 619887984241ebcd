"""What a worker may publish, and what it does when NATS refuses its acknowledgements."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

import nats
import protoqueue
from docs.fences import ROOT, fences
from nats_server import NatsServer
from ports import free_port
from protoqueue import NewTask, Reject, Retry, Snooze, Task
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

ACK_V2 = "feature_flags { js_ack_fc_v2: true }"


def documented(user: str) -> str:
    """The permissions that docs/security.md gives a user, for the queue `default/email`."""
    (text,) = (fence.text for fence in fences(ROOT / "docs/security.md", "conf") if fence.title == user)
    return text.replace("acme", "default")


def settings(flags: str, permissions: str) -> str:
    users = f"{{user: admin, password: pw}}, {{user: worker, password: pw, {permissions}}}"
    return f"{flags}\nauthorization {{ users: [{users}] }}"


@pytest.fixture(params=["", ACK_V2], ids=["js_ack", "js_ack_fc_v2"])
def flags(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def strict(flags: str, tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "strict", settings(flags, documented("worker")), login="admin:pw@")
    await server.start()
    yield server
    server.kill()


def url(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:pw@")


async def get(port: int, path: str) -> tuple[int, str]:
    address = f"http://127.0.0.1:{port}{path}"
    try:
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectionError as error:  # it is not served yet
        return 0, str(error)


async def test_the_documented_permissions_of_a_worker_are_enough_for_either_form_of_ack(strict) -> None:
    admin = await nats.connect(strict.url, user="admin", password="pw")
    spec = QueueSpec("email")
    await provision(admin, spec, [GroupSpec(retry={"initial_delay": 0.05, "jitter": 0.0}, visibility_s=2)])
    seen: list[tuple[str, int]] = []
    worker = protoqueue.Worker("default/email", group="mailers", url=url(strict, "worker"))

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        seen.append((payload, task.attempt))
        if payload == "reject":
            raise Reject("no")
        if payload == "retry" and task.attempt == 1:
            raise Retry(delay=0.05)
        if payload == "snooze" and seen.count((payload, 1)) == 1:
            raise Snooze(0.05)

    async with await protoqueue.connect(url(strict, "admin")) as client:
        queue = await client.queue("default/email")
        await queue.enqueue_batch(["plain", "reject", "retry", NewTask("snooze", priority=9)])

        async def done() -> bool:
            await worker.run_once()
            stats = await queue.stats()
            # What has just come due is counted nowhere for a moment.
            return len(seen) == 6 and (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 1)

        await eventually(done)
    await admin.close()
    assert sorted(seen) == [("plain", 1), ("reject", 1), ("retry", 1), ("retry", 2), ("snooze", 1), ("snooze", 1)]
    assert not [line for line in strict.log_file.read_text().splitlines() if "Violation" in line]


async def test_a_worker_whose_acks_are_refused_says_what_it_needs_is_not_ready_and_stops_pulling(
    flags, strict, start, caplog, monkeypatch
) -> None:
    admin = await nats.connect(strict.url, user="admin", password="pw")
    await provision(admin, QueueSpec("email"), [GroupSpec(visibility_s=0.5)])
    missing = "$JS.ACK.*.*.PQ_default_email.mailers_p1.>" if flags else "$JS.ACK.PQ_default_email.mailers_p1.>"
    prefix = missing.removesuffix("mailers_p1.>")
    # With it a worker may answer whatever it is sent, a task too, but only once and soon.
    allowed = documented("worker").replace('allow_responses: {max: 1, expires: "10s"}', "")
    for level in range(3):
        allowed = allowed.replace(f'"{prefix}mailers_p{level}.>",', "")
    await strict.reload(settings(flags, allowed))
    port = free_port()
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port))
    seen: list[int] = []
    worker = protoqueue.Worker("default/email", group="mailers", url=url(strict, "worker"))

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    async with await protoqueue.connect(url(strict, "admin")) as client:
        queue = await client.queue("default/email")
        start(worker)
        await queue.enqueue(1)

        async def not_ready() -> bool:
            status, text = await get(port, "/readyz")
            return status == 503 and missing in text

        await eventually(not_ready)
        assert (await get(port, "/healthz"))[0] == 200
        (said,) = [record for record in caplog.records if record.levelname == "ERROR" and "protoqueue" in record.name]
        assert missing in said.getMessage()

        async def nothing_is_asked_for() -> bool:
            states = [
                await admin.jetstream().consumer_info("PQ_default_email", f"mailers_p{level}") for level in range(3)
            ]
            return not any(state.num_waiting for state in states)

        await eventually(nothing_is_asked_for)  # it is not ready a moment before its requests are taken back
        # Of two leases nothing comes back to it, nor what is new.
        await queue.enqueue(2)
        before = len(seen)
        await asyncio.sleep(1.2)  # time itself is tested
        assert len(seen) == before
        assert 2 not in seen

        await strict.reload(settings(flags, documented("worker")))
        await eventually(lambda: 2 in seen)

        async def ready_and_done() -> bool:
            stats = await queue.stats()
            return (await get(port, "/readyz"))[0] == 200 and (stats.waiting, stats.in_flight) == (0, 0)

        await eventually(ready_and_done)
    await admin.close()

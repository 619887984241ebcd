"""What a producer learns with the rights that the documentation gives it, and without."""

import time
from pathlib import Path

import pytest
from nats.js.errors import BadRequestError

import nats
import protoqueue
from docs.fences import ROOT, fences
from nats_server import NatsServer
from protoqueue import NewTask, PermissionDenied
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec, QueueSpec, provision

NAME = QueueName("acme", "email")
LOOK = '"$JS.API.STREAM.MSG.GET.PQ_acme_email", "$JS.API.STREAM.MSG.GET.PQ_acme_email_LATER",'


def documented_producer() -> str:
    (text,) = (fence.text for fence in fences(ROOT / "docs/security.md", "conf") if fence.title == "producer")
    return text


@pytest.fixture
async def strict(tmp_path: Path):
    permissions = documented_producer()
    looking = permissions.replace("_INBOX_producer", "_INBOX_looking").replace("publish: [", f"publish: [ {LOOK}")
    users = [("producer", permissions), ("looking", looking), ("admin", "")]
    users_text = ", ".join(f"{{user: {name}, password: pw, {allowed}}}" for name, allowed in users)
    server = NatsServer(tmp_path / "strict", f"authorization {{ users: [{users_text}] }}", login="admin:pw@")
    await server.start()
    admin = await nats.connect(server.url, user="admin", password="pw")
    for name in ("email", "other"):
        await provision(admin, QueueSpec(name, "acme"), (GroupSpec(),))
    yield server
    await admin.close()
    server.stop()


def url(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:pw@")


def connect(server: NatsServer, user: str):
    return protoqueue.connect(url(server, user))


async def test_without_the_right_to_look_a_duplicate_is_told_at_once_and_without_an_id(strict: NatsServer) -> None:
    async with await connect(strict, "producer") as client:
        queue = await client.queue("acme/email")
        for dedup_id, options in (("a", {}), ("b", {"delay": 60})):
            assert not (await queue.enqueue(1, dedup_id=dedup_id, **options)).duplicate
            began = time.monotonic()
            receipts = [await queue.enqueue(1, dedup_id=dedup_id, **options, timeout=60) for _ in range(3)]
            receipts += await queue.enqueue_batch(
                [NewTask(n, dedup_id=dedup_id, **options) for n in range(2)], timeout=60
            )
            assert time.monotonic() - began < 30
            assert {(receipt.id, receipt.duplicate) for receipt in receipts} == {("", True)}


async def test_with_the_right_to_look_a_duplicate_has_the_id_of_the_task_that_is_there(strict: NatsServer) -> None:
    async with await connect(strict, "looking") as client:
        queue = await client.queue("acme/email")
        for dedup_id, options in (("a", {}), ("b", {"delay": 60})):
            first = await queue.enqueue(1, dedup_id=dedup_id, **options)
            assert (await queue.enqueue(1, dedup_id=dedup_id, **options)).id == first.id


async def test_a_freed_id_is_stored_again_by_a_producer_with_the_documented_rights(strict: NatsServer) -> None:
    async with await connect(strict, "producer") as client, await connect(strict, "admin") as admin:
        queue, administered = await client.queue("acme/email"), await admin.queue("acme/email")
        for dedup_id, options in (("a", {}), ("b", {"delay": 60})):
            first = await queue.enqueue(1, dedup_id=dedup_id, **options)
            assert await administered.cancel(first.id)
            assert not (await queue.enqueue(1, dedup_id=dedup_id, **options)).duplicate
            assert (await queue.enqueue(1, dedup_id=dedup_id, **options)).duplicate


async def test_what_nats_refuses_to_a_user_is_said_at_once_with_its_subject(strict: NatsServer) -> None:
    async with await connect(strict, "producer") as client:
        other = await client.queue("acme/other")
        began = time.monotonic()
        with pytest.raises(PermissionDenied, match=r"publish to pq\.acme\.other\.task\.1"):
            await other.enqueue(1, timeout=60)
        with pytest.raises(PermissionDenied, match=r"publish to pq\.acme\.other\.task\.1"):
            await other.enqueue_batch([1, 2, 3], timeout=None)
        assert time.monotonic() - began < 30


async def test_no_task_of_a_producer_can_pretend_that_a_schedule_stored_it(strict: NatsServer) -> None:
    """It would take the slot of the schedule's own task, which would not run."""
    headers = {
        Header.SCHEDULER: NAME.cron("hourly"),
        Header.RECURS: "UTC 0 0 * * * *",
        Header.SCHEDULE_NEXT: "2030-01-01T00:00:00Z",
    }
    later = {Header.SCHEDULE: "@at 2026-01-01T00:00:00Z", Header.SCHEDULE_TARGET: NAME.due(NAME.task(1))}
    producer = await nats.connect(strict.url, user="producer", password="pw", inbox_prefix=b"_INBOX_producer")
    for subject, more in ((NAME.task(1), {}), (NAME.scheduled("x"), later)):
        with pytest.raises(BadRequestError, match="invalid scheduler"):
            await producer.jetstream().publish(subject, b"", headers=headers | more)
    await producer.close()

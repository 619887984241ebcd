"""What the rights of `docs/security.md` keep their users from, in their own queue and in that of another tenant."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import nkeys
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.errors import NoRespondersError

import nats
import protoqueue
from docs.fences import ROOT, fences
from nats_accounts import public, seed
from nats_server import NatsServer, taken_in
from protoqueue import Task
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

TENANTS = ("acme", "rival")
ACK_V2 = "feature_flags { js_ack_fc_v2: true }"


def documented(user: str, tenant: str) -> str:
    (text,) = (fence.text for fence in fences(ROOT / "docs/security.md", "conf") if fence.title == user)
    return text.replace("acme", tenant).replace(f"_INBOX_{user}", f"_INBOX_{tenant}-{user}")


def settings(*, mailers: Callable[[str], str] = str) -> str:
    """Each tenant's worker and producer, an operator, and an administrator."""
    users = {"admin": "", "operator": documented("operator", "acme").replace("_INBOX_acme-", "_INBOX_")}
    for tenant in TENANTS:
        users |= {f"{tenant}-{user}": documented(user, tenant) for user in ("worker", "producer", "charts")}
    listed = ", ".join(f"{{user: {name}, password: pw, {mailers(permissions)}}}" for name, permissions in users.items())
    return f"authorization {{ users: [{listed}] }}"


@pytest_asyncio.fixture(params=["", ACK_V2], ids=["js_ack", "js_ack_fc_v2"])
async def strict(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "strict", f"{request.param}\n{settings()}", login="admin:pw@")
    await server.start()
    admin = await nats.connect(server.url, user="admin", password="pw")
    for tenant in TENANTS:
        await provision(admin, QueueSpec("email", namespace=tenant), [GroupSpec(retry={"initial_delay": 0.05})])
    await admin.close()
    yield server
    server.kill()


def url(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:pw@")


class Attacker:
    """A user's connection, by a client that asks for whatever it likes."""

    def __init__(self) -> None:
        self.nc = Nats()
        self.refused: list[str] = []

    async def _heard(self, error: Exception) -> None:
        self.refused.append(str(error).lower())

    async def _is_refused(self, verb: str, subject: str) -> None:
        await eventually(lambda: any(f'{verb} to "{subject.lower()}"' in each for each in self.refused))

    async def cannot_publish(self, subject: str, data: bytes = b"", **headers: str) -> None:
        await self.nc.publish(subject, data, headers={name.replace("_", "-"): text for name, text in headers.items()})
        await self._is_refused("publish", subject)

    async def cannot_subscribe(self, subject: str) -> None:
        subscription = await self.nc.subscribe(subject)
        await self._is_refused("subscription", subject)
        await subscription.unsubscribe()


@asynccontextmanager
async def attacker(server: NatsServer, user: str) -> AsyncIterator[Attacker]:
    one = Attacker()
    prefix = f"_INBOX_{user}"
    await one.nc.connect(server.url, user=user, password="pw", inbox_prefix=prefix, error_cb=one._heard)
    yield one
    await one.nc.close()


READING = (
    ">", "*", "_INBOX.>", "_INBOX_acme-worker.>", "_INBOX_acme-producer.>", "_INBOX_operator.>",
    "pq.>", "pq.acme.email.>", "pq.acme.email.task.0", "pq.acme.email.scheduled.*", "pq.acme.email.cancel",
    "pq.acme.email.workers.mailers", "pqdlq.acme.email.mailers", "$JS.ACK.>", "$JS.ACK.PQ_acme_email.>", "$JS.API.>",
    "$JS.EVENT.ADVISORY.>", "$KV.pq-config.>", "$KV.pq-config.acme.email", "$KV.pq-rate.acme.email", "$KV.pq-done.>",
    "$SYS.>", "$KV.pq-samples.>", "$KV.pq-samples.acme.email.>",
)  # fmt: skip
WRITING = (
    "_INBOX.x", "_INBOX_acme-producer.x.1", "_INBOX_acme-worker.x.1", "_INBOX_operator.x",
    "$JS.ACK.PQ_acme_email.mailers_p0.1.1.1.1.1", "$JS.ACK._.hash.PQ_acme_email.mailers_p0.1.1.1.1.1.x",
    "$JS.ACK.PQ_acme_email.mailers_p2.1.1.1.1.1", "pq.acme.email.task.0", "pq.acme.email.retry.mailers.0",
    "pq.acme.email.due.retry.mailers.0", "pq.acme.email.scheduled.x", "pq.acme.email.scheduled.x.y",
    "pq.acme.email.cron.x", "pq.acme.email.cancel", "pqdlq.acme.email.mailers", "$KV.pq-config.acme.email",
    "$KV.pq-config.acme.email.mailers", "$KV.pq-rate.acme.email", "$KV.pq-done.acme.email.mailers.x",
    "$JS.API.STREAM.PURGE.PQ_acme_email", "$JS.API.STREAM.DELETE.PQ_acme_email", "$JS.API.STREAM.UPDATE.PQ_acme_email",
    "$JS.API.STREAM.INFO.PQ_acme_email", "$JS.API.STREAM.MSG.GET.PQ_acme_email",
    "$JS.API.STREAM.MSG.GET.PQ_acme_email_DLQ", "$JS.API.STREAM.MSG.DELETE.PQ_acme_email",
    "$JS.API.DIRECT.GET.PQ_acme_email", "$JS.API.DIRECT.GET.KV_pq-config", "$JS.API.STREAM.CREATE.x",
    "$JS.API.STREAM.SNAPSHOT.PQ_acme_email", "$JS.API.CONSUMER.CREATE.PQ_acme_email.x.pq.acme.email.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.PQ_acme_email.x", "$JS.API.CONSUMER.DELETE.PQ_acme_email.mailers_p0",
    "$JS.API.CONSUMER.MSG.NEXT.PQ_acme_email.mailers_p0", "$JS.API.CONSUMER.PAUSE.PQ_acme_email.mailers_p0",
    "$JS.API.DIRECT.GET.KV_pq-samples.$KV.pq-samples.acme.email.10s.0", "$KV.pq-samples.acme.email.10s.0",
    "$JS.API.STREAM.PURGE.KV_pq-config", "$JS.API.ACCOUNT.PURGE.x", "$SYS.REQ.SERVER.PING",
)  # fmt: skip


@pytest.mark.parametrize("user", ["rival-worker", "rival-producer", "rival-charts"])
async def test_another_tenants_queue_can_be_neither_read_nor_written_nor_acknowledged(
    user: str, strict: NatsServer
) -> None:
    async with attacker(strict, user) as rival:
        for subject in READING:
            await rival.cannot_subscribe(subject)
        for subject in WRITING:
            await rival.cannot_publish(subject)


OWN: Mapping[str, tuple[str, ...]] = {
    "acme-producer": (
        "pq.acme.email.task.99", "pq.acme.email.task.abc", "pq.acme.email.task.0.1", "pq.acme.email.due.task.0",
        "pq.acme.email.due.cancel", "pq.acme.email.retry.mailers.0", "pq.acme.email.cron.x",
        "pq.acme.email.scheduled.a.b", "pq.acme.email.cancel", "pqdlq.acme.email.mailers",
        "$JS.ACK.PQ_acme_email.mailers_p0.1.1.1.1.1", "$JS.API.CONSUMER.MSG.NEXT.PQ_acme_email.mailers_p0",
        "$KV.pq-config.acme.email", "_INBOX_acme-producer.x", "_INBOX_acme-worker.x",
    ),
    "acme-worker": (
        "pq.acme.email.task.0", "pq.acme.email.cron.x", "pq.acme.email.scheduled.a", "pq.acme.email.due.task.0",
        "pq.acme.email.due.retry.audit.0", "pqdlq.acme.email.audit", "$JS.ACK.PQ_acme_email.audit_p0.1.1.1.1.1",
        "$JS.ACK._.hash.PQ_acme_email.audit_p0.1.1.1.1.1.x", "$JS.API.CONSUMER.MSG.NEXT.PQ_acme_email.audit_p0",
        "$JS.ACK.PQ_acme_email_LATER._scheduled.1.1.1.1.1", "$KV.pq-config.acme.email", "_INBOX_acme-producer.x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("user", OWN)
async def test_in_its_own_queue_a_user_can_do_what_its_part_is_and_nothing_else(user: str, strict: NatsServer) -> None:
    async with attacker(strict, user) as insider:
        for subject in OWN[user]:
            await insider.cannot_publish(subject)
        for subject in ("_INBOX.>", "pq.acme.email.task.0", "$JS.ACK.>", f"_INBOX_{user.replace('acme', 'rival')}.>"):
            await insider.cannot_subscribe(subject)


async def test_a_tenant_sees_nothing_of_anothers_tasks_while_both_work(strict: NatsServer) -> None:
    done: list[str] = []
    workers = []
    for tenant in TENANTS:
        worker = protoqueue.Worker(f"{tenant}/email", group="mailers", url=url(strict, f"{tenant}-worker"))

        @worker.handler
        async def work(payload: str, task: Task) -> None:
            if payload.endswith("twice") and task.attempt == 1:
                raise RuntimeError("once more")
            done.append(payload)

        workers.append((worker, asyncio.create_task(worker.serve())))
    async with attacker(strict, "rival-producer") as rival:
        for subject in ("_INBOX.>", "_INBOX_acme-worker.>", "_INBOX_acme-producer.>"):
            await rival.nc.subscribe(subject)
        for tenant in TENANTS:
            async with await protoqueue.connect(url(strict, f"{tenant}-producer")) as client:
                queue = await client.queue(f"{tenant}/email")
                await queue.enqueue_batch([f"{tenant} once", f"{tenant} twice"])
                await queue.enqueue(f"{tenant} later", delay=0.1)
        wanted = {f"{tenant} {what}" for tenant in TENANTS for what in ("once", "twice", "later")}
        await eventually(lambda: set(done) == wanted)
        assert rival.nc.stats["in_msgs"] == 0
    for worker, serving in workers:
        worker.stop()
        await asyncio.wait_for(serving, 60)


async def test_who_hears_a_call_answers_that_call_once_and_no_other(strict: NatsServer) -> None:
    """What `allow_responses` gives a worker in place of the right to publish to every inbox."""
    admin = await nats.connect(strict.url, user="admin", password="pw", inbox_prefix="_INBOX_operator")
    async with attacker(strict, "acme-worker") as worker:
        heard: list[str] = []

        async def answer(message: nats.aio.msg.Msg) -> None:
            heard.append(message.reply)
            await worker.nc.publish(message.reply, b"me")

        await worker.nc.subscribe("pq.acme.email.workers.mailers", cb=answer)
        await taken_in(worker.nc)
        assert (await admin.request("pq.acme.email.workers.mailers", b"", timeout=60)).data == b"me"
        await worker.cannot_publish(heard[0])
        await worker.cannot_publish("_INBOX_operator.another")
    await admin.close()


@pytest.mark.parametrize(("shape", "first"), [({"levels": 3}, "task"), ({"partitions": 4}, "ordered")])
@pytest.mark.parametrize("broadcast", [False, True])
async def test_what_no_consumer_takes_is_stored_nowhere(
    shape: dict[str, int], first: str, broadcast: bool, tmp_path: Path
) -> None:
    server = NatsServer(tmp_path / "nats")
    await server.start()
    nc = await nats.connect(server.url)
    count = next(iter(shape.values()))
    try:
        name = QueueName("acme", "email")
        await provision(nc, QueueSpec("email", namespace="acme", broadcast=broadcast, **shape), [GroupSpec()])
        nobody = [
            f"pq.acme.email.{subject}"
            for stem in (first, f"due.{first}", "retry.mailers", "due.retry.mailers")
            for subject in (f"{stem}.{count}", f"{stem}.99", f"{stem}.abc", f"{stem}.0.0", stem, f"{stem}.00")
        ]
        nobody += [f"pq.acme.email.{subject}" for subject in ("due.cancel", "due.x", "cron.a.b", "scheduled.a.b.c")]
        nobody += [f"pq.acme.email.{'ordered' if first == 'task' else 'task'}.0", "pq.acme.email.due.scheduled.x"]
        for subject in nobody:
            with pytest.raises(NoRespondersError):
                await nc.request(subject, b"x", timeout=60)
        for number in range(count):
            for subject in (f"{first}.{number}", f"retry.mailers.{number}", f"due.{first}.{number}"):
                answer = json.loads((await nc.request(f"pq.acme.email.{subject}", b"x", timeout=60)).data)
                assert "error" not in answer, answer

        async def all_have_a_taker() -> bool:
            info = json.loads((await nc.request(f"$JS.API.STREAM.INFO.{name.stream}", b"")).data)
            listed = json.loads((await nc.request(f"$JS.API.CONSUMER.LIST.{name.stream}", b"")).data)["consumers"]
            taken = sum(each["num_pending"] for each in listed)
            return bool(info["state"]["messages"] == taken == 3 * count)

        await eventually(all_have_a_taker)
    finally:
        await nc.close()
        server.kill()


@pytest.mark.parametrize("stated", ["environment", "Secret"])
async def test_who_logs_in_by_a_key_states_where_answers_are_to_come(
    stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_seed = seed(nkeys.PREFIX_BYTE_USER)
    key = public(nkeys.from_seed(own_seed))
    rights = 'permissions: {publish: ["$JS.API.>"], subscribe: ["_INBOX_mine.>", "$KV.>"]}'
    listed = f"{{user: admin, password: pw}}, {{nkey: {key}, {rights}}}"
    server = NatsServer(tmp_path / "nats", f"authorization {{ users: [{listed}] }}", login="admin:pw@")
    await server.start()
    try:
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "nkey").write_bytes(own_seed)
        monkeypatch.setenv("PROTOQUEUE_NATS_SECRET_DIR", str(secret))
        if stated == "environment":
            monkeypatch.setenv("PROTOQUEUE_NATS_INBOX_PREFIX", "_INBOX_mine")
        else:
            (secret / "inboxPrefix").write_text("_INBOX_mine\n")
        async with await protoqueue.connect(server.url) as client:
            with pytest.raises(protoqueue.QueueNotFound):
                await client.queue("default/email")
    finally:
        server.kill()

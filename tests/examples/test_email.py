"""The email example in memory, against its own mail server."""

from collections.abc import Iterator
from types import ModuleType

import pytest

from examples.loading import example_module
from protoqueue.protocol.v1.config_pb2 import GroupConfig
from protoqueue.testing import InMemory, in_memory


@pytest.fixture
def workers() -> Iterator[ModuleType]:
    with example_module("email", "workers") as module:
        yield module


@pytest.fixture
def smtp_sink() -> Iterator[ModuleType]:
    with example_module("email", "smtp_sink") as module:
        yield module


async def worked(memory: InMemory, workers: ModuleType) -> None:
    """Run what is ready, and what its retries make ready within half a minute."""
    await workers.worker.run_once()
    await memory.advance(30)
    await workers.worker.run_once()


async def test_a_mail_goes_out_with_an_id_made_from_the_task(
    workers: ModuleType, smtp_sink: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_memory("default/email", group="mailers") as memory, smtp_sink.running_sink() as (address, sink):
        monkeypatch.setenv("SMTP_ADDRESS", address)
        queue = await memory.client.queue("default/email")
        receipt = await queue.enqueue(workers.Mail(to="ada@example.org", subject="Hi", body="There"))
        await worked(memory, workers)
    ((_, mail),) = sink.mails
    assert (mail["To"], mail["Subject"], mail.get_payload().strip()) == ("ada@example.org", "Hi", "There")
    assert mail["Message-ID"] == f"<{receipt.id}@example.org>"


async def test_a_sign_up_reported_twice_is_one_mail(
    workers: ModuleType, smtp_sink: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_memory("default/email", group="mailers") as memory, smtp_sink.running_sink() as (address, sink):
        monkeypatch.setenv("SMTP_ADDRESS", address)
        queue = await memory.client.queue("default/email")
        mail = workers.Mail(to="ada@example.org", subject="Hi", body="There")
        receipts = [await queue.enqueue(mail, dedup_id="welcome-ada") for _ in range(2)]
        await worked(memory, workers)
    assert [receipt.duplicate for receipt in receipts] == [False, True]
    assert len(sink.mails) == 1


@pytest.mark.parametrize(("recipient", "arrives"), [("grey-ada@example.org", True), ("nobody@example.org", False)])
async def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(
    workers: ModuleType, smtp_sink: ModuleType, monkeypatch: pytest.MonkeyPatch, recipient: str, arrives: bool
) -> None:
    async with in_memory("default/email", group="mailers") as memory, smtp_sink.running_sink() as (address, sink):
        monkeypatch.setenv("SMTP_ADDRESS", address)
        memory.add_group(retries_forever())
        queue = await memory.client.queue("default/email")
        await queue.enqueue(workers.Mail(to=recipient, subject="Hi", body="There"))
        await worked(memory, workers)
        reasons = [letter.reason async for letter in queue.dead_letters()]
    assert len(sink.mails) == (1 if arrives else 0)
    assert reasons == ([] if arrives else ["Rejected"])


def retries_forever() -> GroupConfig:
    """The group as the example's manifest has it, as far as retries go."""
    group = GroupConfig(namespace="default", queue="email", name="mailers")
    group.retry.max_attempts, group.retry.multiplier = 5, 2
    group.retry.initial_delay.FromMilliseconds(500)
    group.retry.max_delay.FromSeconds(60)
    for level in (2, 1, 0):
        group.consumers.add(name=f"mailers_p{level}", level=level, weight=2**level)
    return group

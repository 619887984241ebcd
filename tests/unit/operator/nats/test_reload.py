"""The files of the operator's own connection, as somebody changes them while it runs."""

import asyncio

import pytest

from protoqueue.aio import cancel
from protoqueue_operator.api.v1alpha1.errors import SecretInvalid
from protoqueue_operator.nats import reload
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.nats.reload import reload as reload_credentials
from waiting import eventually

OLD, MIXED, NEW = (Credentials(("nats://a",), user="jo", password=word) for word in ("old", "mixed", "new"))


async def adopted(*found: Credentials | Exception) -> list[Credentials]:
    """What is told where the files are found so, and then stay as they are."""
    left, told = list(found), list[Credentials]()

    def read() -> Credentials:
        now = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(now, Exception):
            raise now
        return now

    running = asyncio.create_task(reload_credentials(read, told.append))
    await eventually(lambda: told and told[-1] == found[-1], interval_s=0.001)
    await cancel(running)
    return [each for number, each in enumerate(told) if number == 0 or each != told[number - 1]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOOK_S", 0.001)


async def test_what_was_seen_between_two_files_is_passed_over() -> None:
    assert await adopted(OLD, OLD, MIXED, NEW) == [OLD, NEW]


async def test_what_cannot_be_read_leaves_things_as_they_are_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    broken = [SecretInvalid("two ways")] * 3
    assert await adopted(OLD, OLD, *broken, OSError("gone"), NEW) == [OLD, NEW]
    assert caplog.text.count("two ways") == 1
    assert caplog.text.count("gone") == 1

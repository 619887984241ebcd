"""Dead letters on their way to another queue and back: each once, whatever comes between, and none lost."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from protoqueue.broker import Delivery, Message, Published, PullEnd
from protoqueue.errors import PermissionDenied, ProtoQueueError, Unavailable
from protoqueue.outcomes import Reason
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.config import GroupSettings, QueueSettings, parse_group, parse_queue
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import decode_task, encode_task
from protoqueue.settlement.outcome import Dead, Executed, Failure, Outcome, Redriven
from protoqueue.settlement.settle import Settler
from protoqueue.testing import InMemory

EMAIL, LETTERS = QueueName("default", "email"), QueueName("default", "email-dlq")
DEAD = Dead(Reason.REJECTED, Failure("Reject", "x" * 2000, "y" * 3000))
BACK = Redriven(timedelta(0))


class Place:
    """Two queues in memory, and what a worker of either does there; `refusing` what its NATS says to publishes."""

    def __init__(self) -> None:
        self.memory = InMemory()
        self.memory.add_queue(str(EMAIL), dead_letter={"queue_ref": {"name": LETTERS.name}})
        self.memory.add_queue(str(LETTERS))
        self.memory.add_group(str(EMAIL), "mailers")
        self.memory.add_group(str(LETTERS), "analysts", retry={"max_attempts": 1})
        self.refusing: dict[str, list[ProtoQueueError]] = {}
        self._publish = self.memory.broker.publish
        self.memory.broker.publish = self.publish  # type: ignore[method-assign]

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        for subject, errors in self.refusing.items():
            if message.subject.startswith(subject) and errors:
                raise errors.pop(0)
        return await self._publish(message, timeout_s)

    def settings(self, queue: QueueName, group: str) -> tuple[QueueSettings, GroupSettings]:
        def read(key: str) -> bytes:
            value = self.memory.broker.key(CONFIG_BUCKET, key).value
            assert value is not None
            return value

        return parse_queue(read(queue.config_key)), parse_group(read(GroupName(queue, group).config_key))

    async def deliver(self, queue: QueueName, group: str) -> Delivery:
        """What the group's consumer gives next, and what a worker that died without an outcome gets again."""
        got: list[Delivery] = []
        settings, of_group = self.settings(queue, group)
        for consumer in of_group.consumers:
            inbox = self.memory.broker.open_inbox(settings.stream, consumer.name, got.append, _ignore)
            await inbox.request(1, None)
        assert len(got) == 1
        return got[0]

    async def settle(self, delivery: Delivery, outcome: Outcome, queue: QueueName, group: str) -> Outcome:
        task = decode_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream)
        executed = Executed(outcome, task)
        await Settler(self.memory.broker, "w-1").settle(delivery, executed, *self.settings(queue, group))
        return executed.outcome

    async def counts(self) -> dict[str, int]:
        """How many tasks are where."""
        found: dict[str, int] = {}
        for name in (EMAIL, LETTERS):
            stats = await (await self.memory.client.queue(str(name))).stats()
            found |= {f"{name.name} {kind}": getattr(stats, kind) for kind in ("waiting", "in_flight", "dead")}
        return {name: count for name, count in found.items() if count}


def _ignore(_: PullEnd) -> None:
    pass


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    async with place.memory.client:
        yield place


async def given_up(place: Place, payload: Any = 1) -> Delivery:
    await (await place.memory.client.queue(str(EMAIL))).enqueue(payload)
    return await place.deliver(EMAIL, "mailers")


async def test_a_letter_and_a_redrive_are_stored_once_however_often_they_are_tried(place: Place) -> None:
    delivery = await given_up(place)
    for _ in range(3):  # each by another worker: the one before died between storing and acknowledging
        await place.settle(delivery, DEAD, EMAIL, "mailers")
    assert await place.counts() == {"email-dlq waiting": 1}
    letter = await place.deliver(LETTERS, "analysts")
    for _ in range(3):
        await place.settle(letter, BACK, LETTERS, "analysts")
    await place.memory.advance(0.01)
    assert await place.counts() == {"email waiting": 1}


async def test_a_task_may_die_and_be_redriven_again_and_again_within_the_window(place: Place) -> None:
    delivery = await given_up(place)
    for _ in range(4):
        await place.settle(delivery, DEAD, EMAIL, "mailers")
        await place.settle(await place.deliver(LETTERS, "analysts"), BACK, LETTERS, "analysts")
        await place.memory.advance(0.01)
        delivery = await place.deliver(EMAIL, "mailers")
    assert delivery.headers["Pq-Redrives"] == "4"
    assert await place.counts() == {"email in_flight": 1}


async def test_a_letter_that_nats_does_not_confirm_is_tried_until_it_does(place: Place) -> None:
    delivery = await given_up(place)
    place.refusing["pq.default.email-dlq"] = [Unavailable("no answer")] * 2
    await place.settle(delivery, DEAD, EMAIL, "mailers")
    assert await place.counts() == {"email-dlq waiting": 1}


async def test_a_queue_that_goes_while_a_letter_is_tried_leaves_it_to_the_own_dead_letters(place: Place) -> None:
    delivery = await given_up(place)
    errors = place.refusing["pq.default.email-dlq"] = [Unavailable("no responders")]
    errors.extend([Unavailable("no responders")] * 100)
    place.memory.broker.put_key(CONFIG_BUCKET, LETTERS.config_key, None)
    await place.settle(delivery, DEAD, EMAIL, "mailers")
    (letter,) = [one async for one in (await place.memory.client.queue(str(EMAIL))).dead_letters()]
    assert letter.reason == "Rejected"


async def test_a_worker_without_the_right_to_publish_there_keeps_its_letters(place: Place, caplog) -> None:
    delivery = await given_up(place)
    place.refusing["pq.default.email-dlq"] = [PermissionDenied("no permission to publish to pq.default.email-dlq")]
    await place.settle(delivery, DEAD, EMAIL, "mailers")
    assert await place.counts() == {"email dead": 1}
    assert "stay in its own dead-letter stream" in caplog.text
    assert "no permission to publish" in caplog.text


async def test_a_redrive_without_the_right_to_it_has_failed(place: Place) -> None:
    await place.settle(await given_up(place), DEAD, EMAIL, "mailers")
    place.refusing["pq.default.email."] = [PermissionDenied("no permission")]
    outcome = await place.settle(await place.deliver(LETTERS, "analysts"), BACK, LETTERS, "analysts")
    assert isinstance(outcome, Dead)
    assert outcome.failure == Failure("PermissionDenied", "no permission")
    assert await place.counts() == {"email-dlq dead": 1}


@pytest.mark.parametrize(
    ("free", "expected"), [(5500, "email-dlq waiting"), (900, "email-dlq waiting"), (100, "email dead")]
)
async def test_a_letter_says_as_much_about_its_death_as_there_is_room_for(
    place: Place, free: int, expected: str
) -> None:
    size = place.memory.broker.max_payload - free - len(encode_task("x" * 36, b""))
    await place.memory.broker.publish(Message(EMAIL.task(1), encode_task("x" * 36, b"z" * size)), None)
    await place.settle(await place.deliver(EMAIL, "mailers"), DEAD, EMAIL, "mailers")
    assert await place.counts() == {expected: 1}
    if expected == "email-dlq waiting":
        letter = await place.deliver(LETTERS, "analysts")
        task = decode_task(letter.data, letter.headers, letter.sequence, letter.stream)
        assert task.dead_letter is not None
        assert (len(task.dead_letter.error), len(task.dead_letter.traceback)) == (
            (1000, 3000) if free > 5000 else (200, 0)
        )
        await place.settle(letter, BACK, LETTERS, "analysts")
        await place.memory.advance(0.01)
        assert await place.counts() == {"email waiting": 1}

"""What `enqueue_batch` has under way at once, and what a failure leaves."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from protoqueue.broker import Broker, DuplicateInBatch, Message, Published
from protoqueue.errors import QueueFull
from protoqueue.producer.publish import BATCH_SIZE
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import QueueName
from protoqueue.queue import Queue
from protoqueue.task import NewTask


class Recorder:
    """Takes batches; refuses the one of number `full`, from 1."""

    max_payload = 1 << 20

    def __init__(self, full: int = 0) -> None:
        self.full = full
        self.begun = self.stored = self.under_way = self.most_under_way = 0

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def publish_atomic(
        self, messages: Sequence[Message], timeout_s: float | None, turn: Callable[[], Awaitable[None]]
    ) -> None:
        self.begun += 1
        number, self.under_way = self.begun, self.under_way + 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0.01 if number == self.full else 0)
            await turn()
            if number == self.full:
                raise QueueFull("full")
            self.stored += 1
        finally:
            self.under_way -= 1


def queue(broker: Recorder, partitions: int = 0) -> Queue:
    return Queue(cast("Broker", broker), QueueSettings(QueueName("default", "a"), "s", "l", "d", partitions=partitions))


async def test_the_next_batch_is_sent_while_the_server_stores_one_and_receipts_keep_their_order() -> None:
    broker = Recorder()
    receipts = await queue(broker).enqueue_batch(range(5 * BATCH_SIZE))
    assert (broker.stored, broker.most_under_way) == (5, 2)
    assert [one.id for one in receipts] == sorted(one.id for one in receipts)


async def test_ordered_tasks_go_one_batch_after_the_other() -> None:
    broker = Recorder()
    await queue(broker, partitions=4).enqueue_batch(NewTask(n, ordering_key="k") for n in range(3 * BATCH_SIZE))
    assert (broker.stored, broker.most_under_way) == (3, 1)


async def test_after_a_refused_batch_no_other_is_begun_and_none_is_left_under_way() -> None:
    broker = Recorder(full=2)
    with pytest.raises(QueueFull) as full:
        await queue(broker).enqueue_batch(range(9 * BATCH_SIZE))
    assert (broker.under_way, broker.stored, full.value.first_not_stored) == (0, 1, BATCH_SIZE)
    assert broker.begun <= 3


class Singly(Recorder):
    """Has a duplicate in every batch, and loses track of the first single task for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[str] = []

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None, turn: object) -> None:
        raise DuplicateInBatch

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        await asyncio.sleep(0 if self.arrived else 0.01)
        self.arrived.append(message.headers[Header.MSG_ID])
        return Published(len(self.arrived))


async def test_an_ordered_batch_that_is_stored_singly_keeps_its_order_though_a_task_takes_longer() -> None:
    broker = Singly()
    receipts = await queue(broker, partitions=4).enqueue_batch(NewTask(n, ordering_key="k") for n in range(20))
    assert broker.arrived == [receipt.id for receipt in receipts]

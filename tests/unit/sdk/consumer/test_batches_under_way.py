"""What `enqueue_batch` has under way at once, and what a failure leaves."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from protoqueue.client import Queue
from protoqueue.connection import Broker, Message
from protoqueue.errors import QueueFull
from protoqueue.naming import QueueName
from protoqueue.settings import QueueSettings
from protoqueue.storing import BATCH_SIZE
from protoqueue.task import Outgoing


class Recorder:
    """Takes batches; refuses the one of number `full`, from 1."""

    max_payload = 1 << 20

    def __init__(self, full: int = 0) -> None:
        self.full = full
        self.begun = self.stored = self.under_way = self.most_under_way = 0

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None) -> None:
        self.begun += 1
        number, self.under_way = self.begun, self.under_way + 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if number == self.full:
            raise QueueFull("full")
        self.stored += 1


def queue(broker: Recorder, partitions: int = 0) -> Queue:
    return Queue(cast("Broker", broker), QueueSettings(QueueName("default", "a"), "s", "l", "d", partitions=partitions))


async def test_the_next_batch_is_sent_while_the_server_stores_one_and_receipts_keep_their_order() -> None:
    broker = Recorder()
    receipts = await queue(broker).enqueue_batch(range(5 * BATCH_SIZE))
    assert (broker.stored, broker.most_under_way) == (5, 2)
    assert [one.id for one in receipts] == sorted(one.id for one in receipts)


async def test_ordered_tasks_go_one_batch_after_the_other() -> None:
    broker = Recorder()
    await queue(broker, partitions=4).enqueue_batch(Outgoing(n, ordering_key="k") for n in range(3 * BATCH_SIZE))
    assert (broker.stored, broker.most_under_way) == (3, 1)


async def test_after_a_refused_batch_no_other_is_begun_and_none_is_left_under_way() -> None:
    broker = Recorder(full=2)
    with pytest.raises(QueueFull):
        await queue(broker).enqueue_batch(range(9 * BATCH_SIZE))
    assert broker.under_way == 0
    assert broker.begun <= 3

"""What is read of a queue's samples, whatever lies in their slots."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from protoqueue.admin.samples import read_samples
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.samples import FINE, UNKNOWN
from protoqueue.protocol.v1 import samples_pb2 as pb

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
QUEUE = QueueName("shop", "email")


class Slots:
    """A bucket in which one block lies, in the slot of the present one."""

    def __init__(self, block: pb.SampleBlock) -> None:
        self._data = block.SerializeToString()

    async def read_value(self, bucket: str, key: str, timeout_s: float) -> bytes | None:
        return self._data if key == FINE.key(QUEUE, FINE.start_of(NOW.timestamp())) else None


def block(start: int, workers: int = 2) -> pb.SampleBlock:
    one: dict[str, Any] = {key: [1] for key in ("waiting", "in_flight", "scheduled", "dead", "arrivals", "completions")}
    ages = {"oldest_age": [workers], "workers_desired": [workers], "workers_available": [workers]}
    return pb.SampleBlock(start=start, step=FINE.step_s, index=[0], **one, **ages)


async def read(found: pb.SampleBlock) -> Any:
    slots: Any = Slots(found)
    return (await read_samples(slots, QUEUE, NOW - timedelta(hours=1), NOW, 1.0)).samples


@pytest.mark.parametrize(("step_s", "count"), [(FINE.step_s, 1), (FINE.step_s + 1, 0)])
async def test_a_block_of_another_step_is_not_read(step_s: int, count: int) -> None:
    found = block(FINE.start_of(NOW.timestamp()))
    found.step = step_s
    assert len(await read(found)) == count


async def test_a_slot_that_holds_a_block_of_another_time_tells_nothing_of_now() -> None:
    assert await read(block(FINE.start_of(NOW.timestamp()) + FINE.slots * FINE.block_s)) == []


async def test_what_nobody_knows_is_none_and_not_a_number() -> None:
    (known,), (unknown,) = [await read(block(FINE.start_of(NOW.timestamp()), workers)) for workers in (2, UNKNOWN)]
    assert (known.workers_desired, known.oldest_age) == (2, timedelta(seconds=2))
    assert (unknown.workers_desired, unknown.workers_available, unknown.oldest_age) == (None, None, None)

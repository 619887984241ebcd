"""The attempts at ordered tasks, where NATS does not answer or others have written."""

import pytest

from protoqueue import Unavailable
from protoqueue.connection import Delivery
from protoqueue.naming import DONE_BUCKET, GroupName, Header, QueueName
from protoqueue.tally import Tallies
from protoqueue.testing.memory import MemoryBroker

NAME = GroupName(QueueName("default", "q"), "g")


class LosesAnswers(MemoryBroker):
    """Stores what is written, and its answers get lost."""

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        await super().write_key(bucket, key, value, revision, timeout_s)
        raise Unavailable("the answer got lost")


def delivery(deliveries: int) -> Delivery:
    return Delivery(NAME.queue.ordered(3), b"", {}, f"reply {deliveries}", 7, deliveries, 0, 0)


async def test_a_failure_whose_noting_got_no_answer_counts_once() -> None:
    broker = LosesAnswers()
    tallies = Tallies(broker, NAME)
    for number in (1, 2):
        for _ in range(3):
            try:
                await tallies.note(delivery(number), "failed")
                break
            except Unavailable:
                continue
        else:
            pytest.fail("it is not seen that it has been noted")
    counted = await tallies.counted(delivery(3))
    assert (counted.headers[Header.ATTEMPT], counted.deliveries) == ("3", 1)


@pytest.mark.parametrize("value", [b"", b"no JSON", b"[]", b'{"sequence": 7}', b'{"sequence": 6, "failed": 4}'])
async def test_what_is_no_tally_of_this_task_says_nothing_about_it(value: bytes) -> None:
    broker = MemoryBroker()
    broker.put_key(DONE_BUCKET, NAME.tally_key(3), value)
    tallies = Tallies(broker, NAME)
    counted = await tallies.counted(delivery(2))
    assert (counted.headers[Header.ATTEMPT], counted.deliveries) == ("1", 2)
    await tallies.note(delivery(2), "snoozed")
    assert (await tallies.counted(delivery(3))).deliveries == 2


async def test_a_tally_of_a_later_version_is_read() -> None:
    broker = MemoryBroker()
    tallies = Tallies(broker, NAME)
    await tallies.note(delivery(1), "failed")
    value = broker.key(DONE_BUCKET, NAME.tally_key(3)).value
    assert value is not None
    broker.put_key(DONE_BUCKET, NAME.tally_key(3), value.replace(b"{", b'{"more": 1, '))
    assert (await tallies.counted(delivery(2))).headers[Header.ATTEMPT] == "2"

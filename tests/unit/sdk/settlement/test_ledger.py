"""What is written down of tasks that have succeeded."""

import logging

import pytest

from protoqueue.errors import Unavailable
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.settlement.ledger import Ledger
from protoqueue.testing.memory import MemoryBroker

GROUP = GroupName(QueueName("default", "q"), "g")


class LosesAnswers(MemoryBroker):
    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        is_first = self.key(bucket, key).number == 0
        number = await super().write_key(bucket, key, value, revision, timeout_s)
        if is_first:
            raise Unavailable("the answer got lost")
        return number


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "twice" in record.getMessage()]


async def test_a_task_of_an_exactly_once_group_that_ran_twice_is_a_warning_with_its_id(caplog) -> None:
    broker = MemoryBroker()
    await Ledger(broker, GROUP).record("t1")
    assert not warnings(caplog)
    await Ledger(broker, GROUP).record("t1")
    (record,) = warnings(caplog)
    assert (record.levelname, record.task, record.queue, record.group) == ("WARNING", "t1", "default/q", "g")  # type: ignore[attr-defined]


async def test_a_note_whose_own_answer_got_lost_is_not_taken_for_a_second_run(caplog) -> None:
    ledger = Ledger(LosesAnswers(), GROUP)
    with pytest.raises(Unavailable):
        await ledger.record("t1")
    await ledger.record("t1", again=True)
    assert not warnings(caplog)

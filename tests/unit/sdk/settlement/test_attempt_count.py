"""What is noted about deliveries, where NATS does not answer, where others have written, and where nobody could."""

import pytest

from protoqueue import Unavailable
from protoqueue.broker import Delivery
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.settlement.attempt_count import (
    FAILED,
    NO_PAST,
    RETURNED,
    SNOOZED,
    TRIAL,
    TRIAL_OVER,
    AttemptCount,
    AttemptCounts,
    Past,
)
from protoqueue.testing.memory import MemoryBroker

NAME = GroupName(QueueName("default", "q"), "g")


class LosesAnswers(MemoryBroker):
    """Stores what is written, and its answers get lost."""

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        await super().write_key(bucket, key, value, revision, timeout_s)
        raise Unavailable("the answer got lost")


def delivery(deliveries: int, *, is_continued: bool = False) -> Delivery:
    subject = NAME.queue.ordered(3)
    return Delivery(subject, b"", {}, f"reply {deliveries}", 7, deliveries, 0, 0, is_continued)


@pytest.mark.parametrize(
    ("notes", "next_delivery", "expected"),
    [
        pytest.param([], 2, Past(crashes=1, started=True), id="nobody noted how the first one ended"),
        pytest.param([(1, RETURNED)], 2, Past(started=True), id="handed back"),
        pytest.param([(1, RETURNED), (2, RETURNED), (3, RETURNED)], 4, Past(started=True), id="and again"),
        pytest.param([(1, RETURNED)], 3, Past(crashes=1, started=True), id="handed back, and then its worker died"),
        pytest.param([(2, TRIAL)], 3, Past(crashes=2, beside=0, started=True), id="died alone"),
        pytest.param(
            [(2, TRIAL)], 6, Past(crashes=2, beside=0, started=True), id="a suspect that is held is not blamed"
        ),
        pytest.param([(2, TRIAL), (3, TRIAL)], 4, Past(crashes=3, beside=0, started=True), id="died alone twice"),
        pytest.param([(2, TRIAL), (2, RETURNED)], 3, Past(crashes=1, beside=0, started=True), id="stopped on trial"),
        pytest.param([(2, TRIAL), (2, TRIAL_OVER)], 3, Past(crashes=1, late=1, beside=0, started=True), id="died late"),
        pytest.param([(2, TRIAL), (2, FAILED)], 3, Past(failed=1, started=True), id="an outcome after a crash"),
        pytest.param([(1, FAILED), (2, SNOOZED)], 3, Past(failed=1, started=True), id="failed, snoozed"),
    ],
)
async def test_what_became_of_the_deliveries_before(
    notes: list[tuple[int, str]], next_delivery: int, expected: Past
) -> None:
    attempt_counts = AttemptCounts(MemoryBroker(), NAME, ordered=True)
    for number, how in notes:
        await attempt_counts.note(delivery(number), how, beside=0)
    assert await attempt_counts.past_of(delivery(next_delivery)) == expected


async def test_what_is_handed_back_unstarted_has_not_been_started() -> None:
    attempt_counts = AttemptCounts(MemoryBroker(), NAME, ordered=False)
    await attempt_counts.note(delivery(1), RETURNED, started=False)
    assert await attempt_counts.past_of(delivery(2)) == NO_PAST


async def test_what_comes_again_to_where_it_runs_on_trial_has_not_crashed() -> None:
    attempt_counts = AttemptCounts(MemoryBroker(), NAME, ordered=False)
    await attempt_counts.note(delivery(2), TRIAL, beside=0)
    await attempt_counts.note(delivery(3, is_continued=True), RETURNED)
    assert (await attempt_counts.past_of(delivery(4))).crashes == 1


async def test_a_first_delivery_asks_nothing() -> None:
    class AsksNothing(MemoryBroker):
        async def read_key(self, *_: object) -> None:  # type: ignore[override]
            pytest.fail("it was asked")

    assert await AttemptCounts(AsksNothing(), NAME, ordered=True).past_of(delivery(1)) == NO_PAST


async def test_a_failure_whose_noting_got_no_answer_counts_once() -> None:
    broker = LosesAnswers()
    attempt_counts = AttemptCounts(broker, NAME, ordered=True)
    for number in (1, 2):
        for _ in range(3):
            try:
                await attempt_counts.note(delivery(number), FAILED)
                break
            except Unavailable:
                continue
        else:
            pytest.fail("it is not seen that it has been noted")
    past = await attempt_counts.past_of(delivery(3))
    assert (attempt_counts.counted(delivery(3), past).headers[Header.ATTEMPT], past.crashes) == ("3", 0)


@pytest.mark.parametrize("value", [b"", b"no JSON", b"[]", b'{"sequence": 7}', b'{"sequence": 6, "failed": 4}'])
async def test_what_is_no_tally_of_this_task_says_nothing_about_it(value: bytes) -> None:
    broker = MemoryBroker()
    broker.put_key(DONE_BUCKET, NAME.attempts_key(3), value)
    attempt_counts = AttemptCounts(broker, NAME, ordered=True)
    past = await attempt_counts.past_of(delivery(2))
    assert (attempt_counts.counted(delivery(2), past).headers[Header.ATTEMPT], past.crashes) == ("1", 1)
    await attempt_counts.note(delivery(2), SNOOZED)
    assert (await attempt_counts.past_of(delivery(3))).crashes == 0


async def test_a_tally_of_a_later_version_is_read() -> None:
    broker = MemoryBroker()
    attempt_counts = AttemptCounts(broker, NAME, ordered=True)
    await attempt_counts.note(delivery(1), FAILED)
    value = broker.key(DONE_BUCKET, NAME.attempts_key(3)).value
    assert value is not None
    assert AttemptCount.decode(value) is not None
    broker.put_key(DONE_BUCKET, NAME.attempts_key(3), value.replace(b"{", b'{"more": 1, '))
    assert (await attempt_counts.past_of(delivery(2))).failed == 1

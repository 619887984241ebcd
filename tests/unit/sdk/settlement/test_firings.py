"""The slots of recurring tasks: one message of each is worked on, by whichever worker begins it first."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from protoqueue.broker import Delivery
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.recurring import firing_expires_ms, jitter_delay, scheduled_for, skips_overlap, slot_of
from protoqueue.settlement.firings import Firings
from protoqueue.settlement.messages import carried, expiry_of
from protoqueue.testing.memory import MemoryBroker

QUEUE = QueueName("default", "reports")
FIRED = {
    Header.SCHEDULER: QUEUE.cron("nightly"),
    Header.SCHEDULE_NEXT: "2026-01-02T02:00:00Z",
    Header.RECURS: "Europe/Berlin 0 0 3 * * *",
}


@pytest.mark.parametrize(
    ("headers", "slot"),
    [
        (FIRED, "2026-01-01T02:00:00"),
        (FIRED | {Header.RECURS: "UTC @every 600000ms"}, "2026-01-02T01:50:00"),
        (FIRED | {Header.RECURS: "UTC 0 0 2 * * 5"}, "2025-12-26T02:00:00"),
        ({Header.RECURS: "UTC 0 0 3 * * *", Header.SCHEDULED_FOR: "2026-01-01T03:00:00+00:00"}, "2026-01-01T03:00:00"),
        (FIRED | {Header.RECURS: "Mars/Base 0 0 3 * * *"}, None),
        (FIRED | {Header.RECURS: "nonsense"}, None),
        (FIRED | {Header.SCHEDULE_NEXT: "purge"}, None),
        ({Header.RECURS: "UTC 0 0 3 * * *", Header.SCHEDULED_FOR: "soon"}, None),
        ({}, None),
    ],
)
def test_a_recurring_task_says_for_which_time_it_is(headers: dict[str, str], slot: str | None) -> None:
    assert scheduled_for(headers) == (datetime.fromisoformat(slot).replace(tzinfo=UTC) if slot else None)


def test_only_what_a_cron_schedule_has_just_fired_has_a_slot() -> None:
    assert slot_of(FIRED) == ("nightly", "2026-01-02T02:00:00Z")
    assert slot_of(FIRED | {Header.RECURS: "UTC @every 1000ms"}) is None, "its times begin anew with the server"
    assert slot_of(FIRED | {Header.SCHEDULER: QUEUE.scheduled("7")}) is None
    assert slot_of({Header.RECURS: "UTC 0 0 3 * * *"}) is None


def fired(
    sequence: int, following: str = "2026-01-02T02:00:00Z", schedule: str = "nightly", deliveries: int = 1
) -> Delivery:
    headers = FIRED | {Header.SCHEDULER: QUEUE.cron(schedule), Header.SCHEDULE_NEXT: following}
    return Delivery("subject", b"", headers, f"reply.{sequence}", sequence, deliveries, 0, 0)


async def test_the_first_message_of_a_slot_is_worked_on_however_often_it_comes_and_no_other() -> None:
    broker, group = MemoryBroker(), GroupName(QUEUE, "mailers")
    one, another = Firings(broker, group), Firings(broker, group)
    assert not await one.is_repeated(fired(7))
    assert not await another.is_repeated(fired(7, deliveries=2)), "its worker died: it is the same message"
    assert await another.is_repeated(fired(8))
    assert not await one.is_repeated(fired(8, "2026-01-03T02:00:00Z"))
    assert not await one.is_repeated(fired(8, schedule="weekly"))
    assert not await Firings(broker, GroupName(QUEUE, "others")).is_repeated(fired(8)), "each group has its own"
    plain = replace(fired(9), headers={})
    assert not await one.is_repeated(plain)


async def test_what_is_remembered_of_a_schedule_does_not_grow() -> None:
    broker, group = MemoryBroker(), GroupName(QUEUE, "mailers")
    for minute in range(50):
        assert not await Firings(broker, group).is_repeated(fired(minute + 1, f"2026-01-02T02:{minute:02}:00Z"))
    assert await Firings(broker, group).is_repeated(fired(99, "2026-01-02T02:49:00Z"))
    entry = await broker.read_key(DONE_BUCKET, group.firings_key("nightly"), 1)
    assert entry.value
    assert len(entry.value) < 1000


async def test_what_another_producer_put_there_counts_as_nothing() -> None:
    broker, group = MemoryBroker(), GroupName(QUEUE, "mailers")
    for value in (b"[", b"[]", b'{"2026-01-02T02:00:00Z": "x"}'):
        entry = await broker.read_key(DONE_BUCKET, group.firings_key("nightly"), 1)
        await broker.write_key(DONE_BUCKET, group.firings_key("nightly"), value, entry.number, 1)
        assert not await Firings(broker, group).is_repeated(fired(7))


SLOT = datetime(2026, 1, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def moment(headers: dict[str, str], now: datetime = SLOT) -> datetime:
    delay = jitter_delay(headers, 0, now)
    assert delay is not None
    return now + delay


def test_jitter_puts_off_each_firing_to_a_moment_of_its_own_that_every_worker_comes_to() -> None:
    jittered = FIRED | {Header.JITTER: "3600000"}
    others = [jittered | {Header.SCHEDULER: QueueName("default", f"q{n}").cron("nightly")} for n in range(200)]
    moments = [moment(each) for each in others]
    assert all(SLOT <= each < SLOT + HOUR for each in moments)
    assert len({each.minute // 10 for each in moments}) == 6, "all over the hour"
    assert moment(jittered) != moment(jittered | {Header.SCHEDULE_NEXT: "2026-01-03T02:00:00Z"}, SLOT + 24 * HOUR)
    late = moment(jittered) - timedelta(milliseconds=5)
    assert moment(jittered, late) == moment(jittered), "a second delivery"
    assert jitter_delay(jittered, 0, SLOT + HOUR) is None
    assert jitter_delay(FIRED, 0, SLOT) is None


@pytest.mark.parametrize("nonsense", ["", "soon", "-5", "1e9", "9" * 30, "٣"])
def test_what_another_producer_puts_there_neither_expires_nor_jitters(nonsense: str) -> None:
    headers = FIRED | {Header.JITTER: nonsense, Header.EXPIRES_AFTER: nonsense}
    assert jitter_delay(headers, 0, SLOT) is None
    assert firing_expires_ms(headers, 0) == 0


def test_a_firing_expires_so_long_after_its_time_also_where_its_zone_is_not_known() -> None:
    headers = FIRED | {Header.EXPIRES_AFTER: "60000"}
    assert firing_expires_ms(headers, 0) == (SLOT.timestamp() + 60) * 1000
    assert firing_expires_ms(headers | {Header.RECURS: "Mars/Base 0 0 3 * * *"}, 5_000_000_000) == 65_000
    assert firing_expires_ms(FIRED, 0) == 0


def test_what_has_been_started_neither_expires_nor_is_skipped_once_it_was_redriven() -> None:
    headers = FIRED | {Header.EXPIRES_AFTER: "60000", Header.OVERLAP: "Skip"}
    assert expiry_of(carried(headers)) == {}
    assert skips_overlap(headers)
    assert not skips_overlap(headers | {Header.REDRIVES: "1"})
    assert not skips_overlap(FIRED)

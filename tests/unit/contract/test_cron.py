"""Cron expressions: what is taken, what each means, and what the schema lets through."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from protoqueue.protocol.cron import PATTERN, parse_cron

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "as_nats_reads_it"),
    [
        ("0 0 3 * * *", "0 0 3 * * *"),
        ("0 3 * * *", "0 0 3 * * *"),
        ("*/5 * * * *", "0 */5 * * * *"),
        ("0 0 3 * * 7", "0 0 3 * * 0"),
        ("0 3 * * 5-7", "0 0 3 * * 0,5,6"),
        ("0 3 * * mon-fri", "0 0 3 * * MON-FRI"),
        ("0 0 3 1-5/2 JAN-MAR,dec ?", "0 0 3 1-5/2 JAN-MAR,DEC ?"),
        ("@daily", "@daily"),
        ("@hourly", "@hourly"),
        ("0 0 0 29 2 *", "0 0 0 29 2 *"),
    ],
)
def test_five_and_six_fields_become_what_the_server_takes(text: str, as_nats_reads_it: str) -> None:
    assert parse_cron(text).text == as_nats_reads_it
    assert re.search(PATTERN, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 0 25 * * *", "hour '25' is not valid: from 0 to 23"),
        ("60 * * * * *", "second '60' is not valid"),
        ("0 0 0 31 2 *", "never fires"),
        ("0 0 3 * * 5-1", "day of the week '5-1' is not valid"),
        ("0 0 3 0 * *", "day of the month '0' is not valid"),
    ],
)
def test_numbers_out_of_their_range_are_refused_by_field(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_cron(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "3", "* * * *", "* * * * * * *", "@reboot", "@every 5m", "@at 2030-01-01T00:00:00Z", "0 0 3 L * *",
        "0 0 3 15W * *", "0 0 3 * * 1#2", "0 0 3 */0 * *", "0 0 3 1,,2 * *", "TZ=UTC 0 3 * * *", "0  0 3 * * *",
        " 0 3 * * *", "0 3 * * *\n", "0 0 3 * FOO *", "0 0 3 * * 8",
    ],
)  # fmt: skip
def test_what_is_not_a_cron_expression_is_refused_by_the_schema_and_the_parser(text: str) -> None:
    assert not re.search(PATTERN.replace("$", r"\Z"), text)
    with pytest.raises(ValueError, match=r"is not|never"):
        parse_cron(text)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "moment", "following"),
    [
        ("0 3 * * *", UTC, "2026-01-01T03:00:00", "2026-01-02T03:00:00"),
        ("0 3 * * *", UTC, "2026-01-01T02:59:59.5", "2026-01-01T03:00:00"),
        ("0 3 * * *", BERLIN, "2026-01-01T00:00:00", "2026-01-01T02:00:00"),
        ("*/10 * * * * *", UTC, "2026-01-01T00:00:01", "2026-01-01T00:00:10"),
        ("0 0 29 2 *", UTC, "2097-01-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 9 13 * 5", UTC, "2026-01-01T10:00:00", "2026-01-02T09:00:00"),
        ("0 9 * * 7", UTC, "2026-01-01T10:00:00", "2026-01-04T09:00:00"),
        ("30 2 * * *", BERLIN, "2026-03-28T12:00:00", "2026-03-30T00:30:00"),
        ("30 2 * * *", BERLIN, "2026-10-25T00:30:00", "2026-10-25T01:30:00"),
    ],
)
def test_a_firing_is_at_the_next_matching_time_on_the_wall(
    cron: str, zone: ZoneInfo, moment: str, following: str
) -> None:
    assert parse_cron(cron).after(at(moment), zone) == at(following)
    assert parse_cron(cron).before(at(following).replace(microsecond=1), zone) == at(following)


class CountingZone(tzinfo):
    """Says how often it was asked: what reads the clock of a zone is most of what a cron costs."""

    def __init__(self, name: str) -> None:
        self._zone = ZoneInfo(name)
        self.asked = 0

    def fromutc(self, moment: datetime) -> datetime:
        self.asked += 1
        return self._zone.fromutc(moment.replace(tzinfo=self._zone)).replace(tzinfo=self)

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return self._zone.utcoffset(moment)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return self._zone.dst(moment)

    def tzname(self, moment: datetime | None) -> str | None:
        return self._zone.tzname(moment)


@pytest.mark.parametrize(
    ("text", "next_time"),
    [
        ("0 0 29 2 */7", datetime(2032, 2, 29, 5, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, 5, tzinfo=UTC)),
        ("0 0 29 2 */6", datetime(2032, 2, 29, 5, tzinfo=UTC)),
        ("59 59 23 31 12 *", datetime(2027, 1, 1, 4, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_cron_that_fires_once_in_years_costs_its_reader_little(text: str, next_time: datetime) -> None:
    """Any tenant may state a hundred of these, and they are read again whenever one of a queue's schedules fires."""
    zone = CountingZone("America/New_York")
    cron = parse_cron(text)
    assert cron.after(datetime(2026, 11, 30, tzinfo=UTC), zone) == next_time
    assert cron.before(next_time + timedelta(days=300), zone) == next_time
    assert zone.asked < 400

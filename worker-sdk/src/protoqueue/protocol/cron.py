"""Cron expressions, as NATS reads them: six fields, seconds first; and as crontab has them: five, and 7 for Sunday.

A schedule fires whenever the local time of its time zone matches: a time that is skipped when clocks go forward does
not fire that day, and one that is repeated when they go back fires twice.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

_MONTHS = {
    "JAN": 1, "FEB": 2, "MAR": 3, "APR": 4, "MAY": 5, "JUN": 6,
    "JUL": 7, "AUG": 8, "SEP": 9, "OCT": 10, "NOV": 11, "DEC": 12,
}  # fmt: skip
_DAYS = {"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_PART = re.compile(r"(?P<first>\*|\?|[0-9]{1,2}|[A-Z]{3})(?:-(?P<last>[0-9]{1,2}|[A-Z]{3}))?(?:/(?P<step>[0-9]{1,2}))?")
_HOUR = timedelta(hours=1)
_ONE_DAY = timedelta(days=1)
_NEAR = timedelta(days=2)
"""How far around a day local times are examined: a day may be longer or shorter, or be skipped."""
_LONGEST = timedelta(days=366 * 8)
"""The time between two 29ths of February around a year such as 2100."""


def _field_pattern(one: str) -> str:
    part = rf"(\*|\?|({one})(-({one}))?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


def _in_any_case(name: str) -> str:
    return "".join(f"[{letter}{letter.lower()}]" for letter in name)


_NUMBER = "[0-9]{1,2}"
_MONTH = "|".join((_NUMBER, *map(_in_any_case, _MONTHS)))
_DAY = "|".join(("[0-7]", *map(_in_any_case, _DAYS)))
PATTERN = (
    f"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|({_field_pattern(_NUMBER)} ){{3,4}}"
    f"{_field_pattern(_MONTH)} {_field_pattern(_DAY)})$"
)
"""The shape of a cron expression, not checking the ranges of its numbers."""


@dataclass(frozen=True)
class Cron:
    """Which numbers each field allows. Days match as in crontab: either field where both are restricted."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    week_days: frozenset[int]
    any_day: bool
    any_week_day: bool
    text: str
    """In six fields, with days of the week from 0 to 6, as NATS reads it."""

    def is_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.week_days
        return (of_month and of_week) if self.any_day or self.any_week_day else (of_month or of_week)

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first firing later than `moment`, in UTC; None if there is none within eight years."""
        now = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        end = now + _LONGEST
        while now < end:
            local = now.astimezone(zone)
            if not self.is_on(local.date()):
                if (day := self._nearest_day(local.date(), _ONE_DAY)) is None:
                    return None
                to_next = max(timedelta(hours=22 - local.hour), _HOUR) - _into_hour(local)
                now += max(to_next, day - local.date() - _NEAR)
            elif local.hour not in self.hours:
                now += _HOUR - _into_hour(local)
            elif local.minute not in self.minutes:
                now += timedelta(seconds=60 - local.second)
            elif local.second not in self.seconds:
                now += timedelta(seconds=1)
            else:
                return now
        return None

    def _nearest_day(self, day: date, step: timedelta) -> date | None:
        """The first day on which it fires, from `day` on in steps of a day forward or back; None within eight years.

        Times are not examined, which would cost most: some schedules fire once in many years.
        """
        for _ in range(_LONGEST // _ONE_DAY):
            if self.is_on(day):
                return day
            if day.month in self.months:
                day += step
            else:
                first = day.replace(day=1)
                day = first - _ONE_DAY if step < timedelta() else (first + 32 * _ONE_DAY).replace(day=1)
        return None

    def before(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The last firing earlier than `moment`, in UTC; None if there is none within eight years."""
        second = timedelta(seconds=1)
        now = (moment.astimezone(UTC) - timedelta(microseconds=1)).replace(microsecond=0)
        end = now - _LONGEST
        while now > end:
            local = now.astimezone(zone)
            if not self.is_on(local.date()):
                if (day := self._nearest_day(local.date(), -_ONE_DAY)) is None:
                    return None
                to_last = max(timedelta(hours=local.hour - 2), timedelta()) + _into_hour(local) + second
                now -= max(to_last, local.date() - day - _NEAR)
            elif local.hour not in self.hours:
                now -= _into_hour(local) + second
            elif local.minute not in self.minutes:
                now -= timedelta(seconds=local.second) + second
            elif local.second not in self.seconds:
                now -= second
            else:
                return now
        return None


def parse_cron(text: str) -> Cron:
    """Raises ValueError that says which field is wrong."""
    fields = _SHORTHANDS.get(text, text).upper().split(" ")
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ValueError(
            f"{text!r} is not a cron expression: write five fields (minute, hour, day, month, day of the week), or "
            'six with a second before them, such as "30 3 * * MON-FRI" or "0 30 3 * * 1-5", or @daily and the like'
        )
    seconds, minutes, hours, days, months, week_days = (
        frozenset(_numbers(field, *kind)) for field, kind in zip(fields, _FIELDS, strict=True)
    )
    if 7 in week_days:
        week_days = frozenset(day % 7 for day in week_days)
        fields[5] = ",".join(map(str, sorted(week_days)))
    cron = Cron(
        seconds, minutes, hours, days, months, week_days,
        fields[3][0] in "*?", fields[5][0] in "*?", text if text in _SHORTHANDS else " ".join(fields),
    )  # fmt: skip
    if cron.any_week_day and not any(day <= _longest_month(cron.months) for day in cron.days):
        raise ValueError(f"{text!r} never fires: none of its months has such a day")
    return cron


def _longest_month(months: frozenset[int]) -> int:
    return max({2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31) for month in months)


def _numbers(field: str, name: str, least: int, most: int, names: dict[str, int]) -> Iterator[int]:
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"{name} {part!r} is not valid: write numbers, ranges (1-5), steps (*/10) or *")
        first, last, step = match["first"], match["last"], int(match["step"] or 1)
        if first in ("*", "?"):
            low, high = least, 6 if most == 7 else most
            if last:
                raise ValueError(f"{name} {part!r} is not valid: a range begins with a number")
        else:
            low = _number(first, name, names)
            high = _number(last, name, names) if last else most if match["step"] else low
        if not step or low < least or high > most or low > high:
            raise ValueError(
                f"{name} {part!r} is not valid: from {least} to {most}, ranges go up, and a step is 1 or more"
            )
        yield from range(low, high + 1, step)


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.isdigit():
        return int(text)
    if text not in names:
        raise ValueError(f"{name} {text!r} is not valid")
    return names[text]


def _into_hour(local: datetime) -> timedelta:
    return timedelta(minutes=local.minute, seconds=local.second)

"""Schedules at times that their time zone skips or repeats when its clocks change."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from protoqueue.protocol.cron import Cron, parse_cron
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.schedule import Schedule

_AHEAD = timedelta(days=400)
_MIDNIGHT_HOURS = 24


@dataclass(frozen=True)
class ClockChange:
    """Clocks that show `wall` are set to `wall` + `by`; a negative `by` means back."""

    wall: datetime
    """Without a time zone."""
    by: timedelta

    @property
    def affected(self) -> tuple[datetime, datetime]:
        """The local times, from and until, that are skipped or come twice."""
        return (self.wall, self.wall + self.by) if self.by > timedelta() else (self.wall + self.by, self.wall)


def clock_changes(zone: tzinfo, now: datetime) -> tuple[ClockChange, ...]:
    """The clock changes of the next thirteen months."""
    return _changes(zone, now.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=1024)
def _changes(zone: tzinfo, now: datetime) -> tuple[ClockChange, ...]:
    """Cached: queues share zones, and each is evaluated whenever a schedule fires."""
    return tuple(_found_changes(zone, now))


def _found_changes(zone: tzinfo, now: datetime) -> Iterator[ClockChange]:
    moment, end = now, now + _AHEAD
    while moment < end:
        following = moment + timedelta(days=1)
        before, after = _offset(moment, zone), _offset(following, zone)
        if before != after:
            low, high = moment, following
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
            instant = high.replace(second=0, microsecond=0)
            yield ClockChange((instant + before).replace(tzinfo=None), after - before)
        moment = following


def clock_change_notes(spec: QueueSpec, zones: Mapping[str, tzinfo], now: datetime) -> tuple[str, ...]:
    """One sentence for users per schedule and clock change. Unknown zones have none."""
    changes = {name: clock_changes(zone, now) for name, zone in zones.items()}
    return tuple(
        note
        for schedule in spec.active_schedules
        if schedule.cron and schedule.time_zone
        for note in _notes(schedule, parse_cron(schedule.cron), changes.get(schedule.time_zone, ()))
    )


def _notes(schedule: Schedule, cron: Cron, changes: Iterable[ClockChange]) -> Iterator[str]:
    if len(cron.hours) == _MIDNIGHT_HOURS:
        return  # once an hour or more often: nothing to report
    field = f"spec.schedules[{schedule.name}]"
    for change in changes:
        start, end = change.affected
        if not _hits(cron, start, end):
            # NATS skips a day without a midnight.
            lacks_midnight = change.by > timedelta() and start.time() == datetime.min.time()
            if lacks_midnight and cron.is_on(start.date()):
                yield f"{field} does not fire on {start:%Y-%m-%d}: that day has no midnight in {schedule.time_zone}"
            continue
        times = f"{start:%H:%M} to {end:%H:%M} on {start:%Y-%m-%d} in {schedule.time_zone}"
        if change.by > timedelta():
            yield f"{field} does not fire at {times}: clocks go forward"
        else:
            yield f"{field} fires twice at {times}: clocks go back"


def _hits(cron: Cron, start: datetime, end: datetime) -> bool:
    """Whether the schedule fires at a local time between the two."""
    minute = start
    while minute < end:
        if cron.is_on(minute.date()) and minute.hour in cron.hours and minute.minute in cron.minutes:
            return True
        minute += timedelta(minutes=1)
    return False


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()

"""Durations as the resources write them: `500ms`, `30s`, `5m`, `12h`, `14d`, and sums such as `1h30m`."""

import re
from datetime import timedelta

PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
"""What the CRD's schema accepts (RE2 and Python read it alike)."""

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}

LONGEST = timedelta(days=36_525)
"""A century: anything longer is a mistake, and may exceed what a calendar can represent."""


def parse_duration(text: str) -> timedelta:
    """Read a duration; raises ValueError that shows the syntax, also for more than ten thousand years."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is not a valid duration: write 500ms, 30s, 5m, 12h, 14d or a sum such as 1h30m")
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back, to the millisecond."""
    rest, parts = round(duration / _UNITS["ms"]), []
    for name, unit in _UNITS.items():
        count, rest = divmod(rest, unit // _UNITS["ms"])
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def to_timedelta(duration: float | timedelta) -> timedelta:
    """Seconds or a timedelta, as in the SDK's arguments; raises ValueError if negative or over a century."""
    try:
        delta = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{duration!r} is not a duration in seconds: {error}") from None
    if delta < timedelta():
        raise ValueError(f"a duration must not be negative: {duration!r}")
    if delta > LONGEST:
        raise ValueError(f"{duration!r} is too long a duration: the maximum is 100 years")
    return delta


def to_seconds(name: str, duration: float | timedelta, error: type[Exception] = ValueError) -> float:
    """The same in seconds, for the argument `name`; raises `error`, which names it."""
    try:
        return to_timedelta(duration).total_seconds()
    except ValueError as problem:
        raise error(f"{name}: {problem}") from None

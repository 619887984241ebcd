"""Values of options: durations, times, pairs; a message and status 1 for one that is not valid."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from protoqueue.cli.failure import fail
from protoqueue.protocol.durations import parse_duration

_TIME = "2030-12-24T18:00+01:00"


def duration(option: str, text: str) -> float | timedelta:
    """`90` seconds or `1m30s`."""
    try:
        return _duration(text)
    except ValueError as error:
        fail(f"{option}: {error}")


def moment(option: str, text: str, or_else: str = "") -> datetime:
    """A moment of ISO 8601 that says its time zone; `or_else` is what could be written too."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is not a valid time: write {or_else}{_TIME}")
    if when.tzinfo is None:
        fail(f"{option}: {text!r} has no time zone: add Z for UTC, or an offset such as +01:00")
    return when


def duration_or_moment(option: str, text: str) -> float | timedelta | datetime:
    try:
        return _duration(text)
    except ValueError:
        return moment(option, text, or_else="1m30s or ")


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Each of the form `key=value`, the value a text that may be empty."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            fail(f"{option}: {text!r} is not of the form key=value")
        if key in found:
            fail(f"{option}: {key!r} is given twice")
        found[key] = value
    return found


def _duration(text: str) -> float | timedelta:
    try:
        return float(text)
    except ValueError:
        return parse_duration(text)

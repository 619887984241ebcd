"""Validating arguments of a client's methods: each raises an InvalidTask that names the argument."""

from datetime import datetime, timedelta

from protoqueue.errors import InvalidTask
from protoqueue.outcomes import Reason
from protoqueue.protocol.durations import to_seconds


def seconds(name: str, duration: float | timedelta) -> float:
    """A number of seconds or a timedelta, in seconds."""
    return to_seconds(name, duration, InvalidTask)


def optional_seconds(timeout: float | timedelta | None) -> float | None:
    """A timeout in seconds; None waits for ever."""
    return None if timeout is None else seconds("timeout", timeout)


def moment_ago(name: str, since: float | timedelta | datetime, now: datetime) -> datetime:
    """A datetime, or that many seconds before now."""
    if not isinstance(since, datetime):
        return now - timedelta(seconds=seconds(name, since))
    if since.tzinfo is None:
        raise InvalidTask(f"{name} must be a datetime with a time zone, not {since!r}")
    return since


def count(name: str, number: int, least: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise InvalidTask(f"{name} must be an integer of at least {least}, not {number!r}")
    return number


def reason(text: str | None) -> str | None:
    """A reason of dead letters, matched regardless of case."""
    known = {one.casefold(): one for one in Reason}
    if text is None or (isinstance(text, str) and text.casefold() in known):
        return None if text is None else known[text.casefold()].value
    raise InvalidTask(f"reason must be one of {', '.join(Reason)}, not {text!r}")


def since(moment: float | timedelta | datetime | None, now: datetime) -> datetime | None:
    """An aware datetime, or a duration before now."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidTask("since must be an aware datetime, such as datetime.now(UTC)")
        return moment
    return None if moment is None else now - timedelta(seconds=seconds("since", moment))


def rate(name: str, per_second: float) -> float:
    if not isinstance(per_second, int | float) or not per_second > 0:
        raise InvalidTask(f"{name} must be a number of tasks per second above 0, not {per_second!r}")
    return per_second

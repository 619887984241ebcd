"""Arguments of a client's methods: what each may be, and an InvalidTask that names the one that is not."""

from datetime import timedelta

from protoqueue.durations import to_seconds
from protoqueue.errors import InvalidTask


def seconds(name: str, duration: float | timedelta) -> float:
    """How long, as a number of seconds or a timedelta says it."""
    try:
        return to_seconds(name, duration)
    except ValueError as error:
        raise InvalidTask(str(error)) from error


def patience(timeout: float | timedelta | None) -> float | None:
    """A timeout in seconds; None waits for ever."""
    return None if timeout is None else seconds("timeout", timeout)


def count(name: str, number: int, least: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise InvalidTask(f"{name} is a whole number from {least} on, not {number!r}")
    return number


def rate(name: str, per_second: float) -> float:
    if not isinstance(per_second, int | float) or not per_second > 0:
        raise InvalidTask(f"{name} is in tasks per second and more than 0, not {per_second!r}")
    return per_second

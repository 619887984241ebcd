"""How numbers and times are written; the script writes them in the same way. Pure."""

from datetime import UTC, datetime

NOTHING = "\N{EN DASH}"

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def count(number: int | None) -> str:
    return NOTHING if number is None else str(number)


def rate(per_second: float | None) -> str:
    return NOTHING if per_second is None else f"{per_second:g}"


def epoch(moment: datetime | None) -> str:
    """Seconds since 1970, for the script; empty for no moment."""
    return "" if moment is None else str(int(moment.timestamp()))


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the two largest units: `2h 5m`. Of what is still to come: `in 5m`."""
    if moment is None:
        return NOTHING
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    return f"in {span(-seconds)}" if seconds < 0 else span(seconds)


def span(seconds: int) -> str:
    """A length of time, in its two largest units."""
    for place, (unit, size) in enumerate(_UNITS):
        if seconds >= size or size == 1:
            whole, rest = divmod(seconds, size)
            if place + 1 == len(_UNITS):
                return f"{whole}{unit}"
            smaller, smaller_size = _UNITS[place + 1]
            parts = rest // smaller_size
            return f"{whole}{unit} {parts}{smaller}" if parts else f"{whole}{unit}"
    return ""


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return NOTHING if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

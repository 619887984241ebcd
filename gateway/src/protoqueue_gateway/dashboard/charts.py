"""Charts as SVG paths. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from protoqueue import QueueSample, QueueSamples
from protoqueue_gateway.dashboard import formats

WIDTH, HEIGHT = 600, 100

Value = Callable[[QueueSample], float | None]


@dataclass(frozen=True)
class Line:
    """One line of a chart: where it goes, and what it ends at."""

    label: str
    style: str
    path: str
    last: str
    highest: str


@dataclass(frozen=True)
class Chart:
    """`top` is what the upper edge stands for; `data` is what the script tells of a moment."""

    title: str
    top: str
    lines: Sequence[Line]
    data: dict[str, object]

    @property
    def summary(self) -> str:
        """For who does not see it."""
        return f"{self.title}: " + ", ".join(
            f"{line.label} {line.last} now, {line.highest} at most" for line in self.lines
        )


def charts_of(found: QueueSamples, end: datetime, length: timedelta) -> list[Chart]:
    """The charts of a queue, up to a moment; none where there are no samples."""
    if not found.samples:
        return []
    step_s = found.step.total_seconds()

    def chart(title: str, *lines: tuple[str, Value], text: Callable[[float], str] = _number) -> Chart:
        return _chart(title, found, end, length, lines, text)

    charts = [
        chart("Tasks", ("waiting", lambda one: one.waiting), ("in flight", lambda one: one.in_flight),
              ("scheduled", lambda one: one.scheduled)),
        chart("Per second", ("arrivals", lambda one: one.arrivals / step_s),
              ("completions", lambda one: one.completions / step_s)),
        chart("Wait", ("oldest task", lambda one: one.oldest_age.total_seconds() if one.oldest_age else 0.0),
              text=lambda seconds: formats.span(int(seconds))),
        chart("Dead letters", ("dead", lambda one: one.dead)),
    ]  # fmt: skip
    if any(sample.workers_desired is not None for sample in found.samples):
        charts.append(
            chart(
                "Workers",
                ("desired", lambda one: one.workers_desired),
                ("available", lambda one: one.workers_available),
            )
        )
    return charts


def _chart(
    title: str, found: QueueSamples, end: datetime, length: timedelta, lines: Sequence[tuple[str, Value]],
    text: Callable[[float], str],
) -> Chart:  # fmt: skip
    values = [[value(sample) for sample in found.samples] for _, value in lines]
    highest = [max((each for each in line if each is not None), default=0.0) for line in values]
    top = round_up(max(highest))
    begin = end - length
    places = [(sample.at - begin) / length * WIDTH for sample in found.samples]
    gap = found.step / length * WIDTH * 1.5
    shown = [
        Line(label, style, _path(places, line, top, gap), text(line[-1] or 0), text(most))
        for (label, _), style, line, most in zip(lines, "abc", values, highest, strict=False)
    ]
    data = {
        "t": [int(sample.at.timestamp()) for sample in found.samples],
        "lines": [[label, [None if each is None else text(each) for each in line]]
                  for (label, _), line in zip(lines, values, strict=True)],
    }  # fmt: skip
    return Chart(title, text(top), shown, data)


def _path(places: Sequence[float], values: Sequence[float | None], top: float, gap: float) -> str:
    """Interrupted where nothing was measured."""
    parts: list[str] = []
    before: float | None = None
    for place, value in zip(places, values, strict=True):
        if value is None:
            before = None
            continue
        move = "M" if before is None or place - before > gap else "L"
        parts.append(f"{move}{place:.1f} {HEIGHT - value / top * HEIGHT:.1f}")
        before = place
    return "".join(parts)


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, …; what is below one counts too."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(factor * size for factor in (1, 2, 5, 10) if factor * size >= value * 0.999999)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"

"""What a benchmark found, beside what was hoped for."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number; `at_most` or `at_least` is its goal. A `value` of None could not be measured: see `note`."""

    name: str
    value: float | None
    unit: str
    at_most: float | None = None
    note: str = ""
    at_least: float | None = None

    @property
    def is_met(self) -> bool | None:
        if self.value is None or self.goal is None:
            return None
        return self.value >= self.goal if self.at_least is not None else self.value <= self.goal

    @property
    def goal(self) -> float | None:
        return self.at_most if self.at_least is None else self.at_least


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that at least this share of them does not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def machine() -> str:
    """For the title: figures from a busy machine mean little."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return f"{os.cpu_count()} cores, load average {load:.1f} at the start"


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print the table."""
    table = Table("figure", "measured", "goal", "met", "note", title=title, title_justify="left")
    for figure in figures:
        table.add_row(
            figure.name,
            "?" if figure.value is None else _number(figure.value, figure.unit),
            ""
            if figure.goal is None
            else f"{'≤' if figure.at_least is None else '≥'} {_number(figure.goal, figure.unit)}",
            {True: "[green]yes", False: "[red]no", None: ""}[figure.is_met],
            figure.note,
        )
    Console(width=None if Console().is_terminal else 140).print(table)


def _number(value: float, unit: str) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()

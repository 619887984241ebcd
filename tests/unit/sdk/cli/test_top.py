"""What `protoqueue top` makes of what it sees."""

from datetime import UTC, datetime, timedelta

import pytest

from protoqueue.admin.all_queues import QueueOverview
from protoqueue.admin.stats import GroupStats, Progress, QueueStats
from protoqueue.cli.top import Order, Row, in_order, row, screen

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def seen(
    waiting: int = 0, dead: int = 0, stored: int = 0, removed: int = 0, age_s: float | None = None
) -> QueueOverview:
    oldest_at = None if age_s is None else NOW - timedelta(seconds=age_s)
    return QueueOverview(QueueStats(waiting, 0, 0, dead, None, {}, {}), Progress(stored, removed), oldest_at)


def rows() -> list[Row]:
    before = (0.0, Progress(0, 0))
    queues = {
        "b/waits": seen(waiting=9, age_s=1),
        "a/fast": seen(waiting=1, stored=100, removed=90, age_s=2),
        "c/dead": seen(dead=5),
        "a/old": seen(waiting=1, age_s=99),
    }
    return [row(name, found, before, NOW, 10.0) for name, found in queues.items()]


@pytest.mark.parametrize(
    ("order", "first"),
    [
        (Order.WAITING, ["b/waits", "a/fast", "a/old", "c/dead"]),
        (Order.RATE, ["a/fast", "a/old", "b/waits", "c/dead"]),
        (Order.OLDEST, ["a/old", "a/fast", "b/waits", "c/dead"]),
        (Order.DEAD, ["c/dead", "a/fast", "a/old", "b/waits"]),
        (Order.NAME, ["a/fast", "a/old", "b/waits", "c/dead"]),
    ],
)
def test_the_most_comes_first(order: Order, first: list[str]) -> None:
    assert [each.name for each in in_order(rows(), order)] == first


def test_rates_are_what_has_passed_since_the_look_before() -> None:
    found = row("a/fast", seen(stored=100, removed=30), (5.0, Progress(80, 40)), NOW, 10.0)
    assert (found.arrivals_per_s, found.completions_per_s) == (4.0, 0.0), "a step back is no movement"
    first = row("a/fast", seen(stored=100), None, NOW, 10.0)
    assert (first.arrivals_per_s, first.completions_per_s) == (None, None)


@pytest.mark.parametrize("columns", [80, 40, 20])
@pytest.mark.parametrize("lines", [24, 5])
def test_the_screen_is_never_left(columns: int, lines: int) -> None:
    shown = screen(rows(), columns, lines)
    assert len(shown) <= lines
    assert max(map(len, shown)) <= max(columns, len("a/waits   WAITING"))
    assert any("b/waits" in line for line in shown)


def test_what_does_not_fit_is_counted() -> None:
    assert screen(rows(), 80, 5)[-1] == "… and 3 more queues"
    assert screen([], 80, 24) == ["0 queues: 0 waiting, 0 in flight, 0 dead", "", "no queues found: apply a Queue"]


@pytest.mark.parametrize(("groups", "state"), [((True,), "Throttled"), ((True, False), "Active"), ((), "Active")])
def test_a_queue_that_its_handlers_have_stopped_is_not_called_active(groups: tuple[bool, ...], state: str) -> None:
    stats = {
        f"g{number}": GroupStats(1, throttled_until=NOW if stopped else None) for number, stopped in enumerate(groups)
    }
    found = QueueOverview(QueueStats(1, 0, 0, 0, None, {}, stats), Progress(0, 0), None)
    assert screen([row("a/b", found, None, NOW, 1.0)], 100, 9)[-1].endswith(state)

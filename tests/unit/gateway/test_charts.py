"""What the charts of a queue show."""

from datetime import UTC, datetime, timedelta

import pytest

from protoqueue import QueueSample, QueueSamples
from protoqueue_gateway.dashboard.charts import HEIGHT, WIDTH, charts_of, round_up
from protoqueue_gateway.dashboard.rendering import rendered

END = datetime(2026, 11, 30, 12, tzinfo=UTC)
STEP = timedelta(seconds=10)


def sample(steps_ago: int, waiting: int, workers: int | None = None) -> QueueSample:
    at = END - steps_ago * STEP
    return QueueSample(at, waiting, 0, 0, 0, 20, 10, timedelta(seconds=90), workers, workers)


def charts(*samples: QueueSample, length: timedelta = timedelta(hours=1)):
    return {chart.title: chart for chart in charts_of(QueueSamples(STEP, list(samples), []), END, length)}


def test_a_line_goes_through_its_values_and_breaks_where_nobody_measured() -> None:
    line = charts(sample(360, 50), sample(359, 100), sample(10, 100), sample(9, 0))["Tasks"].lines[0]
    step = WIDTH / 360
    assert line.path == f"M0.0 50.0L{step:.1f} 0.0M{350 * step:.1f} 0.0L{351 * step:.1f} {HEIGHT:.1f}"
    assert (line.last, line.highest) == ("0", "100")


def test_rates_are_by_second_and_waits_in_words() -> None:
    found = charts(sample(1, 3))
    assert [line.last for line in found["Per second"].lines] == ["2", "1"]
    assert found["Wait"].lines[0].last == "1m 30s"
    assert found["Wait"].summary == "Wait: oldest task 1m 30s now, 1m 30s at most"


def test_workers_are_drawn_where_there_are_some() -> None:
    assert "Workers" not in charts(sample(1, 3))
    assert charts(sample(2, 3, None), sample(1, 3, 4))["Workers"].lines[0].last == "4"


def test_without_samples_nothing_is_drawn() -> None:
    assert charts() == {}
    assert "has kept no figures" in rendered("queue_charts.html", charts=[], changes=[], begin=END, end=END)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.03, 0.05), (1, 1), (3, 5), (51, 100), (1000, 1000), (1001, 2000)]
)
def test_the_upper_edge_is_a_round_number(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)

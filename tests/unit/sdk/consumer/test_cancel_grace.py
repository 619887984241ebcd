"""For how long a worker that is told to stop lets its tasks run."""

import pytest

from protoqueue import ConfigurationError, Worker
from protoqueue.consumer.options import WorkerOptions


@pytest.mark.parametrize(
    ("argument", "period", "grace_s"),
    [
        (None, None, 25.0),
        (None, "30", 25.0),
        (None, "600", 595.0),
        (None, "2", 1.5),
        (None, "0", 0.0),
        (3.0, "600", 3.0),
    ],
)
def test_the_grace_period_is_the_pods_own_less_what_handing_back_takes(
    monkeypatch: pytest.MonkeyPatch, argument: float | None, period: str | None, grace_s: float
) -> None:
    monkeypatch.delenv("PROTOQUEUE_GRACE_PERIOD", raising=False)
    if period is not None:
        monkeypatch.setenv("PROTOQUEUE_GRACE_PERIOD", period)
    assert WorkerOptions(grace_s=argument).read_grace_s() == grace_s


@pytest.mark.parametrize("period", ["30s", "-1", "nan", "soon"])
async def test_a_grace_period_that_is_not_a_number_of_seconds_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, period: str
) -> None:
    monkeypatch.setenv("PROTOQUEUE_GRACE_PERIOD", period)
    worker = Worker("default/q", group="g", url="nats://127.0.0.1:1")
    worker.handler(lambda payload: None)
    with pytest.raises(ConfigurationError, match="PROTOQUEUE_GRACE_PERIOD"):
        await worker.serve()

"""What is measured of each queue, by the Queue it belongs to."""

from typing import Any

import pytest

from protoqueue.protocol.samples import FINE
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.timeseries.series import MOST_CHANGES
from protoqueue_operator.timeseries.store import Resized, SeriesStore
from unit.operator.wired import Wired

NOW = 1_800_000_000.0
QUEUE = Key("Queue", "default", "email")


@pytest.fixture
def store() -> SeriesStore:
    return SeriesStore(lambda: NOW)


@pytest.fixture
def wired() -> Wired:
    return Wired()


def body(kind: str, name: str, uid: str, **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "default", "name": name, "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def grown(wired: Wired, after: int) -> Resized:
    group = wired.group(body("ConsumerGroup", "mailers", "g", queueRef={"name": "email"}))
    return Resized(group, after - 1, after, "ScaledUp", f"{after} tasks outstanding")


def sizes(store: SeriesStore, wired: Wired, uid: str = "q") -> list[int]:
    series = store.begin(wired.queue(body("Queue", "email", uid)))
    series.roll(NOW + FINE.step_s, lambda _: True, lambda: (0, 0))
    return [change.after for change in series.fine.changes]


def test_workers_that_came_before_the_first_sample_are_in_it(store: SeriesStore, wired: Wired) -> None:
    for after in (1, 2):
        store.resized(grown(wired, after))
    assert sizes(store, wired) == [1, 2]
    assert sizes(store, wired, "recreated") == []


def test_of_a_queue_that_is_never_sampled_only_the_last_changes_are_kept_and_none_once_it_is_gone(
    store: SeriesStore, wired: Wired
) -> None:
    for after in range(1, 2 * MOST_CHANGES[FINE] + 1):
        store.resized(grown(wired, after))
    store.keep_only([QUEUE])
    assert sizes(store, wired) == [*range(MOST_CHANGES[FINE] + 1, 2 * MOST_CHANGES[FINE] + 1)]
    store.keep_only([])
    store.resized(grown(wired, 1))
    store.keep_only([])
    assert sizes(store, wired) == []

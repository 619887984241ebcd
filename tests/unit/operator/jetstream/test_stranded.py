"""Which messages no consumer takes, and what is said of them and of queues that are full."""

from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling.backlog_conditions import full_condition, stranded_condition
from protoqueue_operator.autoscaling.load import ConsumerState, StreamState
from protoqueue_operator.jetstream.diff import other_shape
from protoqueue_operator.jetstream.stranded import described, stranded
from unit.operator.samples import queue, queue_body

FILTERS = ["pq.default.email.task.0", "pq.default.email.task.1", "pq.default.email.retry.*.0", "pq.default.email.x.>"]


@pytest.mark.parametrize(
    ("subject", "is_stranded"),
    [
        ("pq.default.email.task.0", False),
        ("pq.default.email.task.99", True),
        ("pq.default.email.task.0.more", True),
        ("pq.default.email.task", True),
        ("pq.default.email.retry.mailers.0", False),
        ("pq.default.email.retry.mailers.4", True),
        ("pq.default.email.x.y.z", False),
        ("pq.default.email.x", True),
    ],
)
def test_what_no_filter_takes_is_stranded(subject: str, is_stranded: bool) -> None:
    assert stranded({subject: 2}, FILTERS) == ({subject: 2} if is_stranded else {})


def test_of_many_subjects_the_fullest_are_named() -> None:
    found = {f"t.{number}": number for number in range(1, 9)}
    assert described(found) == "t.8 (8), t.7 (7), t.6 (6), t.5 (5), t.4 (4), and 3 more"


@pytest.mark.parametrize(
    ("desired", "observed", "field"),
    [
        ("levels=3", "", None),
        ("levels=3", "levels=3", None),
        ("levels=5", "levels=3", None),
        ("levels=3", "levels=5", "spec.priorityLevels"),
        ("partitions=16", "levels=3", "spec.ordering"),
        ("levels=3", "partitions=16", "spec.ordering"),
        ("partitions=16", "partitions=16", None),
        ("partitions=32", "partitions=16", "spec.ordering.partitions"),
        ("levels=3", "nonsense", None),
        ("levels=1,lanes=64", "levels=1,lanes=32", None),
        ("levels=3,lanes=32", "levels=3", None),
        ("levels=1,lanes=32", "levels=1,lanes=64", "spec.fairness"),
        ("levels=3", "levels=1,lanes=64", "spec.fairness"),
        ("levels=1,lanes=32", "levels=3", "spec.priorityLevels"),
    ],
)
def test_a_kept_stream_is_taken_over_in_a_shape_in_which_all_its_tasks_are_taken(
    desired: str, observed: str, field: str | None
) -> None:
    other = other_shape(desired, observed)
    assert (other[0] if other else None) == field


def full(messages: int, size: int = 0, *, before: Queue | None = None, **limits: Any) -> tuple[str, str] | None:
    known = before or queue(limits=limits)
    assert isinstance(known.spec, QueueSpec)
    groups = {"mailers": ConsumerState(2, 1, 0), "audit": ConsumerState(50, 0, 0)}
    condition = full_condition(known, known.spec, StreamState(messages, "", size=size), groups)
    return (condition.status, condition.message) if condition else None


def test_a_full_queue_names_the_group_that_is_furthest_behind() -> None:
    assert full(49, maxTasks=50) is None
    assert full(50, maxTasks=50) == (
        "True",
        "it holds 50 tasks, and spec.limits.maxTasks is 50: new tasks are refused; the group audit is furthest behind, "
        "with 50 waiting and 0 in flight",
    )
    said = full(3, 990, maxBytes=1000, onFull="DropOldest")
    assert said is not None
    assert "it holds 990 bytes, and spec.limits.maxBytes is 1000: the oldest tasks are dropped" in said[1]


def test_what_was_said_of_a_queue_is_taken_back() -> None:
    conditions = [
        {"type": kind, "status": "True", "reason": "x", "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("Full", "Stranded")
    ]
    before = parse_queue(queue_body({"limits": {"maxTasks": 50}}) | {"status": {"conditions": conditions}})
    assert full(1, before=before) == ("False", "")
    condition = stranded_condition(before, {})
    assert condition is not None
    assert condition.status == "False"
    assert stranded_condition(queue(), {}) is None

from datetime import UTC, datetime
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue
from protoqueue_operator.api.v1alpha1.status import changed_conditions, not_ready, progress, ready, status_patch, tasks
from protoqueue_operator.autoscaling.scaling_conditions import scaling
from unit.operator.samples import queue_body

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 1, 13, tzinfo=UTC)


def with_status(status: dict[str, Any]) -> Queue:
    return parse_queue(queue_body() | {"status": status})


def test_a_status_that_says_it_already_is_not_written() -> None:
    fields = {"stream": "PQ_default_email", "tasks": tasks(1, 2, 3, 4, 5)}
    first = status_patch(with_status({}), fields, [ready(1, "fine")], NOW)
    assert first.keys() == {"stream", "tasks", "conditions"}
    assert status_patch(with_status(first), fields, [ready(1, "fine")], LATER) == {}


def test_only_what_differs_is_written_and_none_removes() -> None:
    before = with_status({"stream": "a", "priorityLevels": 3, "tasks": tasks(1, 0, 0, 0)})
    assert status_patch(before, {"stream": "a", "priorityLevels": None, "tasks": tasks(2, 0, 0, 0)}, [], NOW) == {
        "priorityLevels": None,
        "tasks": {"waiting": 2, "inFlight": 0, "scheduled": 0, "dead": 0},
    }


def test_the_transition_time_moves_with_the_status_only() -> None:
    first = status_patch(with_status({}), {}, [not_ready(1, "InvalidSpec", "x")], NOW)
    second = status_patch(with_status(first), {}, [not_ready(1, "InvalidSpec", "y")], LATER)
    third = status_patch(with_status(second), {}, [ready(1, "fine")], LATER)
    assert [patch["conditions"][0]["lastTransitionTime"] for patch in (first, second, third)] == [
        "2026-01-01T12:00:00Z",
        "2026-01-01T12:00:00Z",
        "2026-01-01T13:00:00Z",
    ]


def test_other_conditions_stay() -> None:
    first = status_patch(with_status({}), {}, [ready(1, "fine")], NOW)
    second = status_patch(with_status(first), {}, [scaling(1, "Stable", "")], NOW)
    assert [condition["type"] for condition in second["conditions"]] == ["Ready", "Scaling"]


def test_a_status_written_by_a_hand_is_written_anew() -> None:
    assert status_patch(with_status({"stream": 7}), {"stream": "a"}, [], NOW) == {"stream": "a"}


def test_scaling_is_true_while_it_works_unknown_while_blind_and_false_while_off() -> None:
    statuses = {reason: scaling(1, reason, "").status for reason in ("ScaledUp", "Idle", "BacklogUnknown", "Disabled")}
    assert statuses == {"ScaledUp": "True", "Idle": "True", "BacklogUnknown": "Unknown", "Disabled": "False"}


def test_numbers_that_change_in_a_message_are_no_news_until_somebody_has_changed_something() -> None:
    old = (not_ready(1, "Moving", "there are 7 tasks"),)
    assert changed_conditions(old, [not_ready(1, "Moving", "there are 6 tasks")]) == []
    edited = not_ready(2, "Moving", "there are 6 tasks elsewhere")
    assert changed_conditions(old, [edited]) == [(old[0], edited)]


def test_news_is_what_changed_in_status_or_reason() -> None:
    old = (ready(1, "fine"),)
    assert changed_conditions(old, [ready(2, "fine")]) == []
    assert changed_conditions(old, [not_ready(2, "InvalidSpec", "x")]) == [(old[0], not_ready(2, "InvalidSpec", "x"))]


@pytest.mark.parametrize(
    ("readiness", "reconciling", "stalled"),
    [
        (ready(1, "fine"), "False", "False"),
        (ready(1, "fine", paused=True), "False", "False"),
        (not_ready(1, "InvalidSpec", "spec.retry: wrong"), "False", "True"),
        (not_ready(1, "ImmutableField", "spec.storage"), "False", "True"),
        (not_ready(1, "QueueNotFound", "may come with the next object"), "True", "False"),
        (not_ready(1, "NatsUnavailable", "away"), "True", "False"),
    ],
)
def test_who_rolls_out_is_told_what_goes_on_and_what_nobody_need_wait_for(
    readiness: Condition, reconciling: str, stalled: str
) -> None:
    conditions = progress(readiness)
    assert [(each.type, each.status) for each in conditions] == [("Reconciling", reconciling), ("Stalled", stalled)]
    for each in conditions:
        assert (each.reason, each.observed_generation) == (readiness.reason, 1)
        assert each.message == (readiness.message if each.status == "True" else "")


def test_what_is_paused_is_ready_and_says_so() -> None:
    condition = ready(1, "the streams are as specified", paused=True)
    assert (condition.status, condition.reason) == ("True", "Paused")
    assert condition.message == "the streams are as specified; paused: nothing is delivered"

from dataclasses import replace
from datetime import timedelta

import pytest

from protoqueue_operator.api.v1alpha1.errors import ForeignAsset, ImmutableField
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import Consumer, Owner, Stream
from protoqueue_operator.jetstream.desired import queue_streams
from protoqueue_operator.jetstream.diff import (
    CreateConsumer,
    CreateStream,
    DeleteConsumer,
    PauseConsumer,
    UpdateConsumer,
    UpdateStream,
    plan_consumers,
    plan_group_removal,
    plan_stream,
)
from unit.operator.samples import queue

MAILERS = Owner("ConsumerGroup", "default", "mailers", "1")


def stream() -> Stream:
    made = queue()
    assert isinstance(made.spec, QueueSpec)
    return queue_streams(made, made.spec)[-1]


def consumer(name: str = "mailers_p0", owner: Owner | None = MAILERS) -> Consumer:
    return Consumer("PQ_default_email", name, owner, ("pq.default.email.task.0",), timedelta(seconds=30), 1000)


def test_equal_states_plan_nothing() -> None:
    assert plan_stream(stream(), stream()) == []
    assert plan_consumers([consumer()], [consumer()], MAILERS, []) == []


def test_what_is_missing_is_created_and_what_differs_is_updated() -> None:
    assert plan_stream(stream(), None) == [CreateStream(stream())]
    assert plan_stream(stream(), replace(stream(), max_msgs=3)) == [UpdateStream(stream())]


@pytest.mark.parametrize(
    ("change", "field"), [({"storage": "memory"}, "spec.storage"), ({"retention": "interest"}, "spec.delivery")]
)
def test_what_jetstream_cannot_change_is_refused_with_the_way_out(change: dict[str, str], field: str) -> None:
    with pytest.raises(ImmutableField, match=f"{field}: .*another name"):
        plan_stream(stream(), replace(stream(), **change))  # type: ignore[arg-type]


def test_a_stream_of_a_queue_that_was_made_anew_is_taken_over() -> None:
    before = replace(stream(), owner=Owner("Queue", "default", "email", "an earlier uid"))
    assert plan_stream(stream(), before) == [UpdateStream(stream())]


@pytest.mark.parametrize(
    "owner", [None, Owner("Queue", "other", "email", "1"), Owner("Topic", "default", "email", "1")]
)
def test_a_stream_of_somebody_else_is_left_alone(owner: Owner | None) -> None:
    with pytest.raises(ForeignAsset, match="stream PQ_default_email exists"):
        plan_stream(stream(), replace(stream(), owner=owner))


def test_pausing_is_an_action_of_its_own() -> None:
    paused = replace(consumer(), paused=True)
    assert plan_consumers([paused], [consumer()], MAILERS, []) == [PauseConsumer(paused)]
    assert plan_consumers([consumer()], [paused], MAILERS, []) == [PauseConsumer(consumer())]


def test_a_live_change_is_an_update_that_leaves_the_start_alone() -> None:
    longer = replace(consumer(), ack_wait=timedelta(seconds=60), deliver_policy="new")
    assert plan_consumers([longer], [consumer()], MAILERS, []) == [UpdateConsumer(longer)]


def test_what_a_vanished_group_left_is_cleared_before_the_new_group_begins() -> None:
    left = consumer("printers_p0", replace(MAILERS, name="printers"))
    assert plan_consumers([consumer()], [left], MAILERS, []) == [
        DeleteConsumer("PQ_default_email", "printers_p0"),
        CreateConsumer(consumer()),
    ]


def test_consumers_of_living_groups_and_of_strangers_stay() -> None:
    other = consumer("printers_p0", replace(MAILERS, name="printers"))
    stranger = consumer("debugging", None)
    living = [Key("ConsumerGroup", "default", "printers")]
    assert plan_consumers([consumer()], [consumer(), other, stranger], MAILERS, living) == []


def test_a_group_takes_only_its_own_consumers_along() -> None:
    other = consumer("printers_p0", replace(MAILERS, name="printers"))
    assert plan_group_removal(MAILERS, [consumer(), other, consumer("debugging", None)]) == [
        DeleteConsumer("PQ_default_email", "mailers_p0")
    ]

"""Which Queue the dead letters of another may go to."""

from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.errors import (
    DeadLetterQueueNotFound,
    DeadLetterQueueNotReady,
    InvalidSpec,
    Refusal,
)
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.queue.dead_letter_rules import check_target, target_of
from unit.operator.samples import queue_body

ACME = {"connectionSecretRef": {"name": "acme"}}


def to(name: str, **spec: Any) -> dict[str, Any]:
    return {"deadLetter": {"queueRef": {"name": name}}, **spec}


def queues(**specs: dict[str, Any]) -> dict[Key, Queue]:
    """By name, with `_` for `-`; `deletionTimestamp` goes into the metadata."""
    parsed = []
    for name, spec in specs.items():
        meta = {key: spec.pop(key) for key in ("deletionTimestamp",) if key in spec}
        parsed.append(parse_queue(queue_body(spec, name=name.replace("_", "-"), **meta)))
    return {queue.meta.key: queue for queue in parsed}


def check(known: dict[Key, Queue], name: str = "email") -> None:
    queue = known[Key("Queue", "default", name)]
    target = target_of(queue)
    assert target
    assert isinstance(queue.spec, QueueSpec)
    check_target(queue, queue.spec, known.get(target), known)


def test_a_queue_names_another_of_its_namespace_or_none() -> None:
    known = queues(email=to("email-dlq"), email_dlq={}, broken={"replicas": "x"})
    by_name = {key.name: target_of(queue) for key, queue in known.items()}
    assert by_name == {"email": Key("Queue", "default", "email-dlq"), "email-dlq": None, "broken": None}
    check(known)


@pytest.mark.parametrize(
    ("known", "kind", "said"),
    [
        ({"email": to("email")}, InvalidSpec, "must name another Queue"),
        ({"email": to("gone")}, DeadLetterQueueNotFound, "there is no Queue gone in namespace default"),
        (
            {"email": to("a"), "a": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
            DeadLetterQueueNotFound,
            "the Queue a is being deleted",
        ),
        ({"email": to("a"), "a": to("email")}, InvalidSpec, "email → a → email"),
        ({"email": to("a"), "a": to("b"), "b": to("email")}, InvalidSpec, "email → a → b → email"),
        ({"email": to("a"), "a": {"delivery": "Broadcast"}}, InvalidSpec, "delivery Broadcast"),
        ({"email": to("a"), "a": {"nats": ACME}}, InvalidSpec, "another NATS connection"),
        ({"email": to("a", nats=ACME), "a": {}}, InvalidSpec, "another NATS connection"),
        ({"email": to("a"), "a": {"replicas": "x"}}, DeadLetterQueueNotReady, "the Queue a is refused"),
    ],
)
def test_what_may_not_be_is_refused_with_the_fields_name(known: dict[str, Any], kind: type[Refusal], said: str) -> None:
    with pytest.raises(kind) as refused:
        check(queues(**known))
    assert str(refused.value).startswith("spec.deadLetter.queueRef.name: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "known",
    [
        {"email": to("a", nats=ACME), "a": {"nats": ACME}},
        {"email": to("a"), "a": to("b"), "b": to("c"), "c": {}},
        {"email": to("a"), "a": to("b"), "b": to("a")},  # theirs is a cycle, and ends at their own dead letters
        {"email": to("a", delivery="Broadcast"), "a": {}},
        {"email": to("a", ordering={}), "a": {"ordering": {}}},
    ],
)
def test_everything_else_may(known: dict[str, Any]) -> None:
    check(queues(**known))

"""What another version's resources and statuses hold is read as far as it is understood."""

from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.errors import InvalidSpec
from protoqueue_operator.api.v1alpha1.objects import parse_group, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.status import noted
from unit.operator.samples import group, group_body, queue, queue_body


def test_a_queue_with_fields_of_a_newer_definition_is_served_without_them() -> None:
    made = queue(
        visibilityTimeout="10s",
        archive={"after": "1d"},
        retry={"maxAttempts": 7, "curve": "linear"},
        schedules=[{"name": "x", "every": "1s", "calendar": "de"}],
    )
    assert isinstance(made.spec, QueueSpec)
    assert made.spec.retry.max_attempts == 7
    assert made.unknown == ("spec.archive", "spec.retry.curve", "spec.schedules[0].calendar")


def test_a_group_with_fields_of_a_newer_definition_is_served_without_them() -> None:
    template = {"spec": {"containers": [{"name": "x", "novelty": 1}]}}
    made = group(worker={"template": template, "pool": "spot"}, autoscale={"maxReplicas": 3, "predict": True})
    assert isinstance(made.spec, ConsumerGroupSpec)
    assert made.unknown == ("spec.autoscale.predict", "spec.worker.pool")
    assert made.spec.worker
    assert made.spec.worker.template
    assert made.spec.worker.template.parsed() == template, "what is in a pod is Kubernetes' to know"


def test_a_condition_says_which_fields_have_no_effect() -> None:
    assert noted("it is as specified", queue().unknown) == "it is as specified"
    assert noted("it is as specified", queue(archive={}).unknown) == (
        "it is as specified, except for fields that this version of the operator does not know and ignores: "
        "spec.archive; upgrade the operator"
    )
    many = noted("it is as specified", queue(**{f"field{number}" + "x" * 900: 1 for number in range(100)}).unknown)
    assert len(many) < 32768
    assert "and 95 more" in many


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"delivery": "Stream"}, "spec.delivery"),
        ({"limits": {"onFull": "Spill"}}, "spec.limits.onFull"),
        ({"schedules": [{"name": "x", "payload": {"an": "object"}, "every": "1s"}]}, "spec.schedules[0].payload"),
    ],
)
def test_a_value_that_is_not_understood_is_refused_rather_than_guessed(spec: dict[str, Any], field: str) -> None:
    made = queue(**spec).spec
    assert isinstance(made, InvalidSpec)
    assert made.field == field


PLACE = {"servers": "nats://a:4222", "account": "ACCOUNT"}
READY = {"type": "Ready", "status": "True", "reason": "Reconciled", "message": ""}


@pytest.mark.parametrize(
    "foreign",
    [
        {"shards": {"count": 3}},
        {"tasks": {"waiting": 1, "parked": 2}},
        {"tasks": "many"},
        {"conditions": [READY, READY | {"type": "Balanced", "status": "Mostly"}]},
        {"nats": PLACE | {"cluster": "east"}},
        {"stream": 7},
    ],
)
def test_a_status_of_another_version_keeps_what_can_be_read(foreign: dict[str, Any]) -> None:
    body = queue_body() | {"status": {"nats": PLACE, "conditions": [READY], **foreign}}
    status = parse_queue(body).status
    assert status.nats
    assert status.nats.account == "ACCOUNT"
    assert status.condition("Ready")


def test_a_status_that_is_nothing_like_one_is_written_anew() -> None:
    assert parse_queue(queue_body() | {"status": "fine"}).status.conditions == ()
    assert parse_group(group_body() | {"status": ["x"]}).status.conditions == ()


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize("depth", [40, 3_000, 9_993])
def test_an_object_nested_too_deeply_to_be_read_is_refused_by_name(depth: int) -> None:
    for place in ({"template": nested(depth)}, {"template": {"spec": nested(depth)}}):
        made = group(worker=place)
        assert isinstance(made.spec, InvalidSpec)
        assert made.spec.field == "spec.worker.template"
        assert made.queue_name == "email"
    assert isinstance(queue(limits=nested(depth)).spec, QueueSpec)
    assert isinstance(queue(schedules=[{"name": "x", "every": "1s", "payload": nested(depth)}]).spec, InvalidSpec)


def test_a_template_larger_than_a_deployment_may_be_is_refused_by_name_and_not_kept() -> None:
    made = group(worker={"template": {"spec": {"containers": [{"name": "x", "args": ["x" * 300_000]}]}}})
    assert isinstance(made.spec, InvalidSpec)
    assert str(made.spec).startswith("spec.worker.template: is 3000")
    assert "262144 are allowed" in str(made.spec)
    assert len(repr(made)) < 3000

from typing import Any

import pytest

from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import InvalidSpec, NotSupportedYet
from protoqueue_operator.core.validation import check_group, check_queue, refuse_unsupported
from unit.operator.samples import group, queue


def test_a_feature_still_to_come_is_refused_by_name_where_it_is_asked_for() -> None:
    features = (("spec.paused", lambda spec: spec.paused),)
    refuse_unsupported(features, QueueSpec())
    with pytest.raises(NotSupportedYet, match=r"^spec\.paused: "):
        refuse_unsupported(features, QueueSpec(paused=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"visibilityTimeout": "10ms"}, "spec.visibilityTimeout: must be at least 100ms"),
        ({"limits": {"maxAge": "0s"}}, "spec.limits.maxAge: must be at least 100ms"),
        ({"limits": {"maxBytes": 0}}, "spec.limits.maxBytes: must be at least one byte"),
        ({"limits": {"maxTaskSize": "4Gi"}}, "spec.limits.maxTaskSize: .*at most 2147483647"),
        ({"schedules": [{"name": "often", "every": "10ms"}]}, r"spec.schedules\[often\].every: must be at least 1s"),
    ],
)
def test_what_the_schema_lets_pass_is_refused_by_name(spec: dict[str, Any], message: str) -> None:
    made = queue(**spec).spec
    assert isinstance(made, QueueSpec)
    with pytest.raises(InvalidSpec, match=message):
        check_queue(made)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"visibilityTimeout": "soon"}, "spec.visibilityTimeout"),
        ({"limits": {"maxBytes": "much"}}, "spec.limits.maxBytes"),
        ({"retry": {"maxAttempts": 0}}, "spec.retry.maxAttempts"),
        ({"surprise": 1}, "spec.surprise"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_field(spec: dict[str, Any], field: str) -> None:
    made = queue(**spec).spec
    assert isinstance(made, InvalidSpec)
    assert made.field == field


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"worker": {"template": {}}}, "spec.worker.template.spec.containers: a pod needs at least one container"),
        ({"worker": {"template": {"spec": {"containers": []}}}}, "a pod needs at least one container"),
        ({"worker": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, r"containers\[0\].name"),
        ({"priorityWeights": [1, 2]}, "spec.priorityWeights: has 2 weights, but the queue has 3 priority levels"),
        ({"visibilityTimeout": "1ms"}, "spec.visibilityTimeout: must be at least 100ms"),
    ],
)
def test_a_group_that_cannot_work_is_refused_by_name(spec: dict[str, Any], message: str) -> None:
    made = group(**spec).spec
    assert isinstance(made, ConsumerGroupSpec)
    with pytest.raises(InvalidSpec, match=message):
        check_group(made, QueueSpec())

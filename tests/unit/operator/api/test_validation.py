import json
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.errors import InvalidSpec, QuotaExceeded
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.validation import check_group, check_queue, check_reservation
from unit.operator.samples import group, queue, queue_body


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"visibilityTimeout": "10ms"}, "spec.visibilityTimeout: must be at least 100ms"),
        ({"limits": {"maxAge": "0s"}}, "spec.limits.maxAge: must be at least 100ms"),
        ({"limits": {"maxBytes": 0}}, "spec.limits.maxBytes: must be at least one byte"),
        ({"limits": {"maxTaskSize": "4Gi"}}, "spec.limits.maxTaskSize: .*at most 2147483647"),
        ({"schedules": [{"name": "often", "every": "10ms"}]}, r"spec.schedules\[often\].every: must be at least 1s"),
        ({"schedules": [{"name": "x", "every": "1m", "expires": "0s"}]}, r"\[x\].expires: must be at least 1s"),
        ({"schedules": [{"name": "x", "every": "1m", "jitter": "10ms"}]}, r"\[x\].jitter: must be at least 1s"),
        ({"schedules": [{"name": "x", "every": "1m", "jitter": "60s"}]}, r"\[x\].jitter: must be less than every, 1m"),
        (
            {"schedules": [{"name": "x", "cron": "@daily", "jitter": "2h", "expires": "1h"}]},
            r"\[x\].jitter: must be less than expires, 1h",
        ),
        ({"schedules": [{"name": "x", "cron": "0 25 * * *"}]}, r"\[x\].cron: hour '25' is not valid: from 0 to 23"),
        (
            {"schedules": [{"name": "x", "cron": "0 3 * * *", "timeZone": "UTC\r\nNats-TTL: 1s"}]},
            r"\[x\].timeZone: must be one line",
        ),
        (
            {
                "schedules": [{"name": "x", "every": "1s", "payload": json.dumps("x" * 2000)}],
                "limits": {"maxTaskSize": "2Ki"},
            },
            r"spec.schedules\[x\].payload: comes to 2514 bytes as a task, and 2048 are allowed",
        ),
        ({"schedules": [{"name": "x", "every": "1s", "payload": "{"}]}, r"\[x\].payload: is not valid JSON"),
        ({"schedules": [{"name": "x", "every": "1s", "payload": "NaN"}]}, r"\[x\].payload: is not valid JSON"),
        (
            {"schedules": [{"name": "x", "every": "1s", "payload": "[" * 30_000 + "]" * 30_000}]},
            r"\[x\].payload: is nested in more than 64 levels",
        ),
        (
            {"schedules": [{"name": "x", "every": "1s", "payload": "[" * 65 + "]" * 65}]},
            r"\[x\].payload: is nested in more than 64 levels",
        ),
        ({"rateLimit": {"tasks": 1, "per": "0s"}}, "spec.rateLimit.per: must be at least 1ms"),
        ({"rateLimit": {"tasks": 1, "burst": 2**63}}, "spec.rateLimit.burst: must be at most 9223372036854775807"),
        ({"limits": {"maxTasks": 2**63}}, "spec.limits.maxTasks: must be at most"),
        ({"retry": {"maxDelay": "40000d"}}, "spec.retry.maxDelay: must be at most 36500d"),
        ({"visibilityTimeout": "40000d"}, "spec.visibilityTimeout: must be at most 36500d"),
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
        (
            {"nats": {"connectionSecretRef": {"name": "../../theirs/secrets/account"}}},
            "spec.nats.connectionSecretRef.name",
        ),
        ({"schedules": [{"name": "a.b", "every": "1s"}]}, "spec.schedules[0].name"),
        ({"schedules": [{"name": "x", "cron": "0 0 3 * * *\r\nNats-TTL: 1s"}]}, "spec.schedules[0].cron"),
        ({"schedules": [{"name": "x", "cron": "0 0 L * *"}]}, "spec.schedules[0].cron"),
        ({"schedules": [{"name": "x", "cron": "@daily", "overlap": "Forbid"}]}, "spec.schedules[0].overlap"),
        ({"delivery": "Broadcast", "schedules": [{"name": "x", "every": "1s", "overlap": "Skip"}]}, "spec"),
        ({"ordering": {}, "schedules": [{"name": "x", "every": "1s", "overlap": "Skip"}]}, "spec"),
        ({"ordering": {}, "schedules": [{"name": "x", "every": "1m", "jitter": "1s"}]}, "spec"),
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
        ({"rateLimit": {"tasks": 1, "per": "0.5ms"}}, "spec.rateLimit.per: must be at least 1ms"),
        ({"replicas": 2**31}, "spec.replicas: must be at most 2147483647"),
        ({"autoscale": {"target": {"drainTime": "0s"}}}, "spec.autoscale.target.drainTime: must be at least 100ms"),
        ({"autoscale": {"target": {"maxWait": "1ms"}}}, "spec.autoscale.target.maxWait: must be at least 100ms"),
        (
            {"autoscale": {"scaleUpLimit": {"workers": 1, "per": "10ms"}}},
            "spec.autoscale.scaleUpLimit.per: must be at least 1s",
        ),
        (
            {"autoscale": {"scaleUpLimit": {"workers": 2**31}}},
            "spec.autoscale.scaleUpLimit.workers: must be at most 2147483647",
        ),
        ({"autoscale": {"activationTasks": 2**63}}, "spec.autoscale.activationTasks: must be at most"),
        ({"worker": {"template": {"metadata": "x"}}}, "spec.worker.template.metadata: must be an object"),
        ({"worker": {"template": {"spec": []}}}, "spec.worker.template.spec: must be an object"),
        (
            {"worker": {"template": {"metadata": {"annotations": "x"}}}},
            "spec.worker.template.metadata.annotations: must be an object",
        ),
        (
            {"worker": {"template": {"spec": {"containers": [{"name": "x", "env": [{"name": {}}]}]}}}},
            r"containers\[0\].env: must be a list of objects that have a name",
        ),
        (
            {"worker": {"template": {"spec": {"containers": [{"name": "x", "env": ["A=b"]}]}}}},
            r"containers\[0\].env: must be a list of objects",
        ),
    ],
)
def test_a_group_that_cannot_work_is_refused_by_name(spec: dict[str, Any], message: str) -> None:
    made = group(**spec).spec
    assert isinstance(made, ConsumerGroupSpec)
    with pytest.raises(InvalidSpec, match=message):
        check_group(made, QueueSpec())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"queueRef": {"name": "email\r\nPUB theirs 0"}}, "spec.queueRef.name"),
        ({"queueRef": {"name": "a.b"}}, "spec.queueRef.name"),
        ({"worker": {"scaleTargetRef": {"name": "../../theirs/deployments/x"}}}, "spec.worker.scaleTargetRef.name"),
        (
            {"worker": {"scaleTargetRef": {"name": "x", "apiVersion": "apps/v1/../v1"}}},
            "spec.worker.scaleTargetRef.apiVersion",
        ),
    ],
)
def test_a_name_cannot_lead_out_of_the_namespace(spec: dict[str, Any], field: str) -> None:
    made = group(**spec)
    assert isinstance(made.spec, InvalidSpec)
    assert made.spec.field == field
    assert made.queue_name in ("email", ""), "whatever goes into a subject is one token"


def reserving(name: str, created: str, size: int | None, **spec: Any) -> Queue:
    limits = {"limits": {"maxBytes": size}} if size is not None else {}
    return parse_queue(queue_body({**limits, **spec}, name=name, creationTimestamp=created))


def test_the_queues_of_a_namespace_reserve_no_more_together_than_the_operator_allows() -> None:
    old = reserving("old", "2026-01-01T00:00:00Z", 600)
    new = reserving("new", "2026-01-02T00:00:00Z", 300, replicas=3)
    recorded = reserving("recorded", "2026-01-03T00:00:00Z", 100, replicas=3, history={"maxBytes": 200})
    elsewhere = reserving("elsewhere", "2026-01-01T00:00:00Z", 9000, nats={"connectionSecretRef": {"name": "own"}})
    every = [old, new, elsewhere]
    check_reservation(old, every, 1000)
    check_reservation(new, every, None)
    check_reservation(new, every, 1500)
    with pytest.raises(QuotaExceeded, match=r"maxBytes: reserves 900 bytes .* reserve 600, .* allows 1499"):
        check_reservation(new, every, 1499)
    with pytest.raises(QuotaExceeded, match=r"reserves 900 bytes .* reserve 1500"):
        check_reservation(recorded, every, 2399)
    check_reservation(recorded, every, 2400)
    with pytest.raises(InvalidSpec, match=r"maxBytes: must be stated"):
        check_reservation(reserving("open", "2026-01-03T00:00:00Z", None), every, 10_000)

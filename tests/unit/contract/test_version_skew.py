"""An SDK and an operator of different versions: what one writes to `pq-config`, the other reads."""

import json

import pytest

from protoqueue.protocol.config import parse_group, parse_queue
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.desired import group_consumers
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.jetstream.runtime_config import encode, group_config, queue_config
from unit.operator.samples import group, queue


def written_queue() -> bytes:
    made = queue(rateLimit={"tasks": 5})
    assert isinstance(made.spec, QueueSpec)
    return encode(queue_config(made, made.spec, initial_layout(made.name, made.spec)))


def written_group() -> bytes:
    made = group(exactlyOnce=True)
    assert isinstance(made.spec, ConsumerGroupSpec)
    spec = effective_spec(made.spec, QueueSpec())
    consumers = group_consumers(made, spec, QueueSpec(), initial_layout(made.name.queue, QueueSpec()))
    return encode(group_config(made, spec, QueueSpec(), consumers))


@pytest.mark.parametrize(
    "newer", [{"lottery": {"lanes": 64}}, {"retry": {"curve": "linear"}, "lineage": [1, {"a": None}]}]
)
def test_an_older_sdk_ignores_what_a_newer_operator_says_besides(newer: dict[str, object]) -> None:
    for written, parse in ((written_queue(), parse_queue), (written_group(), parse_group)):
        more = json.dumps({**newer, **json.loads(written)}).encode()
        assert parse(more) == parse(written)


def test_a_newer_sdk_takes_defaults_for_what_an_older_operator_does_not_say() -> None:
    queue_settings = parse_queue(b'{"namespace": "default", "name": "email", "stream": "PQ_default_email"}')
    assert queue_settings.deduplication_window_s > 0
    assert not queue_settings.paused
    group_settings = parse_group(b'{"namespace": "default", "queue": "email", "name": "mailers"}')
    assert group_settings.visibility_s > 0
    assert group_settings.retry.max_attempts > 1
    assert not group_settings.exactly_once

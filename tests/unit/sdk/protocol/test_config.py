import pytest
from google.protobuf import json_format

from protoqueue import ConfigurationError
from protoqueue.protocol.config import Consumer, RateLimit, RetryPolicy, parse_group, parse_queue
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2


def test_a_group_is_read_with_everything_in_seconds() -> None:
    config = config_pb2.GroupConfig(
        namespace="default", queue="email", name="mailers", priority_policy="Strict", exactly_once=True
    )
    config.consumers.add(name="mailers_p1", level=1, weight=2)
    config.visibility_timeout.FromMilliseconds(1500)
    config.retry.max_attempts, config.retry.multiplier, config.retry.jitter = 4, 3, 0.5
    config.retry.initial_delay.FromSeconds(1)
    config.retry.max_delay.FromSeconds(60)
    config.rate_limit.tasks, config.rate_limit.burst, config.rate_limit.scope = 10, 20, "Worker"
    config.rate_limit.per.FromSeconds(2)
    group = parse_group(json_format.MessageToJson(config).encode())
    assert group.name == GroupName(QueueName("default", "email"), "mailers")
    assert group.consumers == (Consumer("mailers_p1", 1, 0, 2),)
    assert (group.strict, group.exactly_once, group.paused) == (True, True, False)
    assert group.visibility_s == 1.5
    assert group.retry == RetryPolicy(4, 1, 3, 60, 0.5)
    assert group.rate_limit == RateLimit(10, 2, 20, "Worker")


def test_fields_of_a_later_version_are_ignored() -> None:
    queue = parse_queue(b'{"namespace": "default", "name": "email", "priorityLevels": 5, "fromTheFuture": {"a": 1}}')
    assert queue.priority_levels == 5
    assert queue.stream == "PQ_default_email"
    assert queue.later_stream == "PQ_default_email_LATER"
    assert queue.rate_limit is None


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"name": 3}'])
def test_what_is_no_configuration_is_a_clear_error(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="QueueConfig"):
        parse_queue(data)

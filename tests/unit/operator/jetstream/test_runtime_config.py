from protoqueue.protocol.v1 import config_pb2 as pb
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.desired import group_consumers
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.jetstream.runtime_config import decode, encode, group_config, queue_config
from unit.operator.samples import group, queue


def configured(queue_spec: dict[str, object], **spec: object) -> pb.GroupConfig:
    made, of = group(**spec), queue(**queue_spec)
    assert isinstance(made.spec, ConsumerGroupSpec)
    assert isinstance(of.spec, QueueSpec)
    layout = initial_layout(of.name, of.spec)
    spec = effective_spec(made.spec, of.spec)
    return group_config(made, spec, of.spec, group_consumers(made, spec, of.spec, layout))


def test_a_client_learns_every_name_of_the_queue() -> None:
    made = queue(rateLimit={"tasks": 5}, limits={"maxTaskSize": "1Ki"}, retry={"initialDelay": "250ms"})
    assert isinstance(made.spec, QueueSpec)
    config = queue_config(made, made.spec, initial_layout(made.name, made.spec))
    assert (config.namespace, config.name, config.generation) == ("default", "email", 1)
    assert (config.stream, config.later_stream) == ("PQ_default_email", "PQ_default_email")
    assert config.dead_letter_stream == "PQ_default_email_DLQ"
    assert (config.priority_levels, config.ordering_partitions, config.max_task_size) == (3, 0, 1024)
    assert config.retry.initial_delay.ToMilliseconds() == 250
    assert (config.rate_limit.tasks, config.rate_limit.burst, config.rate_limit.scope) == (5, 5, "Queue")


def test_a_client_learns_for_how_long_ids_are_remembered_which_is_no_longer_than_tasks_are_kept() -> None:
    for limits, window_s in (({}, 300), ({"maxAge": "1m"}, 60)):
        made = queue(deduplicationWindow="5m", limits=limits)
        assert isinstance(made.spec, QueueSpec)
        assert (
            queue_config(made, made.spec, initial_layout(made.name, made.spec)).deduplication_window.ToSeconds()
            == window_s
        )


def test_a_client_learns_what_is_to_be_recorded() -> None:
    made = queue(history={"payloads": True})
    assert isinstance(made.spec, QueueSpec)
    history = queue_config(made, made.spec, initial_layout(made.name, made.spec)).history
    assert (history.stream, history.results, history.payloads) == ("PQ_default_email_HISTORY", True, True)
    made = queue()
    assert isinstance(made.spec, QueueSpec)
    assert not queue_config(made, made.spec, initial_layout(made.name, made.spec)).HasField("history")


def test_absent_limits_stay_absent() -> None:
    made = queue()
    assert isinstance(made.spec, QueueSpec)
    assert not queue_config(made, made.spec, initial_layout(made.name, made.spec)).HasField("rate_limit")
    assert not configured({}).HasField("rate_limit")


def test_levels_come_highest_first_and_weigh_twice_the_one_below() -> None:
    config = configured({"priorityLevels": 3})
    assert [(each.name, each.level, each.weight) for each in config.consumers] == [
        ("mailers_p2", 2, 4),
        ("mailers_p1", 1, 2),
        ("mailers_p0", 0, 1),
    ]
    assert [each.weight for each in configured({"priorityLevels": 2}, priorityWeights=[3, 5]).consumers] == [5, 3]


def test_partitions_are_listed_for_an_ordered_queue() -> None:
    config = configured({"ordering": {"partitions": 2}})
    assert [(each.name, each.partition) for each in config.consumers] == [("mailers_o0", 0), ("mailers_o1", 1)]


def test_the_queues_settings_are_merged_into_the_groups() -> None:
    of_queue = {"retry": {"maxAttempts": 7}, "visibilityTimeout": "9s", "paused": True}
    inherited = configured(of_queue)
    assert (inherited.retry.max_attempts, inherited.visibility_timeout.seconds, inherited.paused) == (7, 9, True)
    own = configured(
        of_queue, retry={"maxAttempts": 2}, visibilityTimeout="1s", rateLimit={"tasks": 3, "scope": "Worker"}
    )
    assert (own.retry.max_attempts, own.visibility_timeout.seconds, own.rate_limit.scope) == (2, 1, "Worker")


def test_of_retry_a_group_overrides_only_what_it_states() -> None:
    of_queue = {"maxAttempts": 7, "initialDelay": "3s", "multiplier": 4, "maxDelay": "30s", "jitter": 0}
    inherited = configured({"retry": of_queue}).retry
    for field, stated in {
        "maxAttempts": 2,
        "initialDelay": "0s",
        "multiplier": 1,
        "maxDelay": "1h",
        "jitter": 0.5,
        "maxCrashes": 2,
        "rolloutGrace": "0s",
    }.items():
        effective = configured({"retry": of_queue}, retry={field: stated}).retry
        assert effective == configured({"retry": of_queue | {field: stated}}).retry != inherited
    assert configured({"retry": of_queue}, retry={}).retry == inherited


def test_an_entry_reads_back_and_one_edited_by_hand_reads_as_nothing() -> None:
    config = configured({})
    assert decode(pb.GroupConfig, encode(config)) == config
    assert decode(pb.GroupConfig, b"{ by hand") is None
    assert decode(pb.GroupConfig, b'{"unknown": 1}') is None

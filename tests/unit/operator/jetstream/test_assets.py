from dataclasses import replace
from datetime import timedelta

import pytest

import provisioning
from protoqueue_operator.core.assets import Consumer, Owner, Stream
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.layout import group_consumers, queue_streams, scheduled_counter
from protoqueue_operator.core.queue import QueueSpec
from unit.operator.samples import group, queue


def streams(**spec: object) -> dict[str, Stream]:
    made = queue(**spec)
    assert isinstance(made.spec, QueueSpec)
    return {stream.name: stream for stream in queue_streams(made, made.spec)}


def consumers(queue_spec: dict[str, object] | None = None, **spec: object) -> tuple[Consumer, ...]:
    made, of = group(**spec), queue(**(queue_spec or {}))
    assert isinstance(made.spec, ConsumerGroupSpec)
    assert isinstance(of.spec, QueueSpec)
    return group_consumers(made, made.spec, of.spec)


def test_what_is_sourced_is_made_before_what_sources_it() -> None:
    assert list(streams()) == ["PQ_default_email_LATER", "PQ_default_email_DLQ", "PQ_default_email"]


def test_the_queue_takes_over_what_comes_due() -> None:
    config = streams()["PQ_default_email"].config()
    assert config["sources"] == [
        {
            "name": "PQ_default_email_LATER",
            "subject_transforms": [{"src": "pq.default.email.due.>", "dest": "pq.default.email.>"}],
        }
    ]
    assert config["retention"] == "workqueue"
    assert config["discard"] == "new"
    assert (config["allow_msg_ttl"], config["allow_atomic"], config["allow_msg_schedules"]) == (True, True, False)


def test_batches_may_hold_delayed_tasks() -> None:
    assert streams()["PQ_default_email_LATER"].config()["allow_atomic"]


@pytest.mark.parametrize(
    ("spec", "by_hand"),
    [
        ({}, provisioning.QueueSpec("email")),
        ({"delivery": "Broadcast"}, provisioning.QueueSpec("email", broadcast=True)),
        ({"ordering": {"partitions": 4}}, provisioning.QueueSpec("email", partitions=4)),
    ],
)
def test_the_tests_without_an_operator_have_what_it_makes(
    spec: dict[str, object], by_hand: provisioning.QueueSpec
) -> None:
    made = {config["name"]: Stream.observed(config) for config in provisioning.stream_configs(by_hand)}
    assert made == {name: replace(stream, owner=None) for name, stream in streams(**spec).items()}

    by_operator = {consumer.name: consumer for consumer in consumers(spec)}
    configs = provisioning.consumer_configs(by_hand, provisioning.GroupSpec())
    assert {config["durable_name"] for config in configs} == set(by_operator)
    for config in configs:
        name = config["durable_name"]
        observed = Consumer.observed({"stream_name": by_hand.queue.stream, "name": name, "config": config})
        assert observed.same_configuration(replace(by_operator[name], owner=None))


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        ({"delivery": "Broadcast"}, "retention", "interest"),
        ({"storage": "Memory"}, "storage", "memory"),
        ({"replicas": 3}, "num_replicas", 3),
        ({"limits": {"maxTasks": 7}}, "max_msgs", 7),
        ({"limits": {"maxBytes": "1Ki"}}, "max_bytes", 1024),
        ({"limits": {"maxTaskSize": "1Mi"}}, "max_msg_size", (1 << 20) + 4096),
        ({"limits": {"maxAge": "1d"}}, "max_age", 86_400 * 10**9),
        ({"limits": {"onFull": "DropOldest"}}, "discard", "old"),
        ({"deduplicationWindow": "5m"}, "duplicate_window", 300 * 10**9),
        ({"deduplicationWindow": "5m", "limits": {"maxAge": "1m"}}, "duplicate_window", 60 * 10**9),
    ],
)
def test_each_field_of_the_spec_reaches_the_stream(spec: dict[str, object], field: str, value: object) -> None:
    assert streams(**spec)["PQ_default_email"].config()[field] == value


def test_what_is_not_yet_due_has_no_limits_since_a_full_queue_only_makes_it_wait() -> None:
    config = streams(limits={"maxTasks": 7, "maxAge": "1m"})["PQ_default_email_LATER"].config()
    assert (config["max_msgs"], config["max_age"], config["allow_msg_schedules"]) == (-1, 0, True)


def test_what_is_not_yet_due_fits_into_the_queue_with_headers_to_spare() -> None:
    made = streams(limits={"maxTaskSize": "2Ki"})
    sizes = [made[name].config()["max_msg_size"] for name in ("PQ_default_email_LATER", "PQ_default_email")]
    assert sizes == [2048 + 2048, 2048 + 4096]


def test_dead_letters_keep_their_own_limits_and_go_when_switched_off() -> None:
    config = streams(deadLetter={"maxAge": "2d", "maxTasks": 5})["PQ_default_email_DLQ"].config()
    assert (config["retention"], config["max_age"], config["max_msgs"]) == ("limits", 2 * 86_400 * 10**9, 5)
    assert "PQ_default_email_DLQ" not in streams(deadLetter={"enabled": False})


def test_a_stream_reads_back_as_it_was_written_whatever_the_server_adds() -> None:
    for stream in streams(limits={"maxTasks": 7, "maxBytes": "1Mi"}, deduplicationWindow="90s").values():
        config = stream.config()
        config |= {"compression": "none", "max_consumers": -1, "consumer_limits": {}}
        config["metadata"] |= {"_nats.level": "5"}
        assert Stream.observed(config) == stream


def test_a_level_gets_new_tasks_and_what_any_group_has_to_try_again() -> None:
    assert [(each.name, each.filter_subjects) for each in consumers({"priorityLevels": 2})] == [
        ("mailers_p0", ("pq.default.email.task.0", "pq.default.email.retry.*.0")),
        ("mailers_p1", ("pq.default.email.task.1", "pq.default.email.retry.*.1")),
    ]


def test_in_broadcast_a_group_gets_only_its_own_retries_and_starts_where_it_says() -> None:
    broadcast = {"delivery": "Broadcast", "priorityLevels": 1}
    (consumer,) = consumers(broadcast)
    assert consumer.filter_subjects == ("pq.default.email.task.0", "pq.default.email.retry.mailers.0")
    assert consumer.deliver_policy == "new"
    assert consumers(broadcast, startFrom="All")[0].deliver_policy == "all"
    assert consumers(startFrom="New")[0].deliver_policy == "all"


def test_an_ordered_queue_has_one_task_in_flight_per_partition() -> None:
    made = consumers({"ordering": {"partitions": 2}}, maxInFlight=50)
    assert [(each.name, each.filter_subjects, each.max_ack_pending) for each in made] == [
        ("mailers_o0", ("pq.default.email.ordered.0", "pq.default.email.retry.*.0"), 1),
        ("mailers_o1", ("pq.default.email.ordered.1", "pq.default.email.retry.*.1"), 1),
    ]


def test_the_group_overrides_the_queue_and_either_can_pause() -> None:
    assert consumers({"visibilityTimeout": "5s"})[0].ack_wait == timedelta(seconds=5)
    assert consumers({"visibilityTimeout": "5s"}, visibilityTimeout="7s")[0].ack_wait == timedelta(seconds=7)
    assert [
        consumers({"paused": of_queue}, paused=of_group)[0].paused
        for of_queue, of_group in [(False, False), (True, False), (False, True)]
    ] == [False, True, True]


def test_a_consumer_reads_back_as_it_was_written() -> None:
    for consumer in (*consumers(), scheduled_counter(queue())):
        info = {"stream_name": consumer.stream, "name": consumer.name, "config": consumer.config(), "paused": False}
        observed = Consumer.observed(info)
        assert observed == consumer
        assert consumer.same_configuration(replace(observed, deliver_policy="new", paused=True))
        assert not consumer.same_configuration(replace(observed, max_ack_pending=1))


def test_the_owner_is_written_as_the_contract_says() -> None:
    assert str(Owner.of(queue().meta)) == "Queue/default/email/uid-of-email"
    assert Owner.parse("Queue/default/email/x") == Owner("Queue", "default", "email", "x")
    assert Owner.parse("rubbish") is None
    assert Owner.parse(None) is None

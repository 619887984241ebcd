from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import provisioning
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import PAUSED_UNTIL, Consumer, Owner, Stream
from protoqueue_operator.jetstream.desired import group_consumers, queue_streams, standing_consumers
from protoqueue_operator.jetstream.layout import initial_layout
from unit.operator.samples import group, queue


def streams(**spec: object) -> dict[str, Stream]:
    made = queue(**spec)
    assert isinstance(made.spec, QueueSpec)
    return {stream.name: stream for stream in queue_streams(made, made.spec)}


def consumers(queue_spec: dict[str, object] | None = None, **spec: object) -> tuple[Consumer, ...]:
    made, of = group(**spec), queue(**(queue_spec or {}))
    assert isinstance(made.spec, ConsumerGroupSpec)
    assert isinstance(of.spec, QueueSpec)
    return group_consumers(made, effective_spec(made.spec, of.spec), of.spec, initial_layout(of.name, of.spec))


ORDERED: dict[str, object] = {"ordering": {"partitions": 4}}
LIMITED: dict[str, object] = {"limits": {"maxTasks": 7}}


def test_what_is_sourced_is_made_before_what_sources_it() -> None:
    assert list(streams(**ORDERED)) == ["PQ_default_email_LATER", "PQ_default_email_DLQ", "PQ_default_email"]


def test_an_ordered_queue_takes_over_what_comes_due() -> None:
    config = streams(**ORDERED)["PQ_default_email"].config()
    assert config["sources"] == [
        {
            "name": "PQ_default_email_LATER",
            "subject_transforms": [{"src": "pq.default.email.due.>", "dest": "pq.default.email.>"}],
        }
    ]
    assert config["retention"] == "workqueue"
    assert config["discard"] == "new"
    assert (config["allow_msg_ttl"], config["allow_atomic"], config["allow_msg_schedules"]) == (True, True, False)


def test_no_stream_of_another_queue_sources_one() -> None:
    for spec in ({}, {"limits": {"maxTasks": 1}}, {"delivery": "Broadcast"}, {"delivery": "Broadcast", **LIMITED}):
        assert not any(stream.config()["sources"] for stream in streams(**spec).values())


def test_one_stream_holds_all_tasks_unless_the_queue_has_limits() -> None:
    assert list(streams()) == ["PQ_default_email_DLQ", "PQ_default_email"]
    made = streams(**LIMITED, priorityLevels=1)
    assert list(made) == ["PQ_default_email_DLQ", "PQ_default_email", "PQ_default_email_NEW"]
    new = {"pq.default.email.task.0", "pq.default.email.retry.*.0", "pq.default.email.redrive.*"}
    assert set(made["PQ_default_email_NEW"].subjects) == new
    assert not new & set(made["PQ_default_email"].subjects)
    assert new < set(streams(priorityLevels=1)["PQ_default_email"].subjects)


def test_batches_may_hold_delayed_tasks() -> None:
    assert streams()["PQ_default_email"].config()["allow_atomic"]
    assert streams(**ORDERED)["PQ_default_email_LATER"].config()["allow_atomic"]


@pytest.mark.parametrize(
    ("spec", "by_hand"),
    [
        ({}, provisioning.QueueSpec("email")),
        ({"delivery": "Broadcast"}, provisioning.QueueSpec("email", broadcast=True)),
        ({"ordering": {"partitions": 4}}, provisioning.QueueSpec("email", partitions=4)),
        (
            {"limits": {"maxTasks": 7}},
            provisioning.QueueSpec("email", limits={"max_msgs": 7}),
        ),
        ({"history": {}}, provisioning.QueueSpec("email", history={})),
        ({"fairness": {"lanes": 3}}, provisioning.QueueSpec("email", levels=1, lanes=3)),
        ({"fairness": {"lanes": 2}, "priorityLevels": 2}, provisioning.QueueSpec("email", levels=2, lanes=2)),
        ({"ordering": {"partitions": 4}, "history": {}}, provisioning.QueueSpec("email", partitions=4, history={})),
    ],
)
def test_the_tests_without_an_operator_have_what_it_makes(
    spec: dict[str, object], by_hand: provisioning.QueueSpec
) -> None:
    made = {config["name"]: Stream.observed(config) for config in provisioning.stream_configs(by_hand)}
    assert made == {name: replace(stream, owner=None, shape="") for name, stream in streams(**spec).items()}

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
    made = streams(**spec)
    assert made.get("PQ_default_email_NEW", made["PQ_default_email"]).config()[field] == value
    assert streams(**spec, **ORDERED)["PQ_default_email"].config()[field] == value


def test_what_is_due_or_not_yet_due_has_no_limits() -> None:
    for name, spec in (("PQ_default_email", {}), ("PQ_default_email_LATER", ORDERED)):
        config = streams(limits={"maxTasks": 7, "maxAge": "1m"}, **spec)[name].config()
        assert (config["max_msgs"], config["max_age"], config["allow_msg_schedules"]) == (-1, 0, True)


def test_what_is_not_yet_due_fits_into_an_ordered_queue_with_headers_to_spare() -> None:
    made = streams(limits={"maxTaskSize": "2Ki"}, **ORDERED)
    sizes = [made[name].config()["max_msg_size"] for name in ("PQ_default_email_LATER", "PQ_default_email")]
    assert sizes == [2048 + 2048, 2048 + 4096]


def test_dead_letters_keep_their_own_limits_and_go_when_switched_off() -> None:
    config = streams(deadLetter={"maxAge": "2d", "maxTasks": 5})["PQ_default_email_DLQ"].config()
    assert (config["retention"], config["max_age"], config["max_msgs"]) == ("limits", 2 * 86_400 * 10**9, 5)
    assert "PQ_default_email_DLQ" not in streams(deadLetter={"enabled": False})


def test_records_are_kept_as_long_as_the_queue_says_where_it_says_so() -> None:
    assert "PQ_default_email_HISTORY" not in streams()
    stated = {"history": {"maxAge": "2h", "maxTasks": 5, "maxBytes": "3Mi"}, "storage": "Memory", "replicas": 3}
    config = streams(**stated)["PQ_default_email_HISTORY"].config()
    assert config["subjects"] == ["pqhist.default.email.>"]
    assert (config["retention"], config["discard"], config["allow_direct"]) == ("limits", "old", True)
    assert (config["max_age"], config["max_msgs"], config["max_bytes"]) == (2 * 3600 * 10**9, 5, 3 << 20)
    assert (config["storage"], config["num_replicas"]) == ("memory", 3)


def test_records_do_not_fill_the_disk_where_the_queue_says_nothing_of_their_size() -> None:
    assert streams(history={})["PQ_default_email_HISTORY"].config()["max_bytes"] == 64 << 20


def test_a_stream_reads_back_as_it_was_written_whatever_the_server_adds() -> None:
    for stream in streams(limits={"maxTasks": 7, "maxBytes": "1Mi"}, deduplicationWindow="90s").values():
        config = stream.config()
        config |= {"compression": "none", "max_consumers": -1, "consumer_limits": {}}
        config["metadata"] |= {"_nats.level": "5"}
        assert Stream.observed(config) == stream


KINDS = ("task", "retry.*", "due.task", "due.retry.*", "due.unique.*")


def test_a_level_gets_new_tasks_and_what_any_group_has_to_try_again() -> None:
    assert [(each.name, each.filter_subjects) for each in consumers({"priorityLevels": 2})] == [
        (f"mailers_p{level}", tuple(f"pq.default.email.{kind}.{level}" for kind in KINDS)) for level in (0, 1)
    ]


def test_in_a_queue_with_limits_a_level_is_consumed_in_both_streams() -> None:
    made = consumers({"priorityLevels": 1, **LIMITED})
    places = [("PQ_default_email_NEW", "mailers_p0"), ("PQ_default_email", "mailers_p0")]
    assert [each.place for each in made] == places
    assert len({each.filter_subjects for each in made}) == 1, "what is left of other times is worked off too"


@pytest.mark.parametrize("stated", [1, 50])
def test_a_stated_max_in_flight_holds_in_one_stream_to_which_the_others_tasks_are_moved(stated: int) -> None:
    new, due, unique = consumers({"priorityLevels": 1, **LIMITED}, maxInFlight=stated)
    assert (new.stream, new.moved, new.max_ack_pending) == ("PQ_default_email_NEW", False, stated)
    assert (due.stream, due.moved) == ("PQ_default_email", True)
    held = ("pq.default.email.due.unique.*.0",)  # a task that is moved would lose its key
    assert (unique.place, unique.moved, unique.max_ack_pending) == (("PQ_default_email", "mailers_u0"), False, stated)
    assert unique.filter_subjects == held
    assert not set(held) & set(due.filter_subjects)
    assert [each.moved for each in consumers(LIMITED)] == [False] * 6


def test_in_broadcast_a_group_gets_only_its_own_retries_and_starts_where_it_says() -> None:
    broadcast = {"delivery": "Broadcast", "priorityLevels": 1}
    (consumer,) = consumers(broadcast)
    new = ("pq.default.email.task.0", "pq.default.email.retry.mailers.0")
    assert consumer.filter_subjects == (*new, *(each.replace("email.", "email.due.") for each in new))
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
    made = queue(delivery="Broadcast")
    assert isinstance(made.spec, QueueSpec)
    standing = standing_consumers(made, made.spec, initial_layout(made.name, made.spec))
    assert [each.name for each in standing] == ["_scheduled", "_kept"]
    for consumer in (*consumers(), *standing):
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


def test_what_is_paused_for_ever_is_so_until_a_moment_that_a_server_can_count_to() -> None:
    until = datetime.fromisoformat(PAUSED_UNTIL)
    assert datetime(2100, 1, 1, tzinfo=UTC) < until
    assert (until - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000 < 2**63

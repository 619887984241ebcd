import pytest

from protoqueue.errors import InvalidTask
from protoqueue.ids import recurring_id
from protoqueue.naming import GroupName, Header, QueueName, level_of, partition_of

EMAIL = QueueName("default", "email")


def test_the_contract_names_of_a_queue() -> None:
    assert EMAIL.stream == "PQ_default_email"
    assert EMAIL.later_stream == "PQ_default_email_LATER"
    assert EMAIL.dead_letter_stream == "PQ_default_email_DLQ"
    assert EMAIL.stream_subjects == (
        "pq.default.email.task.>",
        "pq.default.email.retry.>",
        "pq.default.email.ordered.>",
    )
    assert EMAIL.later_subjects == ("pq.default.email.scheduled.>", "pq.default.email.cron.>", "pq.default.email.due.>")
    assert EMAIL.due_transform == ("pq.default.email.due.>", "pq.default.email.>")
    assert EMAIL.due(EMAIL.retry("mailers", 2)) == "pq.default.email.due.retry.mailers.2"
    assert GroupName(EMAIL, "mailers").level_consumer(2) == "mailers_p2"


@pytest.mark.parametrize(
    ("priority", "levels", "level"),
    [(1, 3, 0), (4, 3, 0), (5, 3, 1), (0, 3, 1), (8, 3, 2), (10, 3, 2), (10, 10, 9), (1, 10, 0), (7, 1, 0)],
)
def test_a_priority_maps_to_its_level(priority: int, levels: int, level: int) -> None:
    assert level_of(priority, levels) == level


@pytest.mark.parametrize("priority", [-1, 11])
def test_a_priority_out_of_range_is_refused(priority: int) -> None:
    with pytest.raises(InvalidTask, match=r"1 \(lowest\) to 10 \(highest\)"):
        level_of(priority, 3)


@pytest.mark.parametrize(
    "text", ["email", "a/b/c", "default/", "/email", "Default/email", "default/e.mail", "a/*", "a/>"]
)
def test_what_is_no_queue_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="default/email"):
        QueueName.parse(text)


def test_a_partition_is_crc32_as_other_languages_compute_it() -> None:
    assert partition_of("123456789", 1 << 32) == 0xCBF43926  # the check value of CRC-32/ISO-HDLC


@pytest.mark.parametrize("queue", [EMAIL, QueueName("default", "cron"), QueueName("cron", "cron")], ids=str)
def test_a_recurring_task_is_named_after_its_schedule_whatever_its_queue_is_called(queue: QueueName) -> None:
    assert recurring_id({Header.SCHEDULER: queue.cron("nightly")}, 7) == "nightly@7"
    assert recurring_id({Header.SCHEDULER: queue.scheduled("x")}, 7) is None
    assert recurring_id({}, 7) is None

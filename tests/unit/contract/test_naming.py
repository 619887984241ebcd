import hashlib
from collections import Counter

import pytest

from protoqueue.errors import InvalidTask
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.subjects import (
    lanes_of,
    level_of,
    partition_of,
    replace_token_of,
    unique_token,
    unique_token_of,
)
from protoqueue.protocol.task_ids import recurring_id
from protoqueue.testing.streams import matches

EMAIL = QueueName("default", "email")


def test_the_contract_names_of_a_queue() -> None:
    assert EMAIL.stream == "PQ_default_email"
    assert EMAIL.later_stream == "PQ_default_email_LATER"
    assert EMAIL.dead_letter_stream == "PQ_default_email_DLQ"
    stem = "pq.default.email"
    two = (f"{stem}.task.0", f"{stem}.task.1", f"{stem}.retry.*.0", f"{stem}.retry.*.1")
    assert EMAIL.stream_subjects(2) == two
    assert EMAIL.stream_subjects(0, 1) == (f"{stem}.ordered.0", f"{stem}.retry.*.0")
    assert EMAIL.stream_subjects(0, 256) == (f"{stem}.ordered.*", f"{stem}.retry.*.*")
    assert EMAIL.later_subjects(2) == (
        f"{stem}.scheduled.*",
        f"{stem}.scheduled.*.*",
        f"{stem}.cron.*",
        *(each.replace(stem, f"{stem}.due") for each in two),
    )
    assert EMAIL.unique_subjects(2) == (
        f"{stem}.scheduled.unique.*.*", f"{stem}.due.unique.*.0", f"{stem}.due.unique.*.1",
    )  # fmt: skip
    assert EMAIL.due_transform == ("pq.default.email.due.>", "pq.default.email.>")
    assert EMAIL.due(EMAIL.retry("mailers", 2)) == "pq.default.email.due.retry.mailers.2"
    assert GroupName(EMAIL, "mailers").level_consumer(2) == "mailers_p2"


def test_a_unique_key_is_a_token_of_every_subject_its_task_can_lie_on() -> None:
    token = unique_token("invoice-17")  # the first 32 hexadecimal digits of its SHA-256, as other languages compute it
    assert token == hashlib.sha256(b"invoice-17").hexdigest()[:32]
    waiting, scheduled = EMAIL.unique_waiting(token, 2), EMAIL.unique_scheduled(token, "7")
    assert (waiting, scheduled) == (
        f"pq.default.email.due.unique.{token}.2", f"pq.default.email.scheduled.unique.{token}.7",
    )  # fmt: skip
    assert unique_token_of(waiting) == unique_token_of(scheduled) == token
    assert all(matches(EMAIL.unique(token), subject) for subject in (waiting, scheduled))
    others = (EMAIL.task(2), EMAIL.due(EMAIL.retry("unique", 2)), EMAIL.scheduled("unique.7"), EMAIL.cron("unique"))
    assert {unique_token_of(other) for other in others} == {None}


@pytest.mark.parametrize(
    ("priority", "levels", "level"),
    [(1, 3, 0), (4, 3, 0), (5, 3, 1), (0, 3, 1), (8, 3, 2), (10, 3, 2), (10, 10, 9), (1, 10, 0), (7, 1, 0)],
)
def test_a_priority_maps_to_its_level(priority: int, levels: int, level: int) -> None:
    assert level_of(priority, levels) == level


def test_a_fairness_key_has_two_lanes_and_keys_are_spread_over_all() -> None:
    assert lanes_of("tenant-42", 64) == (12, 15)
    assert lanes_of("tenant-42", 2) == (0, 1)
    pairs = [lanes_of(f"tenant-{number}", 32) for number in range(10_000)]
    assert all(first != second and {first, second} <= set(range(32)) for first, second in pairs)
    used = Counter(lane for pair in pairs for lane in pair)
    assert max(used.values()) < 1.2 * min(used.values())
    assert max(Counter(map(frozenset, pairs)).values()) < 60, "20 on average, of 496 pairs"


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


def test_a_replace_key_is_a_token_of_the_subject_its_task_lies_on_until_it_is_due() -> None:
    token = unique_token("reindex-9")
    subject = EMAIL.replaceable(token, "7")
    assert subject == f"pq.default.email.scheduled.replace-{token}.7"
    assert matches(EMAIL.replaceable(token, "*"), subject)
    assert matches(EMAIL.replaceable("*", "7"), subject)
    assert any(matches(each, subject) for each in EMAIL.later_subjects(3))
    assert replace_token_of(subject) == token
    retry = EMAIL.scheduled("7.mailers:2")
    assert not matches(EMAIL.replaceable("*", "7"), retry)
    assert {replace_token_of(other) for other in (retry, EMAIL.scheduled("7"), EMAIL.cron("daily"), "")} == {None}

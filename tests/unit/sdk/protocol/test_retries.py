from datetime import timedelta
from typing import Any

import pytest

from protoqueue import InvalidTask, NewTask, Retries
from protoqueue.protocol.config import RetryPolicy
from protoqueue.protocol.retries import effective_policy, read_retries, write_retries
from protoqueue.protocol.task_codec import decode_task, encode_task
from protoqueue.protocol.v1 import task_pb2
from protoqueue.testing import in_memory

GROUP = RetryPolicy(max_attempts=5, initial_delay_s=1, multiplier=2, max_delay_s=60, jitter=0.2, max_crashes=4)


def test_the_task_goes_before_the_handler_and_that_before_the_group_field_by_field() -> None:
    handler = Retries(max_attempts=3, initial_delay=timedelta(seconds=7), jitter=0)
    task = Retries(max_attempts=9, max_delay=8)
    policy = effective_policy(GROUP, handler, task)
    assert policy == RetryPolicy(9, 7, 2, 8, 0, max_crashes=4)
    assert effective_policy(GROUP, None, None) is GROUP


@pytest.mark.parametrize(("group", "task", "crashes"), [(1, 9, 4), (9, 1, 1), (9, 9, 4)])
def test_a_task_that_may_run_once_does_not_run_again_after_a_crash(group: int, task: int, crashes: int) -> None:
    policy = effective_policy(RetryPolicy(max_attempts=group, max_crashes=4), None, Retries(task))
    assert policy.most_crashes == crashes


@pytest.mark.parametrize(
    "retries",
    [
        Retries(),
        Retries(1),
        Retries(1000, 0, 1, 0, 0),
        Retries(3, 0.25, 1.5, timedelta(minutes=2), 1),
        Retries(jitter=0),
    ],
)
def test_what_a_task_says_comes_back_and_nothing_that_it_does_not(retries: Retries) -> None:
    read = decode_task(encode_task("1", b"", retry=retries), {}, 1, max_attempts=20)
    seconds = retries.max_delay.total_seconds() if isinstance(retries.max_delay, timedelta) else retries.max_delay
    assert read.retries == Retries(
        retries.max_attempts, retries.initial_delay, retries.multiplier, seconds, retries.jitter
    )
    assert read.max_attempts == (retries.max_attempts or 20)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 1001}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": 2.0}, "max_attempts"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"multiplier": float("nan")}, "multiplier"),
        ({"jitter": 1.1}, "jitter"),
        ({"initial_delay": -1}, "initial_delay"),
        ({"max_delay": "1h"}, "max_delay"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        write_retries(Retries(**wrong))


def test_what_another_producer_wrote_and_cannot_be_counts_as_absent() -> None:
    wire = task_pb2.Retries(max_attempts=-1, multiplier=float("inf"), jitter=float("nan"))
    wire.initial_delay.seconds = -5
    wire.max_delay.seconds = 10**11
    assert read_retries(wire) == Retries()
    assert read_retries(task_pb2.Retries(max_attempts=2**31 - 1)) == Retries(1000)


def test_a_task_knows_its_last_attempt() -> None:
    data = encode_task("1", b"", retry=Retries(2))
    assert [decode_task(data, {"Pq-Attempt": n}, 1).is_last_attempt for n in "123"] == [False, True, True]
    assert not decode_task(encode_task("1", b""), {"Pq-Attempt": "99"}, 1).is_last_attempt


async def test_a_batch_names_the_item_whose_retries_cannot_be() -> None:
    async with in_memory() as memory:
        queue = await memory.client.queue("default/test")
        with pytest.raises(InvalidTask, match=r"item 1 of the batch.*max_attempts"):
            await queue.enqueue_batch([1, NewTask(2, retry=Retries(0))])
        with pytest.raises(InvalidTask, match="retry must be of type Retries"):
            await queue.enqueue(1, retry=3)  # type: ignore[arg-type]

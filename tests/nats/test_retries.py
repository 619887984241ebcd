"""Attempts: when they come, what counts as one, and that none is lost or doubled."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from nats.aio.client import Client as Nats

from protoqueue import Reject, Retry, Snooze, Task
from protoqueue.codec import encode_task
from protoqueue.naming import GroupName, Header, QueueName, retry_message_id, schedule_at
from provisioning import GroupSpec, api
from waiting import eventually

QUICK = {"initial_delay": 0.4, "multiplier": 2, "jitter": 0.0, "max_attempts": 3}


async def letters_of(queue) -> list[Any]:
    return [letter async for letter in queue.dead_letters()]


async def test_a_failing_task_is_retried_with_growing_delays_and_then_buried(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK))
    worker = make_worker()
    seen: list[tuple[int, float]] = []

    @worker.handler
    async def fail(payload: dict[str, Any], task: Task) -> None:
        seen.append((task.attempt, time.monotonic()))
        raise ValueError("no luck")

    receipt = await queue.enqueue({"n": 1}, metadata={"a": "b"}, type="x")
    start(worker)
    letters = await eventually(lambda: letters_of(queue))
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    waits = [later - earlier for (_, earlier), (_, later) in pairwise(seen)]
    assert 0.4 <= waits[0] < 1.4
    assert 0.8 <= waits[1] < 1.8
    (letter,) = letters
    assert (letter.task.id, letter.reason, letter.attempts, letter.group) == (receipt.id, "MaxAttempts", 3, "mailers")
    assert (letter.error_type, letter.error) == ("ValueError", "no luck")
    assert (letter.task.data, letter.task.type, letter.task.metadata) == (b'{"n":1}', "x", {"a": "b"})
    assert letter.worker
    assert letter.failed_at is not None


async def test_a_dead_letter_carries_the_headers_other_languages_read(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = make_worker()

    @worker.handler
    async def refuse(payload: dict[str, Any]) -> None:
        raise Reject("wörong\naddress")

    await queue.enqueue({"to": "nobody"})
    start(worker)
    await eventually(lambda: letters_of(queue))
    name = QueueName("default", queue_name)
    stored = await nc.jetstream().get_msg(name.dead_letter_stream, 1)
    assert stored.subject == f"pqdlq.default.{queue_name}.mailers"
    headers = stored.headers or {}
    assert headers["Pq-Reason"] == "Rejected"
    assert headers["Pq-Error-Type"] == "Reject"
    assert headers["Pq-Attempts"] == "1"
    assert headers["Pq-Group"] == "mailers"
    assert headers["Pq-Stream-Seq"] == "1"
    assert headers["Pq-Worker"]
    assert headers["Pq-Failed-At"]
    (letter,) = await letters_of(queue)
    assert letter.error == "wörong address"


async def test_retry_with_a_delay_counts_as_an_attempt_and_snooze_does_not(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 30}))
    worker = make_worker()
    seen: list[int] = []

    @worker.handler
    async def handle(task: Task) -> None:
        seen.append(task.attempt)
        if len(seen) <= 3:
            raise Snooze(0.05)
        if len(seen) == 4:
            raise Retry("not yet", delay=0.05)

    await queue.enqueue({})
    start(worker)
    await eventually(lambda: len(seen) == 5)
    assert seen == [1, 1, 1, 1, 2]
    assert not await letters_of(queue)


async def test_a_waiting_retry_is_scheduled_rather_than_in_flight(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 60}))
    worker = make_worker()

    @worker.handler
    async def fail(payload: dict[str, Any]) -> None:
        raise ValueError

    await queue.enqueue({})
    start(worker)

    async def waits() -> bool:
        stats = await queue.stats()
        return (stats.ready, stats.in_flight, stats.scheduled) == (0, 0, 1)

    await eventually(waits)


async def test_a_crash_between_retry_and_ack_makes_no_second_retry(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    """The state such a crash leaves: the task was delivered once before, and its retry lies in LATER."""
    queue = await make_queue(GroupSpec(visibility_s=0.5, retry=QUICK | {"initial_delay": 1.0}))
    receipt = await queue.enqueue({})
    group = GroupName(QueueName("default", queue_name), "mailers")
    lost = await nc.jetstream().pull_subscribe_bind(group.level_consumer(1), stream=group.queue.stream)
    (message,) = await lost.fetch(1)
    await nc.jetstream().publish(
        group.queue.scheduled("left-by-the-crash"),
        message.data,
        headers={
            Header.MSG_ID: retry_message_id(receipt.id, "mailers", 2),
            Header.ATTEMPT: "2",
            Header.SCHEDULE: "@every 1h",
            Header.SCHEDULE_TARGET: group.queue.due(group.queue.retry("mailers", 1)),
        },
    )
    worker = make_worker()
    seen: list[int] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append(task.attempt)
        raise ValueError

    start(worker)
    await eventually(lambda: seen)

    async def only_the_first_is_left() -> bool:
        stats = await queue.stats()
        return (stats.ready + stats.in_flight, stats.scheduled) == (0, 1)

    await eventually(only_the_first_is_left)
    info = await api(nc, f"STREAM.INFO.{group.queue.later_stream}", {"subjects_filter": ">"})
    assert list(info["state"]["subjects"]) == [group.queue.scheduled("left-by-the-crash")]


async def test_a_redriven_task_keeps_its_id_and_gets_all_its_attempts_again(make_queue, make_worker, start) -> None:
    """Also within the window in which the ids of its first retries are still known."""
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 0.05}))
    worker = make_worker()
    seen: list[tuple[str, int]] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append((task.id, task.attempt))
        raise ValueError

    receipt = await queue.enqueue({})
    start(worker)
    await eventually(lambda: letters_of(queue))
    for redrives in (1, 2):
        assert await queue.redrive() == 1

        async def buried_again(redrives: int = redrives) -> bool:
            return [letter.redrives for letter in await letters_of(queue)] == [redrives]

        await eventually(buried_again)
    assert seen == [(receipt.id, 1), (receipt.id, 2), (receipt.id, 3)] * 3


async def test_a_recurring_task_keeps_one_id_through_its_retries(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    """Each firing repeats the same bytes, so the id is read from the schedule and the first delivery."""
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 0.05}))
    name = QueueName("default", queue_name)
    await nc.jetstream().publish(
        name.cron("nightly"),
        encode_task("nightly", b"{}", content_type="application/json"),
        headers={
            Header.SCHEDULE: schedule_at(datetime.now(UTC) + timedelta(seconds=0.3)),
            Header.SCHEDULE_TARGET: name.due(name.task(1)),
        },
    )
    worker = make_worker()
    seen: list[tuple[str, int]] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append((task.id, task.attempt))
        raise ValueError

    start(worker)
    letters = await eventually(lambda: letters_of(queue))
    assert seen == [("nightly@1", 1), ("nightly@1", 2), ("nightly@1", 3)]
    assert letters[0].task.id == "nightly@1"

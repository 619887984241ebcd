"""Overlap, expiry and jitter of schedules: kept by workers, on a server and in memory alike."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import protoqueue
from backends import Backend
from protoqueue import Task
from protoqueue.broker import Message
from protoqueue.protocol.message_headers import Header, schedule_at
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.queue import QueueSpec as Spec
from protoqueue_operator.queue.schedules import recurring_tasks
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

DAILY = {"name": "daily", "cron": "@daily", "type": "report"}
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
QUICK = {"initial_delay": 0.05, "max_attempts": 3, "jitter": 0.0}


@pytest.fixture
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name)


async def fire(queue: protoqueue.Queue, slot: datetime, schedule: dict[str, Any]) -> None:
    """Have the server fire at once what the operator has it fire for this slot; return once it has."""
    name = QueueName.parse(queue.name)
    (recurring,) = recurring_tasks(name, Spec.model_validate({"schedules": [schedule]}))
    headers = dict(recurring.headers) | {
        Header.SCHEDULE: schedule_at(datetime.now(UTC)),
        Header.SCHEDULED_FOR: slot.isoformat(),
        Header.RECURS: "UTC @every 86400000ms",  # no slot is worked on once only
    }
    # Each on a subject of its own: the second would take the place of a first that has not fired yet.
    subject, stream = f"{recurring.subject}-{slot:%d}", queue._settings.later_stream
    await queue._broker.publish(Message(subject, recurring.data, headers), 5)

    async def has_fired() -> bool:
        return await queue._broker.last_message(stream, subject, 5) is None

    await eventually(has_fired)


def day(back: int = 0) -> datetime:
    return TODAY - timedelta(days=back)


def worker_of(backend: Backend, queue: protoqueue.Queue, **options: Any) -> protoqueue.Worker:
    return protoqueue.Worker(queue.name, group="mailers", url=backend.url, **options)


async def is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 0)


async def holds(queue: protoqueue.Queue, waiting: int, in_flight: int, scheduled: int = 0) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight, stats.scheduled) == (waiting, in_flight, scheduled)


async def test_with_overlap_skip_a_firing_is_dropped_while_the_one_before_it_runs(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, goes_on, seen = worker_of(backend, queue, concurrency=3), asyncio.Event(), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task)
        await goes_on.wait()

    skip = DAILY | {"overlap": "Skip"}
    await fire(queue, day(3), skip)
    start(worker)
    await eventually(lambda: seen)
    await fire(queue, day(2), skip)
    await eventually(lambda: holds(queue, 0, 1))
    assert [task.scheduled_for for task in seen] == [day(3)]
    assert seen[0].unique == "schedule:daily"
    assert seen[0].id.startswith("daily-")
    held = await queue.enqueue(1, unique="schedule:daily")
    assert (held.duplicate, held.id) == (True, seen[0].id), "by hand it does not overlap either"
    goes_on.set()
    await eventually(lambda: is_empty(queue))
    await fire(queue, day(1), skip)
    await eventually(lambda: [task.scheduled_for for task in seen] == [day(3), day(1)])
    await eventually(lambda: is_empty(queue))


async def test_a_firing_that_waits_for_its_next_attempt_is_unfinished_and_one_that_is_dead_is_not(
    backend, spec, start
) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK | {"initial_delay": 0.5, "max_attempts": 2}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append((task.scheduled_for, task.attempt))
        if task.scheduled_for == day(3):
            if task.attempt == 1:
                await fire(queue, day(2), DAILY | {"overlap": "Skip"})
            raise ValueError

    await fire(queue, day(3), DAILY | {"overlap": "Skip"})
    start(worker)
    await eventually(lambda: is_dead(queue))
    assert seen == [(day(3), 1), (day(3), 2)]
    await fire(queue, day(1), DAILY | {"overlap": "Skip"})
    await eventually(lambda: seen[2:] == [(day(1), 1)])


async def is_dead(queue: protoqueue.Queue) -> bool:
    return await is_empty(queue) and (await queue.stats()).dead == 1


async def test_firings_of_other_schedules_and_with_overlap_allow_run_beside_each_other(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, goes_on, seen = worker_of(backend, queue, concurrency=4), asyncio.Event(), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task.id)
        await goes_on.wait()

    for name in ("one", "two"):
        await fire(queue, day(1), DAILY | {"name": name, "overlap": "Skip"})
    for back in (2, 1):
        await fire(queue, day(back), DAILY)
    start(worker)
    await eventually(lambda: len(seen) == 4)
    goes_on.set()
    await eventually(lambda: is_empty(queue))


@pytest.mark.parametrize("kept", [True, False])
async def test_a_firing_that_nobody_started_within_expires_is_dropped_as_expired(
    backend, queue_name, kept, start
) -> None:
    queue = await backend.queue(QueueSpec(queue_name, keep_expired=kept))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task.scheduled_for)

    for back in (3, 0):
        await fire(queue, day(back), DAILY | {"expires": "60h"})
    start(worker)
    await eventually(lambda: is_empty(queue))
    assert seen == [day()]
    letters = [letter.reason async for letter in queue.dead_letters()]
    assert letters == (["Expired"] if kept else [])


async def test_jitter_puts_a_firing_off_and_keeps_its_time(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append((task.scheduled_for, task.attempt, task.type))

    await fire(queue, day(-2), DAILY | {"jitter": "30m"})
    await fire(queue, day(2), DAILY | {"jitter": "30m"})
    start(worker)
    await eventually(lambda: holds(queue, 0, 0, 1))
    assert seen == [(day(2), 1, "report")], "its moment has passed"
    (later,) = await queue.peek_scheduled()
    assert day(-2) <= later.due_at < day(-2) + timedelta(minutes=30)
    assert later.task.scheduled_for == day(-2)


async def test_a_received_firing_keeps_to_its_schedule_too(backend, spec) -> None:
    queue = await backend.queue(spec)
    skip = DAILY | {"overlap": "Skip", "expires": "60h"}
    await fire(queue, day(5), skip)
    assert await queue.receive(group="mailers", wait=0.1) == []
    assert await is_empty(queue)
    await fire(queue, day(1), skip)
    (first,) = await eventually(lambda: queue.receive(group="mailers", wait=1))
    await fire(queue, day(), skip)
    assert await queue.receive(group="mailers", wait=0.1) == []
    await first.ack()
    await eventually(lambda: is_empty(queue))

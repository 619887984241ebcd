"""Fair queues: keys that have tasks waiting share the workers evenly. Each test runs on a real server and in memory."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

import protoqueue
from protoqueue import InvalidTask, NewTask, Reject, Task
from protoqueue.broker import Broker
from protoqueue.errors import PermissionDenied
from protoqueue.producer.lane_loads import LaneLoads
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.subjects import lanes_of
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

LANES = 8
QUICK = {"initial_delay": 0.05, "max_attempts": 2, "jitter": 0.0}


def apart(key: str, number: int) -> list[str]:
    """So many keys that have at least one lane which `key` does not use."""
    lanes = set(lanes_of(key, LANES))
    found = (f"quiet-{n}" for n in range(100))
    return [each for each in found if not set(lanes_of(each, LANES)) <= lanes][:number]


@pytest.fixture
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name, levels=1, lanes=LANES)


def worker_of(backend: Any, queue: protoqueue.Queue, **options: Any) -> protoqueue.Worker:
    return protoqueue.Worker(queue.name, group="mailers", url=backend.url, **options)


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_keys_with_few_tasks_do_not_wait_for_one_with_many(backend, spec, concurrency) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue, concurrency=concurrency), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task.fairness_key)

    quiet = apart("noisy", 5)
    await queue.enqueue_batch([NewTask(n, fairness_key="noisy") for n in range(400)])
    await queue.enqueue_batch([NewTask(n, fairness_key=key) for n in range(4) for key in quiet])
    assert await worker.run_once() == 420
    assert Counter(seen) == {"noisy": 400} | dict.fromkeys(quiet, 4)
    last = max(place for place, key in enumerate(seen) if key != "noisy")
    assert last < 300, "it would be 419 in a queue that is not fair"


async def test_a_task_comes_first_that_arrives_while_another_key_has_many_waiting(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue, concurrency=1), []
    quiet = apart("noisy", 1)[0]

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append(task.fairness_key)
        if payload == 20:
            await queue.enqueue(0, fairness_key=quiet)

    await queue.enqueue_batch([NewTask(n, fairness_key="noisy") for n in range(400)])
    start(worker)
    await eventually(lambda: quiet in seen)
    assert seen.index(quiet) < 380, "it would be 400 in a queue that is not fair"


async def test_a_key_that_is_alone_gets_all_and_tasks_without_a_key_are_run_too(backend, spec) -> None:
    queue = await backend.queue(spec)
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    await queue.enqueue_batch([NewTask(n, fairness_key="alone") for n in range(50)])
    await queue.enqueue_batch(list(range(50, 100)))
    assert (await queue.stats()).waiting == 100
    assert await worker.run_once() == 100
    assert sorted(seen) == list(range(100))


async def test_retries_delays_unique_keys_dead_letters_and_redrives_keep_the_key(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        seen.append((payload, task.attempt, task.fairness_key))
        if payload == "retried" and task.attempt == 1:
            raise ValueError
        if payload == "dead" and len([each for each in seen if each[0] == "dead"]) == 1:
            raise Reject("no")

    await queue.enqueue("retried", fairness_key="a", unique="u")
    await queue.enqueue("delayed", fairness_key="b", delay=0.05)
    await queue.enqueue("dead", fairness_key="c")
    start(worker)
    expected = {("retried", 1, "a"), ("retried", 2, "a"), ("delayed", 1, "b"), ("dead", 1, "c")}
    await eventually(lambda: set(seen) == expected)

    async def is_dead() -> bool:
        return (await queue.stats()).dead == 1

    await eventually(is_dead)
    assert await queue.redrive() == 1
    await eventually(lambda: seen.count(("dead", 1, "c")) == 2)


async def test_more_lanes_leave_nothing_behind(backend, spec) -> None:
    queue = await backend.queue(QueueSpec(spec.name, levels=1))
    await queue.enqueue("before")
    await backend.set_up(spec, GroupSpec())
    await eventually(lambda: queue._settings.lanes == LANES)
    await queue.enqueue_batch([NewTask("few", fairness_key=f"k{n}") for n in range(20)])
    await backend.set_up(QueueSpec(spec.name, levels=1, lanes=2 * LANES), GroupSpec())
    await eventually(lambda: queue._settings.lanes == 2 * LANES)
    await queue.enqueue_batch([NewTask("many", fairness_key=f"k{n}") for n in range(20)])
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: str) -> None:
        seen.append(payload)

    assert await worker.run_once() == 41
    assert Counter(seen) == {"before": 1, "few": 20, "many": 20}


async def test_waiting_tasks_are_cancelled_received_and_purged_in_their_lanes(backend, spec) -> None:
    queue = await backend.queue(spec)
    first, _, _ = await queue.enqueue_batch([NewTask(n, fairness_key=f"k{n}") for n in range(3)])
    assert await queue.cancel(first.id)
    (task,) = await queue.receive(1, group="mailers", wait=5)
    assert task.fairness_key in ("k1", "k2")
    await task.ack()

    async def one_waits() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight) == (1, 0)

    await eventually(one_waits)
    assert await queue.purge() == 1


async def test_a_key_is_refused_where_the_queue_is_not_fair_and_where_it_is_none(backend, spec) -> None:
    plain = await backend.queue(QueueSpec(f"{spec.name}-plain"))
    with pytest.raises(InvalidTask, match=r"spec\.fairness"):
        await plain.enqueue(1, fairness_key="a")
    queue = await backend.queue(spec)
    for wrong in ("a\n", "a" * 257, 7):
        with pytest.raises(InvalidTask, match="fairness_key"):
            await queue.enqueue(1, fairness_key=wrong)


class Counts:
    """Tells how many tasks lie on subjects, as long as it may."""

    def __init__(self, held: dict[str, int] | None) -> None:
        self.held = held

    async def count_by_subject(self, stream: str, subject: str, timeout_s: float) -> dict[str, int]:
        if self.held is None:
            raise PermissionDenied(f"not allowed: {stream} {subject} {timedelta(seconds=timeout_s)}")
        return self.held


@pytest.mark.parametrize(("held", "chosen"), [({"a": 3, "b": 1}, "bbaba"), ({}, "ababa"), (None, "ababa")])
async def test_a_task_goes_to_the_lane_that_holds_less_as_far_as_that_is_known(held, chosen) -> None:
    counts: Broker = Counts(held)  # type: ignore[assignment]
    loads = LaneLoads(counts)
    await loads.refresh(QueueSettings(QueueName("default", "q"), "PQ_default_q", "PQ_default_q", "", lanes=LANES))
    assert "".join(loads.choose(("a", "b")) for _ in range(5)) == chosen
    await loads.close()

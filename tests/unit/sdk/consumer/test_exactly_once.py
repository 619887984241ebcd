"""Hundreds of seeded kills at every step between a handler and its ack; thousands in a soak."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from mortal import Mortal, live
from protoqueue import Task, Worker
from protoqueue.aio import cancel
from protoqueue.client import Client
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing import InMemory
from protoqueue.testing.memory import MemoryBroker
from soak import scaled
from waiting import eventually

TASKS = scaled(200, 1000)
LEASE_S = 1
NAME = GroupName(QueueName("default", "q"), "g")
BETWEEN_EFFECT_AND_LEDGER = "before the ledger"

Work = Callable[[Task, Mortal], Awaitable[None]]


def exactly_once_queue(max_attempts: int = 1_000_000) -> MemoryBroker:
    memory = InMemory()
    queue = config_pb2.QueueConfig(namespace="default", name="q", priority_levels=1)
    queue.dead_letter.enabled = True
    memory.add_queue(queue)
    group = config_pb2.GroupConfig(namespace="default", queue="q", name="g", exactly_once=True)
    group.consumers.add(name=NAME.level_consumer(0), weight=1)
    group.visibility_timeout.FromSeconds(LEASE_S)
    group.retry.max_attempts = group.retry.max_crashes = max_attempts
    memory.add_group(group)
    return memory.broker


async def lives(broker: MemoryBroker, mortal: Callable[[], Mortal], work: Work, deaths: Counter[str]) -> None:
    """Workers, one after the other, each until it is killed."""
    while True:
        worker, connection = Worker("default/q", group="g", concurrency=4, grace_s=0), mortal()

        @worker.handler
        async def handle(task: Task, *, connection: Mortal = connection) -> None:
            await work(task, connection)

        await live(worker, connection, deaths)
        broker.advance(LEASE_S)


async def kill_until_done(seed: int, work: Work, spared: str | None) -> Counter[str]:
    """Work off a queue by workers that are killed at a fifth of their steps; returns where they were."""
    broker, dice, deaths = exactly_once_queue(), random.Random(seed), Counter[str]()

    def connection() -> Mortal:
        return Mortal(broker, lambda step: step != spared and dice.random() < 0.2)

    async with Client(broker) as client:
        await (await client.queue("default/q")).enqueue_batch(list(range(TASKS)))
        left = broker.streams[NAME.queue.stream].entries
        living = asyncio.create_task(lives(broker, connection, work, deaths))
        await eventually(lambda: not left, timeout_s=500, interval_s=0.01)
        await cancel(living)
        assert (await (await client.queue("default/q")).stats()).dead == 0
    return deaths


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_effect_happens_once_wherever_from_the_ledger_on_workers_are_killed(seed: int) -> None:
    effects: Counter[str] = Counter()

    async def work(task: Task, connection: Mortal) -> None:
        await connection.step("before the effect")
        effects[task.id] += 1

    deaths = await kill_until_done(seed, work, spared=BETWEEN_EFFECT_AND_LEDGER)
    assert len(effects) == TASKS
    assert set(effects.values()) == {1}
    assert min(deaths[step] for step in ("before the effect", "after the ledger", "before the ack")) > TASKS / 10
    assert deaths.total() > 0.8 * TASKS


async def test_each_effect_that_is_kept_with_its_task_s_id_happens_once_wherever_workers_are_killed() -> None:
    balance, booked = 0, set()

    async def work(task: Task, connection: Mortal) -> None:
        nonlocal balance
        await connection.step("before the effect")
        if task.id not in booked:  # one transaction in the database of the effect
            booked.add(task.id)
            balance += int(task.data)
        await connection.step("after the effect")

    deaths = await kill_until_done(3, work, spared=None)
    assert balance == sum(range(TASKS))
    assert min(deaths["after the effect"], deaths[BETWEEN_EFFECT_AND_LEDGER]) > TASKS / 10
    assert deaths.total() > TASKS


async def test_what_remains_is_a_kill_between_effect_and_ledger_which_repeats_the_effect() -> None:
    effects: Counter[str] = Counter()

    async def work(task: Task, connection: Mortal) -> None:
        effects[task.id] += 1

    deaths = await kill_until_done(4, work, spared=None)
    assert len(effects) == TASKS
    assert 0 < effects.total() - TASKS <= deaths[BETWEEN_EFFECT_AND_LEDGER]


async def test_a_task_that_has_succeeded_is_no_dead_letter_however_its_ack_got_lost() -> None:
    """With maxAttempts 1 a second delivery would otherwise be one too many."""
    broker, deaths, effects = exactly_once_queue(max_attempts=1), Counter[str](), list[str]()

    async def work(task: Task, connection: Mortal) -> None:
        effects.append(task.id)

    def connection() -> Mortal:
        return Mortal(broker, lambda step: step == "before the ack" and deaths.total() < 5)

    async with Client(broker) as client:
        queue = await client.queue("default/q")
        receipt = await queue.enqueue(1)
        living = asyncio.create_task(lives(broker, connection, work, deaths))
        await eventually(lambda: not broker.streams[NAME.queue.stream].entries)
        await cancel(living)
        assert (effects, deaths.total(), (await queue.stats()).dead) == ([receipt.id], 5, 0)

"""Groups with exactlyOnce: what has succeeded does not run again."""

import asyncio
import random
import sqlite3
from pathlib import Path

from protoqueue import Task
from protoqueue.broker import ACK
from protoqueue.broker.jetstream import JetStreamBroker
from protoqueue.broker.options import ConnectionOptions
from provisioning import GroupSpec
from waiting import eventually


class DroppingBroker(JetStreamBroker):
    """Loses the first ack of every task, as a crash between ledger and ack would."""

    dropped: set[int]

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        sequence = int(reply.split(".")[5])
        if token == ACK and sequence not in self.dropped:
            self.dropped.add(sequence)
            return
        await super().answer_confirmed(reply, token, timeout_s)


async def test_a_task_whose_ack_is_lost_does_not_run_again(make_queue, make_worker, server) -> None:
    queue = await make_queue(GroupSpec(exactly_once=True, visibility_s=0.5))
    await queue.enqueue_batch(list(range(30)))
    broker = await DroppingBroker.connect(ConnectionOptions(server.url), 5)
    broker.dropped = set()
    worker, effects = make_worker(), []

    @worker.handler
    async def work(payload: int) -> None:
        effects.append(payload)

    serving = asyncio.create_task(worker.serve(broker))

    async def empty() -> bool:
        stats = await queue.stats()
        return stats.waiting + stats.in_flight == 0 and len(broker.dropped) == 30

    await eventually(empty)
    assert sorted(effects) == list(range(30))
    worker.stop()
    await serving
    await broker.close()


async def test_killed_workers_leave_each_effect_once_when_they_die_after_the_ledger(make_queue, processes) -> None:
    """The process dies between the entry in the ledger and the ack, over and over."""
    queue = await make_queue(GroupSpec(exactly_once=True, visibility_s=0.6, retry={"max_attempts": 100}))
    await queue.enqueue_batch(list(range(12)))
    dying = """
from protoqueue.broker.jetstream import JetStreamBroker
confirm = JetStreamBroker.answer_confirmed
left = 3

async def die_sometimes(self, *arguments):
    global left
    left -= 1
    if left == 0:
        os._exit(9)
    await confirm(self, *arguments)

JetStreamBroker.answer_confirmed = die_sometimes

@worker.handler
async def work(payload: int) -> None:
    tell(payload)
"""
    told: list[str] = []
    for _ in range(4):
        worker = processes(dying, concurrency=1)
        assert await asyncio.to_thread(worker.wait) == 9
        told += worker.told
    last = processes("@worker.handler\nasync def work(payload: int) -> None:\n    tell(payload)\n")

    async def empty() -> bool:
        stats = await queue.stats()
        return stats.waiting + stats.in_flight == 0

    await eventually(empty)
    assert sorted(map(int, told + last.told)) == list(range(12))


BOOKING = """
import sqlite3

@worker.handler
def book(payload: int, task: Task) -> None:
    with sqlite3.connect({accounts!r}, timeout=30) as database:
        if database.execute("INSERT OR IGNORE INTO booked VALUES (?)", (task.id,)).rowcount:
            database.execute("UPDATE account SET balance = balance + ?", (payload,))
    time.sleep(0.01)  # here, between the effect and the ledger, is where kills matter
    tell(payload)
"""


async def test_an_effect_stored_with_its_task_s_id_happens_once_through_kills_at_any_moment(
    make_queue, processes, tmp_path: Path
) -> None:
    accounts = tmp_path / "accounts.db"
    with sqlite3.connect(accounts) as database:
        database.executescript("CREATE TABLE booked (task PRIMARY KEY); CREATE TABLE account (balance)")
        database.execute("INSERT INTO account VALUES (0)")
    queue = await make_queue(GroupSpec(exactly_once=True, visibility_s=0.5, retry={"max_attempts": 100}))
    await queue.enqueue_batch(list(range(400)))
    dice, crew = random.Random(7), []
    while len(crew) < 8:
        worker = processes(BOOKING.format(accounts=str(accounts)), concurrency=4)
        crew.append(worker)
        wanted = dice.randint(1, 40)
        await eventually(lambda worker=worker, wanted=wanted: len(worker.told) >= wanted, interval_s=0.005)
        worker.kill()
    crew.append(processes(BOOKING.format(accounts=str(accounts)), concurrency=4))

    async def empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.dead) == (0, 0, 0)

    await eventually(empty)
    assert {int(line) for worker in crew for line in worker.told} <= set(range(400))
    with sqlite3.connect(accounts) as database:
        assert database.execute("SELECT balance FROM account").fetchone() == (sum(range(400)),)


async def test_a_failed_task_is_not_in_the_ledger(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(exactly_once=True, retry={"initial_delay": 0.05}))
    worker, attempts = make_worker(), []

    @worker.handler
    async def work(task: Task) -> None:
        attempts.append(task.attempt)
        if task.attempt < 3:
            raise ValueError

    await queue.enqueue(1)
    start(worker)
    await eventually(lambda: attempts == [1, 2, 3])

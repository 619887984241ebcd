"""Groups with exactlyOnce: what has succeeded does not run again."""

import asyncio

from protoqueue import Task
from protoqueue.connection import ACK
from protoqueue.connection.jetstream import JetStreamBroker
from protoqueue.connection.options import ConnectionOptions
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
        return stats.ready + stats.in_flight == 0 and len(broker.dropped) == 30

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
from protoqueue.connection.jetstream import JetStreamBroker
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
        return stats.ready + stats.in_flight == 0

    await eventually(empty)
    assert sorted(map(int, told + last.told)) == list(range(12))


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

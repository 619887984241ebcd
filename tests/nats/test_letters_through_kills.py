"""Letters and redrives are stored exactly once although workers of either queue are killed while they store them."""

from collections.abc import Awaitable, Callable

import protoqueue
from protoqueue import NewTask
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually
from worker_process import WorkerProcess

TASKS, CONCURRENCY = 150, 5

GIVE_UP = """
@worker.handler
async def work(payload: int, task: Task) -> None:
    tell(task.id)
    raise Reject("no")
"""
SEND_BACK = """
@worker.handler
async def work(payload: int, task: Task) -> None:
    tell(task.id)
    raise protoqueue.Redrive
"""


async def until_all_are_told(
    start: Callable[[], WorkerProcess], receipts: list[protoqueue.Receipt], is_done: Callable[[], Awaitable[bool]]
) -> None:
    """Kill three workers on the way."""
    workers = [start()]

    def told() -> int:
        return len({line for worker in workers for line in worker.told})

    for share in (0.15, 0.4, 0.65):
        await eventually(lambda share=share: told() >= share * len(receipts), interval_s=0.002)
        workers[-1].kill()
        workers.append(start())
    await eventually(is_done)
    workers[-1].kill()
    assert told() == len(receipts)


async def test_each_task_is_one_letter_and_one_redriven_task_through_kills_of_either_worker(
    nc, client, processes, queue_name
) -> None:
    spec = QueueSpec(queue_name, dead_letter_queue=f"{queue_name}-dlq", levels=1)
    group = GroupSpec(visibility_s=1, retry={"max_attempts": 100, "max_crashes": 100})
    await provision(nc, QueueSpec(spec.dead_letter_queue, levels=1), [group])
    await provision(nc, spec, [group])
    queue, letters = [await client.queue(f"default/{name}") for name in (spec.name, spec.dead_letter_queue)]
    receipts = await queue.enqueue_batch([NewTask(n) for n in range(TASKS)])

    async def all_died() -> bool:
        stats = await queue.stats()
        return stats.waiting + stats.in_flight + stats.scheduled == 0

    await until_all_are_told(lambda: processes(GIVE_UP, concurrency=CONCURRENCY), receipts, all_died)
    assert ((await letters.stats()).waiting, (await queue.stats()).dead) == (TASKS, 0)

    async def all_sent_back() -> bool:
        stats = await letters.stats()
        return stats.waiting + stats.in_flight + stats.scheduled == 0 and (await queue.stats()).scheduled == 0

    def analyst() -> WorkerProcess:
        return processes(SEND_BACK, concurrency=CONCURRENCY, queue=letters.name)

    await until_all_are_told(analyst, receipts, all_sent_back)
    assert ((await queue.stats()).waiting, (await letters.stats()).dead) == (TASKS, 0)
    assert {task.id for task in await queue.peek(2 * TASKS)} == {receipt.id for receipt in receipts}

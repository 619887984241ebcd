"""A handler that enqueues the next step into its own queue, as the documentation recommends."""

from protoqueue import NewTask
from provisioning import GroupSpec
from waiting import eventually

STEPS, CHAINS = 8, 12

STEP = f"""
@worker.handler
async def step(payload: dict, task: Task) -> None:
    queue = await worker.client.queue(os.environ["PROTOQUEUE_QUEUE"])
    if payload["step"] < {STEPS}:
        await queue.enqueue({{"chain": payload["chain"], "step": payload["step"] + 1}}, dedup_id=task.id)
    await asyncio.sleep(0.02)  # where a kill makes the step run again
    tell(payload["chain"], payload["step"])
"""


async def test_every_step_of_every_chain_in_one_queue_runs_though_workers_are_killed(make_queue, processes) -> None:
    queue = await make_queue(GroupSpec(visibility_s=0.5, retry={"max_attempts": 100}), levels=1)
    workers = [processes(STEP, concurrency=3)]
    wanted = {f"{chain} {step}" for chain in range(CHAINS) for step in range(STEPS + 1)}
    await queue.enqueue_batch([NewTask({"chain": chain, "step": 0}) for chain in range(CHAINS)])

    def told() -> set[str]:
        return {line for worker in workers for line in worker.told}

    for share in (0.1, 0.3, 0.5, 0.7):
        await eventually(lambda share=share: len(told()) >= share * len(wanted), interval_s=0.002)
        workers[-1].kill()
        workers.append(processes(STEP, concurrency=3))
    await eventually(lambda: told() == wanted)

    async def is_empty() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 0)

    await eventually(is_empty)

"""Broadcast queues: each group gets every task, and what happens in a group stays there."""

from collections import Counter

from protoqueue import Task
from provisioning import GroupSpec, QueueSpec, provision_group
from waiting import eventually

RETRY = {"initial_delay": 0.05, "max_attempts": 2}


async def test_every_group_gets_every_task_once(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec("one"), GroupSpec("two"), broadcast=True)
    seen: Counter[tuple[str, int]] = Counter()
    for group in ("one", "one", "two"):
        worker = make_worker(group=group)

        @worker.handler
        async def work(payload: int, *, group: str = group) -> None:
            seen[group, payload] += 1

        start(worker)
    await queue.enqueue_batch(list(range(50)))
    await queue.enqueue(50, delay=0.2)
    await eventually(lambda: seen.total() == 102)
    assert set(seen.values()) == {1}


async def test_retries_dead_letters_and_redrives_stay_within_the_group(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec("good", retry=RETRY), GroupSpec("bad", retry=RETRY), broadcast=True)
    seen: Counter[str] = Counter()
    broken = True
    for group in ("good", "bad"):
        worker = make_worker(group=group)

        @worker.handler
        async def work(task: Task, *, group: str = group) -> None:
            seen[group] += 1
            if group == "bad" and broken:
                raise ValueError

        start(worker)
    await queue.enqueue(1)

    async def buried() -> bool:
        return [letter.group async for letter in queue.dead_letters()] == ["bad"]

    await eventually(buried)
    assert seen == {"good": 1, "bad": 2}
    broken = False
    assert await queue.redrive() == 1
    await eventually(lambda: seen["bad"] == 3)
    stats = await queue.stats()
    assert seen["good"] == 1
    assert set(stats.groups) == {"good", "bad"}


async def test_a_group_created_later_gets_what_its_start_says(make_queue, make_worker, start, nc, queue_name) -> None:
    queue = await make_queue(GroupSpec("first"), broadcast=True)
    await queue.enqueue(1)
    spec = QueueSpec(queue_name, broadcast=True)
    await provision_group(nc, spec, GroupSpec("all", deliver_all=True))
    await provision_group(nc, spec, GroupSpec("new", deliver_all=False))
    await queue.enqueue(2)
    seen: dict[str, set[int]] = {"all": set(), "new": set()}
    for group in seen:
        worker = make_worker(group=group)

        @worker.handler
        async def work(payload: int, *, group: str = group) -> None:
            seen[group].add(payload)

        start(worker)
    await eventually(lambda: seen == {"all": {1, 2}, "new": {2}})

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from google.protobuf.duration_pb2 import Duration

from protoqueue.errors import ConfigurationError
from protoqueue.naming import GroupName, QueueName
from protoqueue.ratelimit.limiter import Limiter
from protoqueue.settings import RateLimit as Setting
from protoqueue.v1.config_pb2 import RateLimit
from unit.sdk_ratelimit.virtual_time import MemoryStore, run
from unit.sdk_ratelimit.windows import most_in_excess

GROUP = GroupName(QueueName("default", "email"), "mailers")


def limit(tasks: int, per_s: float = 1, burst: int = 0, scope: str = "Queue") -> RateLimit:
    seconds, fraction = divmod(per_s, 1)
    per = Duration(seconds=int(seconds), nanos=round(fraction * 1e9))
    return RateLimit(tasks=tasks, per=per, burst=burst, scope=scope)


class Worker:
    """Starts tasks as fast as its limiter lets it, up to `slots` at once, and notes when."""

    def __init__(self, store: MemoryStore, queue=None, group=None, name: str = "mailers", slots: int = 10) -> None:
        self.limiter = Limiter(GroupName(GROUP.queue, name), store)
        self.limiter.update(queue, group)
        self.slots = slots
        self.starts: list[float] = []

    async def work(self, handler_s: float = 0) -> None:
        while True:
            granted = await self.limiter.acquire(self.slots)
            self.starts += [asyncio.get_running_loop().time()] * granted
            await asyncio.sleep(handler_s)


@contextlib.asynccontextmanager
async def at_work(workers: Sequence[Worker], handler_s: float = 0) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.work(handler_s)) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def all_starts(workers: Sequence[Worker]) -> list[float]:
    return sorted(start for worker in workers for start in worker.starts)


def within(starts: Sequence[float], begin_s: float, end_s: float) -> int:
    return sum(begin_s <= start < end_s for start in starts)


async def test_without_a_limit_everything_may_start_and_nobody_is_asked():
    store = MemoryStore()
    limiter = Limiter(GROUP, store)
    assert not limiter.limited
    assert await limiter.acquire(1_000_000) == 1_000_000
    limiter.update(None, RateLimit())
    assert not limiter.limited
    assert limiter.room(7) == 7
    assert store.requests == 0


@pytest.mark.parametrize("workers", [1, 3, 12])
@pytest.mark.parametrize(("tasks", "per_s", "burst"), [(100, 1, 100), (1000, 1, 50), (7, 3, 2), (10_000, 1, 2_000)])
def test_workers_together_keep_to_the_limit_and_use_all_of_it(tasks, per_s, burst, workers):
    seconds = 20 if tasks <= 1000 else 4

    async def scenario():
        store = MemoryStore(seed=workers)
        crew = [Worker(store, queue=limit(tasks, per_s, burst), slots=100) for _ in range(workers)]
        async with at_work(crew):
            await asyncio.sleep(seconds)
        return all_starts(crew), store

    starts, store = run(scenario())
    rate = tasks / per_s
    assert most_in_excess(starts, rate, burst) <= 0.02 + rate * 0.0001
    expected = burst + rate * seconds
    assert expected * 0.97 - 2 <= len(starts) <= expected
    assert store.writes <= seconds * 25 * max(1, min(rate / 20, 2)) + burst


@pytest.mark.parametrize(("workers", "tasks", "per_s"), [(3, 100, 1), (10, 500, 1), (3, 5, 1), (4, 1, 2), (30, 200, 1)])
def test_workers_are_served_in_turn(workers, tasks, per_s):
    rounds = 30
    seconds = rounds * workers * max(per_s / tasks, 0.05)

    async def scenario():
        store = MemoryStore(seed=1)
        crew = [Worker(store, queue=limit(tasks, per_s, 1), slots=50) for _ in range(workers)]
        async with at_work(crew):
            await asyncio.sleep(seconds)
        return [len(worker.starts) for worker in crew]

    counts = run(scenario())
    share = sum(counts) / workers
    assert sum(counts) == pytest.approx(seconds * tasks / per_s, rel=0.05)
    assert min(counts) >= share * 0.75, counts
    assert max(counts) <= share * 1.25, counts


def test_a_worker_without_tasks_takes_nothing_from_the_others():
    async def scenario():
        store = MemoryStore()
        busy, idle = (Worker(store, queue=limit(100, 1, 10)) for _ in range(2))
        async with at_work([idle]):
            await asyncio.sleep(2)
        idled_at = asyncio.get_running_loop().time()
        async with at_work([busy]):
            await asyncio.sleep(5)
        return within(busy.starts, idled_at, idled_at + 5)

    assert run(scenario()) >= 485


def test_workers_that_are_slower_than_the_limit_leave_the_rest_to_others():
    async def scenario():
        store = MemoryStore()
        slow = [Worker(store, queue=limit(200, 1, 20), slots=1) for _ in range(3)]
        eager = Worker(store, queue=limit(200, 1, 20), slots=100)
        async with at_work(slow, handler_s=0.1), at_work([eager]):
            await asyncio.sleep(10)
        return [len(worker.starts) for worker in slow], len(eager.starts)

    slow, eager = run(scenario())
    assert min(slow) >= 70  # of 100 each could do
    assert sum(slow) + eager >= 0.95 * 2000


def test_many_handlers_that_ask_for_one_token_each_share_a_lease():
    async def scenario():
        store = MemoryStore()
        limiter = Limiter(GROUP, store)
        limiter.update(limit(1000, 1, 10), None)
        worker = Worker(store, queue=limit(1000, 1, 10), slots=1)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(50):
                await stack.enter_async_context(at_work([worker]))
            await asyncio.sleep(3)
        return len(worker.starts), store.writes

    starts, writes = run(scenario())
    assert starts >= 2900
    assert writes <= 100


def test_a_change_holds_at_once_also_for_those_who_wait():
    async def scenario():
        store = MemoryStore()
        crew = [Worker(store, queue=limit(1, 3600, 1)) for _ in range(3)]
        async with at_work(crew):
            await asyncio.sleep(5)
            for worker in crew:
                worker.limiter.update(limit(100, 1, 20), None)
            await asyncio.sleep(5)
            for worker in crew:
                worker.limiter.update(limit(10, 1, 20), None)
            await asyncio.sleep(5)
        return all_starts(crew)

    starts = run(scenario())
    assert within(starts, 0, 5) == 1
    assert 480 <= within(starts, 5, 10) <= 510
    assert 45 <= within(starts, 10, 15) <= 55


def test_lifting_the_limit_sets_everyone_free():
    async def scenario():
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(limit(1, 3600, 1), None)
        assert await limiter.acquire(5) == 1
        waiting = asyncio.create_task(limiter.acquire(5))
        await asyncio.sleep(1)
        assert not waiting.done()
        limiter.update(None, None)
        return await asyncio.wait_for(waiting, 1)

    assert run(scenario()) == 5


def test_while_nats_is_away_workers_wait_and_afterwards_neither_burst_nor_hang():
    async def scenario():
        store = MemoryStore()
        crew = [Worker(store, queue=limit(100, 1, 30)) for _ in range(3)]
        async with at_work(crew):
            await asyncio.sleep(5)
            store.is_down = True
            await asyncio.sleep(20)
            store.is_down = False
            await asyncio.sleep(10)
        return all_starts(crew)

    starts = run(scenario())
    assert within(starts, 5.2, 25) == 0
    assert within(starts, 28, 35) >= 0.97 * 700
    assert most_in_excess(starts, 100, 30) <= 0.01


def test_a_wiped_bucket_is_not_a_new_burst():
    async def scenario():
        store = MemoryStore()
        crew = [Worker(store, queue=limit(100, 1, 100)) for _ in range(3)]
        async with at_work(crew):
            for _ in range(10):
                await asyncio.sleep(1)
                store.wipe()
        return all_starts(crew)

    starts = run(scenario())
    assert most_in_excess(starts, 100, 100) <= 0.01
    assert len(starts) >= 0.97 * 1100 - 2


@pytest.mark.parametrize("step_s", [-7200, -2, 0.03, 7200])
def test_a_step_of_the_server_s_clock_costs_at_most_one_burst_and_hangs_nobody(step_s):
    async def scenario():
        store = MemoryStore()
        crew = [Worker(store, queue=limit(100, 1, 50)) for _ in range(3)]
        async with at_work(crew):
            await asyncio.sleep(5)
            store.clock_s += step_s
            await asyncio.sleep(30)
        return all_starts(crew)

    starts = run(scenario())
    assert within(starts, 0, 5) == pytest.approx(550, abs=15)
    assert within(starts, 5, 35) <= 3000 + 60
    assert within(starts, 20, 35) >= 0.97 * 1500


def test_garbage_in_the_bucket_is_replaced_and_grants_no_burst():
    async def scenario():
        store = MemoryStore()
        await store.put_if(GROUP.queue.config_key, b"garbage", 0)
        worker = Worker(store, queue=limit(10, 1, 10))
        async with at_work([worker]):
            await asyncio.sleep(2)
        return worker.starts

    assert 15 <= len(run(scenario())) <= 21


def test_each_worker_has_a_limit_of_scope_worker_for_itself():
    async def scenario():
        store = MemoryStore()
        crew = [Worker(store, group=limit(10, 1, 5, scope="Worker")) for _ in range(2)]
        async with at_work(crew):
            await asyncio.sleep(10)
        return [worker.starts for worker in crew], store.requests

    starts, requests = run(scenario())
    for mine in starts:
        assert most_in_excess(mine, 10, 5) <= 0.001
        assert 102 <= len(mine) <= 105
    assert requests == 0


def test_a_group_s_tokens_are_not_lost_to_a_narrower_queue_nor_the_queue_s_to_a_narrower_group():
    async def scenario():
        store = MemoryStore()
        narrow = [Worker(store, limit(200, 1, 10), limit(50, 1, 5, "Group"), name="narrow") for _ in range(2)]
        wide = [Worker(store, limit(200, 1, 10), limit(1000, 1, 5, "Group"), name="wide") for _ in range(2)]
        async with at_work(narrow + wide):
            await asyncio.sleep(10)
        return all_starts(narrow), all_starts(narrow + wide)

    narrow, all_of_them = run(scenario())
    assert most_in_excess(all_of_them, 200, 10) <= 0.02
    assert len(all_of_them) >= 0.97 * 2010
    assert len(narrow) >= 0.75 * 505  # it stands in two lines, one after the other
    assert most_in_excess(narrow, 50, 5) <= 3  # a chunk of 2 may wait in each worker's hands for the queue's tokens


def test_tokens_given_back_are_granted_again():
    async def scenario():
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(limit(1, 3600, 5), limit(1, 3600, 5, "Worker"))
        granted = await limiter.acquire(4)
        limiter.give_back(granted)
        return granted, await asyncio.wait_for(limiter.acquire(4), 1)

    granted, again = run(scenario())
    assert again == granted >= 1


def test_a_cancelled_wait_leaves_its_token_to_the_next():
    async def scenario():
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(limit(1, 10, 1), None)
        assert await limiter.acquire(1) == 1
        for _ in range(9):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(limiter.acquire(1), 1)
        return await asyncio.wait_for(limiter.acquire(1), 1.5)

    assert run(scenario()) == 1


def test_waits_are_reported_in_seconds_and_only_when_there_was_one():
    async def scenario():
        waits = []
        limiter = Limiter(GROUP, MemoryStore(), on_wait=waits.append)
        limiter.update(None, limit(1, 2, 1, "Worker"))
        await limiter.acquire(1)
        assert waits == []
        await limiter.acquire(1)
        return waits

    assert run(scenario()) == [pytest.approx(2, abs=0.01)]


def test_a_worker_fetches_no_more_tasks_than_will_soon_get_their_tokens():
    async def scenario():
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(limit(1, 60, 1), None)
        assert limiter.room(100) == 2
        await limiter.acquire(1)
        waiting = [asyncio.create_task(limiter.acquire(1)) for _ in range(2)]
        await asyncio.sleep(1)
        assert limiter.room(100) == 0
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert limiter.room(100) == 2

    run(scenario())


def test_the_settings_of_the_sdk_and_the_wire_s_message_mean_the_same():
    async def scenario(setting):
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(setting, None)
        worker = Worker(MemoryStore(), queue=setting)
        async with at_work([worker]):
            await asyncio.sleep(2)
        return len(worker.starts)

    assert run(scenario(limit(30, 0.5, 7))) == run(scenario(Setting(30, 0.5, 7, "Queue")))


def test_a_limit_that_makes_no_sense_is_refused_and_the_old_one_stays():
    async def scenario():
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(limit(1, 60, 1), None)
        with pytest.raises(ConfigurationError, match="per"):
            limiter.update(limit(10, 0), None)
        assert limiter.limited

    run(scenario())

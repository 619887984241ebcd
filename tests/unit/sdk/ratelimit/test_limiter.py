import asyncio
import contextlib

import pytest

from protoqueue.errors import ConfigurationError
from protoqueue.ratelimit.limiter import Limiter
from protoqueue.settings import RateLimit as Setting
from protoqueue.v1.config_pb2 import RateLimit
from unit.sdk_ratelimit.crew import GROUP, Worker, all_starts, at_work, limit, within
from unit.sdk_ratelimit.virtual_time import MemoryStore, run
from unit.sdk_ratelimit.windows import most_in_excess


async def test_without_a_limit_everything_may_start_and_nobody_is_asked():
    store = MemoryStore()
    limiter = Limiter(GROUP, store)
    assert not limiter.limited
    assert await limiter.acquire(1_000_000) == 1_000_000
    limiter.update(None, RateLimit())
    assert not limiter.limited
    assert limiter.room(7) == 7
    assert store.requests == 0


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


def test_one_who_queues_behind_others_reports_its_whole_wait():
    async def scenario():
        waits = []
        limiter = Limiter(GROUP, MemoryStore(), on_wait=waits.append)
        limiter.update(None, limit(1, 2, 1, "Worker"))
        await asyncio.gather(*(limiter.acquire(1) for _ in range(3)))
        return waits

    assert run(scenario())[-2:] == [pytest.approx(2, abs=0.01), pytest.approx(4, abs=0.01)]


def test_time_in_which_tokens_lack_counts_once_however_many_wait():
    async def scenario():
        limiter = Limiter(GROUP, MemoryStore())
        limiter.update(None, limit(1, 2, 1, "Worker"))
        await limiter.acquire(1)
        assert limiter.held_back_s == 0
        waiting = asyncio.gather(*(limiter.acquire(1) for _ in range(3)))
        await asyncio.sleep(1)
        under_way = limiter.held_back_s
        await waiting
        await asyncio.sleep(10)
        return under_way, limiter.held_back_s

    assert run(scenario()) == (pytest.approx(1, abs=0.01), pytest.approx(6, abs=0.01))


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

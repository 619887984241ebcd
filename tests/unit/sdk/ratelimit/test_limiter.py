import asyncio
import contextlib

import pytest

from protoqueue.errors import ConfigurationError
from protoqueue.ratelimit.limiter import Limiter
from unit.sdk.ratelimit.crew import Worker, all_starts, at_work, limit, update, within
from unit.sdk.ratelimit.virtual_time import SlowBroker, run
from unit.sdk.ratelimit.windows import most_in_excess


async def test_without_a_limit_everything_may_start_and_nobody_is_asked():
    broker = SlowBroker()
    limiter = Limiter(broker)
    assert not limiter.limited
    assert await limiter.acquire()
    update(limiter, None, limit(0))
    assert not limiter.limited
    assert limiter.room(7) == 7
    assert broker.requests == 0


def test_a_change_holds_at_once_also_for_those_who_wait():
    async def scenario():
        broker = SlowBroker()
        crew = [Worker(broker, queue=limit(1, 3600, 1)) for _ in range(3)]
        async with at_work(crew):
            await asyncio.sleep(5)
            for worker in crew:
                update(worker.limiter, limit(100, 1, 20), None)
            await asyncio.sleep(5)
            for worker in crew:
                update(worker.limiter, limit(10, 1, 20), None)
            await asyncio.sleep(5)
        return all_starts(crew)

    starts = run(scenario())
    assert within(starts, 0, 5) == 1
    assert 480 <= within(starts, 5, 10) <= 510
    assert 45 <= within(starts, 10, 15) <= 55


def test_lifting_the_limit_sets_everyone_free():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, limit(1, 3600, 1), None)
        assert await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(5)]
        await asyncio.sleep(1)
        assert not any(task.done() for task in waiting)
        update(limiter, None, None)
        return await asyncio.wait_for(asyncio.gather(*waiting), 1)

    assert run(scenario()) == [True] * 5


def test_each_worker_has_a_limit_of_scope_worker_for_itself():
    async def scenario():
        broker = SlowBroker()
        crew = [Worker(broker, group=limit(10, 1, 5, scope="Worker")) for _ in range(2)]
        async with at_work(crew):
            await asyncio.sleep(10)
        return [worker.starts for worker in crew], broker.requests

    starts, requests = run(scenario())
    for mine in starts:
        assert most_in_excess(mine, 10, 5) <= 0.001
        assert 102 <= len(mine) <= 105
    assert requests == 0


def test_a_group_s_tokens_are_not_lost_to_a_narrower_queue_nor_the_queue_s_to_a_narrower_group():
    async def scenario():
        broker = SlowBroker()
        narrow = [Worker(broker, limit(200, 1, 10), limit(50, 1, 5, "Group"), name="narrow") for _ in range(2)]
        wide = [Worker(broker, limit(200, 1, 10), limit(1000, 1, 5, "Group"), name="wide") for _ in range(2)]
        async with at_work(narrow + wide):
            await asyncio.sleep(10)
        return all_starts(narrow), all_starts(narrow + wide)

    narrow, all_of_them = run(scenario())
    assert most_in_excess(all_of_them, 200, 10) <= 0.02
    assert len(all_of_them) >= 0.97 * 2010
    assert len(narrow) >= 0.75 * 505  # it stands in two lines, one after the other
    assert most_in_excess(narrow, 50, 5) <= 3  # a chunk of 2 may wait in each worker's hands for the queue's tokens


def test_when_the_limiter_is_closed_nothing_that_waits_may_start():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, limit(1, 3600, 1), None)
        assert await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(1)
        limiter.close()
        return await asyncio.wait_for(asyncio.gather(*waiting, limiter.acquire()), 0.01)

    assert run(scenario()) == [False] * 4


def test_a_cancelled_wait_leaves_its_token_to_the_next():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, limit(1, 10, 1), None)
        assert await limiter.acquire()
        for _ in range(9):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(limiter.acquire(), 1)
        return await asyncio.wait_for(limiter.acquire(), 1.5)

    assert run(scenario()) == 1


def test_waits_are_reported_in_seconds_and_only_when_there_was_one():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, None, limit(1, 2, 1, "Worker"))
        await limiter.acquire()
        assert limiter.waited_s == 0
        await limiter.acquire()
        return limiter.waited_s

    assert run(scenario()) == pytest.approx(2, abs=0.01)


def test_one_who_queues_behind_others_reports_its_whole_wait():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, None, limit(1, 2, 1, "Worker"))
        await asyncio.gather(*(limiter.acquire() for _ in range(3)))
        return limiter.waited_s

    assert run(scenario()) == pytest.approx(2 + 4, abs=0.02)


def test_time_in_which_tokens_lack_counts_once_however_many_wait():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, None, limit(1, 2, 1, "Worker"))
        await limiter.acquire()
        assert limiter.held_back_s == 0
        waiting = asyncio.gather(*(limiter.acquire() for _ in range(3)))
        await asyncio.sleep(1)
        under_way = limiter.held_back_s
        await waiting
        await asyncio.sleep(10)
        return under_way, limiter.held_back_s

    assert run(scenario()) == (pytest.approx(1, abs=0.01), pytest.approx(6, abs=0.01))


def test_a_worker_fetches_no_more_tasks_than_will_soon_get_their_tokens():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, limit(1, 60, 1), None)
        assert limiter.room(100) == 2
        await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
        await asyncio.sleep(1)
        assert limiter.room(100) == 0
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert limiter.room(100) == 2

    run(scenario())


def test_a_limit_that_makes_no_sense_is_refused_and_the_old_one_stays():
    async def scenario():
        limiter = Limiter(SlowBroker())
        update(limiter, limit(1, 60, 1), None)
        with pytest.raises(ConfigurationError, match="per"):
            update(limiter, limit(10, 0), None)
        assert limiter.limited

    run(scenario())

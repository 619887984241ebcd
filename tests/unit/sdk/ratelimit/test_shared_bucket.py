"""Workers that share one limit, simulated with latency, losses and clocks that step."""

import asyncio

import pytest

from protoqueue.protocol.buckets import RATE_BUCKET
from unit.sdk.ratelimit.crew import QUEUE, Worker, all_starts, at_work, limit, within
from unit.sdk.ratelimit.virtual_time import SkewedBroker, SlowBroker, run
from unit.sdk.ratelimit.windows import most_in_excess


@pytest.mark.parametrize("workers", [1, 3, 12])
@pytest.mark.parametrize(("tasks", "per_s", "burst"), [(100, 1, 100), (1000, 1, 50), (7, 3, 2), (10_000, 1, 2_000)])
def test_workers_together_keep_to_the_limit_and_use_all_of_it(tasks, per_s, burst, workers):
    seconds = {10_000: 2, 1000: 6}.get(tasks, 20)

    async def scenario():
        broker = SlowBroker(seed=workers)
        crew = [Worker(broker, queue=limit(tasks, per_s, burst), slots=100) for _ in range(workers)]
        async with at_work(crew):
            await asyncio.sleep(seconds)
        return all_starts(crew), broker

    starts, broker = run(scenario())
    rate = tasks / per_s
    assert most_in_excess(starts, rate, burst) <= 0.02 + rate * 0.0001
    expected = burst + rate * seconds
    assert expected * 0.97 - 2 <= len(starts) <= expected
    assert broker.writes <= seconds * 25 * max(1, min(rate / 20, 2)) + burst


@pytest.mark.parametrize(("workers", "tasks", "per_s"), [(3, 100, 1), (10, 500, 1), (3, 5, 1), (4, 1, 2), (30, 200, 1)])
def test_workers_are_served_in_turn(workers, tasks, per_s):
    rounds = 30
    seconds = rounds * workers * max(per_s / tasks, 0.05)

    async def scenario():
        broker = SlowBroker(seed=1)
        crew = [Worker(broker, queue=limit(tasks, per_s, 1), slots=50) for _ in range(workers)]
        async with at_work(crew):
            await asyncio.sleep(seconds)
        return [len(worker.starts) for worker in crew]

    counts = run(scenario())
    share = sum(counts) / workers
    assert sum(counts) == pytest.approx(seconds * tasks / per_s, rel=0.05)
    assert min(counts) >= share * 0.75, counts
    assert max(counts) <= share * 1.25, counts


def test_clocks_that_are_off_by_less_than_the_slack_do_not_show():
    async def scenario():
        broker = SlowBroker()
        crew = [Worker(SkewedBroker(broker, skew_s), queue=limit(200, 1, 40)) for skew_s in (-0.02, 0, 0.02)]
        async with at_work(crew):
            await asyncio.sleep(10)
        return crew

    crew = run(scenario())
    assert most_in_excess(all_starts(crew), 200, 40) <= 0.01
    assert len(all_starts(crew)) >= 0.97 * 2040
    assert min(len(worker.starts) for worker in crew) >= 0.75 * 680


def test_a_worker_without_tasks_takes_nothing_from_the_others():
    async def scenario():
        broker = SlowBroker()
        busy, idle = (Worker(broker, queue=limit(100, 1, 10)) for _ in range(2))
        async with at_work([idle]):
            await asyncio.sleep(2)
        idled_at = asyncio.get_running_loop().time()
        async with at_work([busy]):
            await asyncio.sleep(5)
        return within(busy.starts, idled_at, idled_at + 5)

    assert run(scenario()) >= 485


def test_workers_that_are_slower_than_the_limit_leave_the_rest_to_others():
    async def scenario():
        broker = SlowBroker()
        slow = [Worker(broker, queue=limit(200, 1, 20), slots=1) for _ in range(3)]
        eager = Worker(broker, queue=limit(200, 1, 20), slots=100)
        async with at_work(slow, handler_s=0.1), at_work([eager]):
            await asyncio.sleep(10)
        return [len(worker.starts) for worker in slow], len(eager.starts)

    slow, eager = run(scenario())
    assert min(slow) >= 70  # of 100 each could do
    assert sum(slow) + eager >= 0.95 * 2000


def test_many_handlers_that_ask_for_one_token_each_share_a_lease():
    async def scenario():
        broker = SlowBroker()
        worker = Worker(broker, queue=limit(1000, 1, 10), slots=50)
        async with at_work([worker]):
            await asyncio.sleep(3)
        return len(worker.starts), broker.writes

    starts, writes = run(scenario())
    assert starts >= 2900
    assert writes <= 100


def test_while_nats_is_away_workers_wait_and_afterwards_neither_burst_nor_hang():
    async def scenario():
        broker = SlowBroker()
        crew = [Worker(broker, queue=limit(100, 1, 30)) for _ in range(3)]
        async with at_work(crew):
            await asyncio.sleep(5)
            broker.is_down = True
            await asyncio.sleep(20)
            broker.is_down = False
            await asyncio.sleep(10)
        return all_starts(crew)

    starts = run(scenario())
    assert within(starts, 5.2, 25) == 0
    assert within(starts, 28, 35) >= 0.97 * 700
    assert most_in_excess(starts, 100, 30) <= 0.01


def test_a_wiped_bucket_is_not_a_new_burst():
    async def scenario():
        broker = SlowBroker()
        crew = [Worker(broker, queue=limit(100, 1, 100)) for _ in range(3)]
        async with at_work(crew):
            for _ in range(10):
                await asyncio.sleep(1)
                broker.wipe()
        return all_starts(crew)

    starts = run(scenario())
    assert most_in_excess(starts, 100, 100) <= 0.01
    assert len(starts) >= 1100 - 10 * 20  # a loss costs at most a fifth of a second


@pytest.mark.parametrize("step_s", [-7200, -2, 0.03, 7200])
def test_a_step_of_the_server_s_clock_costs_at_most_one_burst_and_hangs_nobody(step_s):
    async def scenario():
        broker = SlowBroker()
        crew = [Worker(broker, queue=limit(100, 1, 50)) for _ in range(3)]
        async with at_work(crew):
            await asyncio.sleep(5)
            broker.clock_s += step_s
            await asyncio.sleep(30)
        return all_starts(crew)

    starts = run(scenario())
    assert within(starts, 0, 5) == pytest.approx(550, abs=15)
    assert within(starts, 5, 35) <= 3000 + 60
    assert within(starts, 20, 35) >= 0.97 * 1500


def test_garbage_in_the_bucket_is_replaced_and_grants_no_burst():
    async def scenario():
        broker = SlowBroker()
        await broker.write_key(RATE_BUCKET, QUEUE.config_key, b"garbage", 0, 1)
        worker = Worker(broker, queue=limit(10, 1, 10))
        async with at_work([worker]):
            await asyncio.sleep(2)
        return worker.starts

    assert 15 <= len(run(scenario())) <= 21

"""That no two tasks of one unique key are at work at once, whoever is killed, and that no key stays locked."""

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import nats
import protoqueue
from nats_cluster import NatsCluster
from nats_server import NatsServer
from provisioning import GroupSpec, QueueSpec, api, provision, stream_configs
from waiting import eventually
from worker_process import WorkerProcess

KEYS = ("a", "b", "c")
LEASE_S = 2.0

WORK = """
@worker.handler
async def work(payload: str, task: Task) -> None:
    tell("begin", task.unique or "-", task.id, time.time())
    await asyncio.sleep(0.05)
    tell("end", task.unique or "-", task.id, time.time())
    kind = int(task.id[-2:], 16) % 5
    if kind == 0 and task.attempt == 1:
        raise Retry(delay=0.1)
    if kind == 1 and time.time() < task.enqueued_at.timestamp() + 0.5:
        raise Snooze(0.1)
    if kind == 2:
        raise Reject("no")
"""

PRODUCE = """
import asyncio, random, sys
import protoqueue

async def main():
    async with protoqueue.connect(sys.argv[1], timeout=60) as client:
        queue = await client.queue(sys.argv[2])
        while True:
            key = random.choice(sys.argv[3:])
            delay = random.choice([None, None, 0.1])
            try:
                if random.random() < 0.3:
                    await queue.enqueue_batch([protoqueue.NewTask(key, unique=key, delay=delay), "plain"], timeout=10)
                else:
                    await queue.enqueue(key, unique=key, delay=delay, priority=random.randint(1, 10), timeout=10)
            except protoqueue.ProtoQueueError:
                pass
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


class Producers:
    """Processes that enqueue tasks of few keys as fast as they can."""

    def __init__(self, url: str, queue: str, directory: Path) -> None:
        self._command = [sys.executable, str(directory / "produce.py"), url, queue, *KEYS]
        (directory / "produce.py").write_text(PRODUCE)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._running.append(subprocess.Popen(self._command, stderr=subprocess.DEVNULL))

    def kill_one(self) -> None:
        process = self._running.pop(0)
        process.kill()
        process.wait()

    def kill(self) -> None:
        while self._running:
            self.kill_one()


def runs_of(worker: WorkerProcess, killed_at: float) -> Iterator[tuple[str, float, float]]:
    """Key, begin and end of each run; one that a kill cut short ended then."""
    begun: dict[tuple[str, str], float] = {}
    for line in worker.told:
        what, key, task, at = line.split()
        if what == "begin":
            begun[key, task] = float(at)
        else:
            yield key, begun.pop((key, task)), float(at)
    for (key, _), at in begun.items():
        yield key, at, max(at, killed_at)


async def test_workers_and_producers_may_be_killed_and_nats_restarted_and_no_two_tasks_of_a_key_are_at_work(
    own_server: NatsServer, tmp_path: Path
) -> None:
    spec = QueueSpec("keys")
    connection = await nats.connect(own_server.url)
    await provision(connection, spec, [GroupSpec(visibility_s=LEASE_S)])
    await connection.close()
    chance, workers, killed = random.Random(7), [], {}

    def start_worker() -> None:
        directory = tmp_path / f"worker{len(workers)}"
        workers.append(WorkerProcess(WORK, own_server.url, str(spec.queue), directory, concurrency=3))

    producers = Producers(own_server.url, str(spec.queue), tmp_path)
    try:
        for _ in range(2):
            start_worker()
            producers.start()
        await eventually(lambda: sum(len(worker.told) for worker in workers) > 20)
        for victim in ("worker", "producer", "nats", "worker", "nats", "producer", "worker"):
            await asyncio.sleep(chance.uniform(0.3, 0.8))
            if victim == "worker":
                oldest = next(worker for worker in workers if worker not in killed)
                oldest.kill()
                killed[oldest] = time.time()
                start_worker()
            elif victim == "producer":
                producers.kill_one()
                producers.start()
            else:
                own_server.stop()
                await own_server.start()
        before = sum(len(worker.told) for worker in workers)
        await eventually(lambda: sum(len(worker.told) for worker in workers) > before + 20)
        producers.kill()
        async with protoqueue.connect(own_server.url, timeout=60) as client:
            queue = await client.queue(str(spec.queue))
            await eventually(lambda: _is_empty(queue))
            for key in KEYS:  # no key is left behind by anybody
                assert not (await queue.enqueue("last", unique=key, timeout=60)).duplicate
            await eventually(lambda: _is_empty(queue))
    finally:
        producers.kill()
        for worker in workers:
            worker.kill()
    runs = defaultdict(list)
    for worker in workers:
        for key, begin, end in runs_of(worker, killed.get(worker, time.time())):
            runs[key].append((begin, end))
    assert set(runs) >= set(KEYS)
    for key in KEYS:
        ordered = sorted(runs[key])
        assert len(ordered) > 5
        for (_, end), (begin, _) in itertools.pairwise(ordered):
            assert begin >= end, f"two of {key} at once: one began {end - begin:.3f} s before the other ended"


async def _is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 0)


async def test_in_a_cluster_whose_leader_is_killed_racing_producers_store_one_task_of_each_key(tmp_path: Path) -> None:
    cluster = NatsCluster(tmp_path)
    await cluster.start()
    try:
        spec = QueueSpec("keys")
        connection = await nats.connect(cluster.url.split(","))
        await provision(connection, spec, [GroupSpec()])
        for stream in stream_configs(spec):
            await api(connection, f"STREAM.UPDATE.{stream['name']}", stream | {"num_replicas": 3})
        await eventually(lambda: _replicated(cluster, spec.queue.stream))
        clients = [await protoqueue.connect(cluster.url, timeout=60) for _ in range(3)]
        queues = [await client.queue(str(spec.queue)) for client in clients]

        async def race(key: int) -> None:
            kinds = [{"delay": 600 * (number % 2) or None, "priority": 1 + number} for number in range(6)]
            receipts = await asyncio.gather(
                *(
                    queues[number % 3].enqueue(key, unique=str(key), timeout=60, **how)
                    for number, how in enumerate(kinds)
                )
            )
            assert sum(not receipt.duplicate for receipt in receipts) == 1
            assert len({receipt.id for receipt in receipts}) == 1

        racing = asyncio.gather(*(race(key) for key in range(60)))
        await asyncio.sleep(0.1)
        victim = cluster.servers[await cluster.leader(spec.queue.stream)]
        victim.kill()
        await racing
        await victim.start()
        stats = await eventually(lambda: _stats(queues[0]))
        assert stats.waiting + stats.scheduled == 60
        for client in clients:
            await client.close()
        await connection.close()
    finally:
        for server in cluster.servers.values():
            server.kill()


async def _stats(queue: protoqueue.Queue) -> protoqueue.QueueStats | None:
    """None where a server is asked that has just been killed."""
    try:
        return await queue.stats()
    except protoqueue.Unavailable:
        return None


async def _replicated(cluster: NatsCluster, stream: str) -> bool:
    info = await cluster.api(f"STREAM.INFO.{stream}")
    replicas = info["cluster"].get("replicas") or []
    return len(replicas) == 2 and all(each["current"] for each in replicas)

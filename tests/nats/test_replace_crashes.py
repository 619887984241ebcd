"""That no task of a replace key is lost, whoever is killed."""

import asyncio
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import nats
import protoqueue
from nats_server import NatsServer
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

PRODUCE = """
import asyncio, random, sys
import protoqueue

async def main():
    async with protoqueue.connect(sys.argv[1], timeout=60) as client:
        queue = await client.queue(sys.argv[2])

        async def produce(key):
            number = 0
            while True:
                delay = random.choice([0.05, 0.2, 0.5])
                receipt = await queue.enqueue([key, number], delay=delay, replace=key, timeout=60)
                print(key, number, receipt.id, receipt.replaced or "-", flush=True)
                number += 1
                await asyncio.sleep(random.choice([0.01, 0.05, 0.2, 0.3]))

        await asyncio.gather(*(produce(f"{sys.argv[3]}{number}") for number in range(10)))

asyncio.run(main())
"""


async def test_whoever_is_killed_every_task_of_a_key_runs_or_is_replaced(
    own_server: NatsServer, tmp_path: Path
) -> None:
    spec = QueueSpec("keys")
    connection = await nats.connect(own_server.url)
    await provision(connection, spec, [GroupSpec()])
    await connection.close()
    (tmp_path / "produce.py").write_text(PRODUCE)
    producers: list[subprocess.Popen[bytes]] = []
    logs: list[Path] = []

    def start_producer() -> None:
        logs.append(tmp_path / f"producer{len(logs)}")
        command = [sys.executable, str(tmp_path / "produce.py"), own_server.url, str(spec.queue), f"p{len(logs)}-"]
        with logs[-1].open("wb") as log:
            producers.append(subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL))

    worker, runs = protoqueue.Worker(str(spec.queue), group="mailers", url=own_server.url), defaultdict[str, int](int)
    last: dict[str, tuple[int, str]] = {}

    @worker.handler
    async def work(payload: list[object], task: protoqueue.Task) -> None:
        runs[task.id] += 1

    chance, serving = random.Random(3), asyncio.create_task(worker.serve())
    try:
        start_producer()
        start_producer()
        await eventually(lambda: len(runs) > 20)
        for victim in ("producer", "nats", "producer"):
            await asyncio.sleep(chance.uniform(0.3, 0.8))
            if victim == "nats":
                own_server.stop()
                await own_server.start()
            else:
                producers.pop(0).kill()
                start_producer()
        before = len(runs)
        await eventually(lambda: len(runs) > before + 20)
        for producer in producers:
            producer.kill()
            producer.wait()
        async with protoqueue.connect(own_server.url, timeout=60) as client:
            queue = await client.queue(str(spec.queue))
            await eventually(lambda: _is_empty(queue))
        told = [line.split() for log in logs for line in log.read_text().splitlines() if len(line.split()) == 4]
        for key, number, task_id, _ in told:
            last[key] = max(last.get(key, (-1, "")), (int(number), task_id))
        replaced = {each[3] for each in told}
        for key, number, task_id, _ in told:
            if task_id not in replaced and (int(number), task_id) != last[key]:
                assert runs[task_id], f"{key} {number} was neither replaced nor run"
        assert any(not runs[task_id] for task_id in replaced - {"-"})
    finally:
        for producer in producers:
            producer.kill()
        worker.stop()
        await serving


async def _is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 0)

"""A fair queue beside one that is not, in one run on one server.

Quiet tenants are measured alone and beside one that has stored a hundred thousand tasks, and throughput in turns, so
that what else the machine does weighs on all alike.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from nats.aio.client import Client as Nats

import nats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from figures import Figure, machine, percentile, show

import protoqueue
from nats_server import NatsServer
from protoqueue import NewTask
from provisioning import GroupSpec, QueueSpec, api, provision

LANES = 32
NOISY, QUIET_KEYS = 100_000, 999
SLOTS, TASK_S, QUIET_SHARE, QUIET_S = 10, 0.04, 0.3, 20.0
WORKED, ROUNDS = 20_000, 5


async def make(nc: Nats, client: protoqueue.Client, name: str, lanes: int) -> protoqueue.Queue:
    spec = QueueSpec(name, levels=1, lanes=lanes)
    await provision(nc, spec, [GroupSpec(max_in_flight=20_000)])
    return await client.queue(str(spec.queue))


@contextlib.asynccontextmanager
async def working(worker: protoqueue.Worker) -> AsyncIterator[None]:
    serving = asyncio.create_task(worker.serve())
    try:
        yield
    finally:
        worker.stop()
        await serving


async def quiet_waits(queue: protoqueue.Queue, url: str) -> list[float]:
    """Seconds from enqueue to start of the quiet tenants' tasks, which take their share of the worker's capacity."""
    worker = protoqueue.Worker(queue.name, group="mailers", url=url, concurrency=SLOTS)
    waits: list[float] = []

    @worker.handler
    async def work(payload: float) -> None:
        if payload:
            waits.append(time.time() - payload)
        await asyncio.sleep(TASK_S)

    pause_s = TASK_S / SLOTS / QUIET_SHARE
    async with working(worker):
        await asyncio.sleep(1)
        began, sent = time.monotonic(), 0
        sending: set[asyncio.Task[protoqueue.Receipt]] = set()
        while time.monotonic() - began < QUIET_S:
            while sent * pause_s < time.monotonic() - began:
                key = f"tenant-{random.randrange(QUIET_KEYS)}" if queue.name.endswith("fair") else ""
                sending.add(asyncio.create_task(queue.enqueue(time.time(), fairness_key=key, timeout=60)))
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*sending)
        for _ in range(500):
            if len(waits) == sent:
                break
            await asyncio.sleep(0.02)
    return waits + [time.monotonic() - began] * (sent - len(waits))


async def rate(queue: protoqueue.Queue, url: str, keys: int) -> float:
    """Tasks per second of one worker whose handler does nothing."""
    tasks = [NewTask(n, fairness_key=f"tenant-{n % keys}" if keys else "") for n in range(WORKED)]
    await queue.enqueue_batch(tasks, timeout=60)
    worker = protoqueue.Worker(queue.name, group="mailers", url=url, concurrency=100)
    handled, began, ended = 0, 0.0, 0.0

    @worker.handler
    async def nothing(_payload: int) -> None:
        nonlocal handled, began, ended
        handled += 1
        if handled == 1:
            began = time.perf_counter()
        elif handled == WORKED:
            ended = time.perf_counter()
            worker.stop()

    await worker.serve()
    return (WORKED - 1) / (ended - began)


async def assets(nc: Nats) -> tuple[int, int]:
    """How many streams and consumers the server has."""
    account = await api(nc, "INFO", {})
    return account["streams"], account["consumers"]


async def measure(nc: Nats, client: protoqueue.Client, url: str) -> list[Figure]:
    plain, fair = await make(nc, client, "plain", 0), await make(nc, client, "fair", LANES)
    kinds = ((plain, 0), (fair, 1), (fair, 1000))
    rates = [[await rate(queue, url, keys) for queue, keys in kinds] for _ in range(ROUNDS + 1)]
    alone, many = (median(each[n] / each[0] for each in rates[1:]) for n in (1, 2))
    quiet = await quiet_waits(fair, url)
    before = await assets(nc)
    await fair.enqueue_batch([NewTask(0.0, fairness_key="noisy")] * NOISY, timeout=60)
    beside = await quiet_waits(fair, url)
    await fair.purge()
    await fair.enqueue_batch([NewTask(0.0, fairness_key=f"key-{n}") for n in range(NOISY)], timeout=60)
    after = await assets(nc)
    waited, waits = percentile(quiet, 0.99) or 0.0, percentile(beside, 0.99) or 0.0
    plain_rate = median(each[0] for each in rates[1:])
    return [
        Figure("a key that is alone: tasks/s, of those without fairness", alone, "", at_least=0.9,
               note=f"{plain_rate:.0f}/s without"),
        Figure("1000 keys: tasks/s, of those without fairness", many, "", at_least=0.9),
        Figure("quiet tenants alone: wait, p99", waited * 1000, "ms"),
        Figure("beside one with 100,000 tasks: wait, p99", waits * 1000, "ms", at_most=waited * 1000 + 50,
               note=f"p50 {1000 * (percentile(beside, 0.5) or 0):.0f} ms, max {1000 * max(beside):.0f} ms"),
        Figure("streams and consumers made by 100,000 keys", float(sum(after) - sum(before)), "", at_most=0),
    ]  # fmt: skip


async def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    title = f"Fairness ({machine()})"
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        await server.start()
        try:
            nc = await nats.connect(server.url)
            async with await protoqueue.connect(server.url) as client:
                figures = await measure(nc, client, server.url)
            await nc.close()
        finally:
            server.kill()
    show(title, figures)


if __name__ == "__main__":
    asyncio.run(main())

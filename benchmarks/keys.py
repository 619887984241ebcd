"""Tasks with keys: of each unique key one is stored, and of each burst of a replace key the last one runs.

    python benchmarks/keys.py [--keys 10000] [--producers 100]

A hundred producers, each with a connection of its own, enqueue a task of every unique key. Then each replace key gets a
burst of five from one of them, while a worker runs what comes due.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from figures import Figure, machine, show

import protoqueue
from nats_server import NatsServer
from provisioning import GroupSpec, QueueSpec, provision

BURST, DELAY_S = 5, 5.0
AT_ONCE, TIMEOUT_S = 20, 300.0


async def unique_keys(clients: list[protoqueue.Client], name: str, keys: int) -> list[Figure]:
    stored: Counter[int] = Counter()

    async def produce(client: protoqueue.Client) -> None:
        queue = await client.queue(name)
        for start in range(0, keys, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, keys))
            receipts = await asyncio.gather(
                *(queue.enqueue(number, unique=str(number), timeout=TIMEOUT_S) for number in numbers)
            )
            stored.update(number for number, one in zip(numbers, receipts, strict=True) if not one.duplicate)

    began = time.monotonic()
    await asyncio.gather(*map(produce, clients))
    took_s = time.monotonic() - began
    waiting = (await (await clients[0].queue(name)).stats(timeout=60)).waiting
    title = f"{len(clients)} producers, {keys} unique keys"
    return [
        Figure(f"{title}: tasks stored", waiting, "", note=f"receipts that say so: {stored.total()}"),
        Figure(f"{title}: keys stored more than once", sum(n > 1 for n in stored.values()), "", at_most=0),
        Figure(f"{title}: keys not stored", keys - len(stored), "", at_most=0),
        Figure(f"{title}: enqueues", len(clients) * keys / took_s, "/s"),
    ]


async def bursts(clients: list[protoqueue.Client], name: str, url: str, keys: int) -> list[Figure]:
    runs: dict[int, list[int]] = {key: [] for key in range(keys)}
    replaced = 0
    worker = protoqueue.Worker(name, group="mailers", url=url, concurrency=100)

    @worker.handler
    async def work(payload: list[int]) -> None:
        runs[payload[0]].append(payload[1])

    async def produce(client: protoqueue.Client, mine: range) -> None:
        nonlocal replaced
        queue = await client.queue(name)
        for key in mine:
            for number in range(BURST):
                receipt = await queue.enqueue([key, number], delay=DELAY_S, replace=str(key), timeout=TIMEOUT_S)
                replaced += bool(receipt.replaced)

    serving, began = asyncio.create_task(worker.serve()), time.monotonic()
    await asyncio.gather(*(produce(client, range(start, keys, len(clients))) for start, client in enumerate(clients)))
    took_s = time.monotonic() - began
    queue = await clients[0].queue(name)
    while True:
        stats = await queue.stats(timeout=60)
        if not (stats.waiting or stats.in_flight or stats.scheduled):
            break
        await asyncio.sleep(0.2)
    worker.stop()
    await serving
    title = f"{keys} bursts of {BURST}"
    return [
        Figure(f"{title}: runs", sum(map(len, runs.values())), "", note=f"receipts that replaced another: {replaced}"),
        Figure(f"{title}: bursts whose last one did not run once", _wrong(runs), "", at_most=0),
        Figure(f"{title}: enqueues", keys * BURST / took_s, "/s"),
    ]


def _wrong(runs: dict[int, list[int]]) -> int:
    return sum(each.count(BURST - 1) != 1 for each in runs.values())


async def measure(keys: int, producers: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory))
        await server.start()
        try:
            connection = await nats.connect(server.url)
            unique, replaceable = QueueSpec("unique"), QueueSpec("replace")
            for spec in (unique, replaceable):
                await provision(connection, spec, [GroupSpec()])
            clients = [await protoqueue.connect(server.url, timeout=60) for _ in range(producers)]
            figures = await unique_keys(clients, str(unique.queue), keys)
            figures += await bursts(clients, str(replaceable.queue), server.url, keys)
            await asyncio.gather(*(client.close() for client in clients))
            await connection.close()
            return figures
        finally:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--producers", type=int, default=100)
    arguments = parser.parse_args()
    title = f"keys, {machine()}"
    show(title, asyncio.run(measure(arguments.keys, arguments.producers)))


if __name__ == "__main__":
    main()

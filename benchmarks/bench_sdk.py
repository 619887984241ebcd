"""The SDK beside raw nats-py, in one run on one server: enqueue, batches, a no-op worker, and latency."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from nats.aio.client import Client as Nats

import nats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import protoqueue
from nats_server import NatsServer
from protoqueue.naming import GroupName
from provisioning import GroupSpec, QueueSpec, provision

SINGLES = 4_000
BATCHED = 50_000
WORKED = 60_000
PACED_S = 5
PACE = 1_000
ROUNDS = 3


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory))
        await server.start()
        nc = await nats.connect(server.url)
        async with await protoqueue.connect(server.url) as client:
            print(f"{'':34}{'raw nats-py':>14}{'ProtoQueue':>14}{'ratio':>8}")
            for round_number in range(ROUNDS):
                await compare_enqueue(nc, client, f"single-{round_number}")
                await compare_batches(nc, client, f"batch-{round_number}")
                await compare_workers(nc, client, server.url, f"work-{round_number}")
            await latency(nc, client, server.url)
        await nc.close()
        server.stop()


async def make_queue(nc: Nats, client: protoqueue.Client, name: str, levels: int = 1) -> protoqueue.Queue:
    await provision(nc, QueueSpec(name, levels=levels), [GroupSpec(max_in_flight=20_000)])
    return await client.queue(f"default/{name}")


async def compare_enqueue(nc: Nats, client: protoqueue.Client, name: str) -> None:
    """Awaited one by one; the raw publish carries a message id too, since dedup costs the server something."""
    queue, jetstream = await make_queue(nc, client, name), nc.jetstream()
    subject, payload = QueueSpec(name).queue.task(0), b'{"n":1}'

    async def raw() -> None:
        for number in range(SINGLES):
            await jetstream.publish(subject, payload, headers={"Nats-Msg-Id": f"{name}-{number}"})

    async def ours() -> None:
        for number in range(SINGLES):
            await queue.enqueue({"n": number})

    # In turns: what else the machine does then weighs on both.
    show("enqueue, awaited", SINGLES / await timed(raw), SINGLES / await timed(ours))


async def compare_batches(nc: Nats, client: protoqueue.Client, name: str) -> None:
    queue, jetstream = await make_queue(nc, client, name), nc.jetstream(publish_async_max_pending=4000)
    subject, payload = QueueSpec(name).queue.task(0), b'{"n":1}'

    async def raw() -> None:
        for number in range(BATCHED):
            await jetstream.publish_async(subject, payload, headers={"Nats-Msg-Id": f"{name}-{number}"})
        await jetstream.publish_async_completed()

    async def ours() -> None:
        await queue.enqueue_batch([{"n": number} for number in range(BATCHED)])

    show("enqueue_batch / publish_async", BATCHED / await timed(raw), BATCHED / await timed(ours))


async def compare_workers(nc: Nats, client: protoqueue.Client, url: str, name: str) -> None:
    """The same tasks from the same stream: `fetch(500)` and an ack each, then a worker with a no-op handler."""
    queue = await make_queue(nc, client, name)
    await queue.enqueue_batch([{"n": number} for number in range(2 * WORKED)])
    spec = QueueSpec(name)
    group = GroupName(spec.queue, "mailers")
    puller = await nc.jetstream().pull_subscribe_bind(group.level_consumer(0), stream=spec.queue.stream)

    async def raw() -> None:
        done = 0
        while done < WORKED:
            for message in await puller.fetch(500):
                await message.ack()
                done += 1

    worker = protoqueue.Worker(f"default/{name}", group="mailers", url=url, concurrency=100)
    left, all_done = WORKED, asyncio.Event()

    @worker.handler
    async def nothing(_payload: dict[str, int]) -> None:
        nonlocal left
        left -= 1
        if not left:
            all_done.set()

    async def ours() -> None:
        serving = asyncio.create_task(worker.serve())
        await all_done.wait()
        worker.stop()
        await serving

    show("no-op tasks worked off", WORKED / await timed(raw), WORKED / await timed(ours))


async def latency(nc: Nats, client: protoqueue.Client, url: str) -> None:
    """From before `enqueue` is called to the first line of the handler, at an even pace, producer and worker apart."""
    queue = await make_queue(nc, client, "latency", levels=3)
    worker, waits = protoqueue.Worker("default/latency", group="mailers", url=url), []
    all_done = asyncio.Event()

    @worker.handler
    async def note(payload: float) -> None:
        waits.append(time.time() - payload)
        if len(waits) == PACE * PACED_S:
            all_done.set()

    serving = asyncio.create_task(worker.serve())
    pending: set[asyncio.Task[protoqueue.Receipt]] = set()
    began = time.monotonic()
    for number in range(PACE * PACED_S):
        await asyncio.sleep(max(0.0, began + number / PACE - time.monotonic()))
        task = asyncio.create_task(queue.enqueue(time.time()))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await all_done.wait()
    worker.stop()
    await serving
    waits.sort()
    p50, p99 = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
    print(f"enqueue to handler at {PACE}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


async def timed(act: Callable[[], Awaitable[None]]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


def show(what: str, raw: float, ours: float) -> None:
    print(f"{what:34}{raw:>12,.0f}/s{ours:>12,.0f}/s{ours / raw:>8.2f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())

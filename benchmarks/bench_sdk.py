"""The SDK beside raw nats-py, in one run on one server, and beside itself with a million tasks stored.

What is compared takes turns round by round, so that what else the machine does weighs on all alike; the first round
warms up and does not count. A ratio is the median of the rounds' ratios.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from nats.aio.client import Client as Nats

import nats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from figures import Figure, machine, percentile, show

import protoqueue
from nats_server import NatsServer
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.v1.task_pb2 import Task, TaskMetadata
from provisioning import GroupSpec, QueueSpec, provision

SINGLES, BATCHED, WORKED, AWAITED = 1_000, 10_000, 20_000, 10_000
SHORT_ROUNDS, LONG_ROUNDS = 15, 9
PACE, PACED_S = 1_000, 5
TASK = Task(
    id="0" * 36, data=b'{"n":1}', content_type="application/json", metadata=TaskMetadata(timestamp=1)
).SerializeToString()
"""What raw nats-py publishes: as many bytes as `enqueue` does, and workers can read them too."""
FILL_SLICE = 100_000

Measure: TypeAlias = Callable[[], Awaitable[float]]
"""Does something many times, and returns how often per second."""


@dataclass(frozen=True)
class Place:
    """One queue, and both ways to it."""

    nc: Nats
    queue: protoqueue.Queue
    spec: QueueSpec
    url: str

    @property
    def subject(self) -> str:
        return self.spec.queue.task(0)

    async def hold(self, tasks: int) -> None:
        """Fill up the queue to so many tasks."""
        missing = tasks - (await self.queue.stats(timeout=60)).waiting
        while missing > 0:
            await self.queue.enqueue_batch([{"n": 1}] * min(missing, FILL_SLICE), timeout=60)
            missing -= FILL_SLICE

    async def publish_each(self) -> float:
        """With a message id, as the SDK does it: to look for duplicates costs the server something."""
        jetstream, began = self.nc.jetstream(), time.perf_counter_ns()
        for number in range(SINGLES):
            await jetstream.publish(self.subject, TASK, headers={"Nats-Msg-Id": f"{began}-{number}"})
        return SINGLES * 1e9 / (time.perf_counter_ns() - began)

    async def enqueue_each(self) -> float:
        began = time.perf_counter()
        for number in range(SINGLES):
            await self.queue.enqueue({"n": number})
        return SINGLES / (time.perf_counter() - began)

    async def publish_many(self) -> float:
        jetstream, began = self.nc.jetstream(publish_async_max_pending=4000), time.perf_counter_ns()
        for number in range(BATCHED):
            await jetstream.publish_async(self.subject, TASK, headers={"Nats-Msg-Id": f"{began}-{number}"})
        await jetstream.publish_async_completed()
        return BATCHED * 1e9 / (time.perf_counter_ns() - began)

    async def enqueue_many(self) -> float:
        began = time.perf_counter()
        await self.queue.enqueue_batch([{"n": number} for number in range(BATCHED)])
        return BATCHED / (time.perf_counter() - began)

    async def fetch_and_ack(self) -> float:
        """What nats-py offers: `fetch(500)`, and an ack for each."""
        await self.hold(2 * WORKED)
        consumer = GroupName(self.spec.queue, "mailers").level_consumer(0)
        puller = await self.nc.jetstream().pull_subscribe_bind(consumer, stream=self.spec.queue.stream)
        began, done = time.perf_counter(), 0
        while done < WORKED:
            for message in await puller.fetch(500):
                await message.ack()
                done += 1
        rate = done / (time.perf_counter() - began)
        await puller.unsubscribe()
        return rate

    async def work(self) -> float:
        """A worker as it comes: typed payloads, heartbeats, metrics and retries on. From its first task to its last."""
        await self.hold(2 * WORKED)
        worker = protoqueue.Worker(self.queue.name, group="mailers", url=self.url, concurrency=100)
        handled, began, ended = 0, 0.0, 0.0

        @worker.handler
        async def nothing(_payload: dict[str, int]) -> None:
            nonlocal handled, began, ended
            handled += 1
            if handled == 1:
                began = time.perf_counter()
            elif handled == WORKED:
                ended = time.perf_counter()
                worker.stop()

        await worker.serve()
        return (WORKED - 1) / (ended - began)


async def make_place(
    nc: Nats, client: protoqueue.Client, url: str, name: str, levels: int = 1, history: dict[str, bool] | None = None
) -> Place:
    spec = QueueSpec(name, levels=levels, history=history)
    await provision(nc, spec, [GroupSpec(max_in_flight=20_000)])
    return Place(nc, await client.queue(str(spec.queue)), spec, url)


async def ratio(
    name: str, at_least: float, rounds: int, others: tuple[str, Measure], ours: tuple[str, Measure]
) -> Figure:
    """How `ours` compares to `others`, in turns."""
    rates: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        if number % 2:
            theirs = await others[1]()
            pair = (theirs, await ours[1]())
        else:
            own = await ours[1]()
            pair = (await others[1](), own)
        rates.append(pair)
    rates = rates[1:]
    note = ", ".join(
        f"{what[0]} {median(rate[side] for rate in rates):,.0f}/s" for side, what in enumerate((others, ours))
    )
    return Figure(name, median(own / theirs for theirs, own in rates), "x", note=note, at_least=at_least)


async def latency(place: Place) -> list[Figure]:
    """From before `enqueue` is called to the first line of the handler, at an even pace, producer and worker apart."""
    worker, waits = protoqueue.Worker(place.queue.name, group="mailers", url=place.url), list[float]()

    @worker.handler
    async def note(payload: float) -> None:
        waits.append(time.time() - payload)
        if len(waits) == PACE * PACED_S:
            worker.stop()

    serving = asyncio.create_task(worker.serve())
    pending: set[asyncio.Task[protoqueue.Receipt]] = set()
    began = time.monotonic()
    for number in range(PACE * PACED_S):
        await asyncio.sleep(max(0.0, began + number / PACE - time.monotonic()))
        task = asyncio.create_task(place.queue.enqueue(time.time()))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await serving
    at_pace = f"{PACE:,} tasks a second"
    return [
        Figure(f"enqueue to handler, p{share * 100:.0f}", 1000 * (percentile(waits, share) or 0), "ms", goal, at_pace)
        for share, goal in ((0.5, None), (0.99, 10))
    ]


async def beside_nats_py(place: Place) -> Sequence[Figure]:
    return [
        await ratio(
            "enqueue, awaited", 0.85, SHORT_ROUNDS, ("publish", place.publish_each), ("enqueue", place.enqueue_each)
        ),
        await ratio(
            "enqueue_batch",
            1.1,
            LONG_ROUNDS,
            ("publish_async", place.publish_many),
            ("enqueue_batch", place.enqueue_many),
        ),
        await ratio(
            "no-op tasks worked off", 1.5, LONG_ROUNDS, ("fetch and ack", place.fetch_and_ack), ("worker", place.work)
        ),
    ]


async def with_history(few: Place, recorded: Place) -> Sequence[Figure]:
    """The same worker on a queue that records what became of its tasks."""
    return [
        await ratio(
            "no-op tasks worked off, with history", 0.85, LONG_ROUNDS,
            ("without", few.work), ("with", recorded.work),
        )
    ]  # fmt: skip


async def results(place: Place) -> Sequence[Figure]:
    """Ten thousand results awaited at once, then one by one from the handler's end to what `result()` returns."""
    worker = protoqueue.Worker(place.queue.name, group="mailers", url=place.url, concurrency=100)
    broker: Any = place.queue._broker
    subscriptions, ended, most = broker._nc._subs, dict[int, float](), 0
    await place.queue.purge()

    @worker.handler
    async def echo(payload: int) -> int:
        nonlocal most
        most = max(most, len(subscriptions))
        ended[payload] = time.perf_counter()
        return payload

    receipts = await place.queue.enqueue_batch(list(range(AWAITED)), timeout=60)
    before = len(subscriptions)
    waiting = [asyncio.create_task(receipt.result(timeout=600)) for receipt in receipts]
    began = time.perf_counter()
    serving = asyncio.create_task(worker.serve())
    await asyncio.gather(*waiting)
    rate, waits = AWAITED / (time.perf_counter() - began), list[float]()
    for number in range(SINGLES):
        await (await place.queue.enqueue(number)).result(timeout=60)
        waits.append(time.perf_counter() - ended[number])
    worker.stop()
    await serving
    return [
        Figure("results awaited at once", rate, "/s", note=f"{AWAITED:,}, with {most - before} subscriptions at most"),
        *(
            Figure(f"handler's end to its result, p{share * 100:.0f}", 1000 * (percentile(waits, share) or 0), "ms", 20)
            for share in (0.5, 0.99)
        ),
    ]


async def with_many_stored(few: Place, many: Place, stored: int) -> Sequence[Figure]:
    began = time.perf_counter()
    await many.hold(stored)
    speed = stored / (time.perf_counter() - began)
    found = [Figure(f"filled with {stored:,} tasks", speed, "/s")]
    for name, rounds, measure in (
        ("enqueue, awaited", SHORT_ROUNDS, Place.enqueue_each),
        ("enqueue_batch", LONG_ROUNDS, Place.enqueue_many),
        ("no-op tasks worked off", LONG_ROUNDS, Place.work),
    ):

        async def among_few(measure: Callable[[Place], Awaitable[float]] = measure) -> float:
            await few.queue.purge()
            return await measure(few)

        label = f"{name}, {stored:,} stored"
        found.append(await ratio(label, 0.9, rounds, ("few stored", among_few), ("many", partial(measure, many))))
    return found


async def run(stored: int) -> None:
    title = f"The SDK beside nats-py: {machine()}"
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory))
        await server.start()
        nc = await nats.connect(server.url)
        try:
            async with protoqueue.connect(server.url) as client:
                few, many, paced = [
                    await make_place(nc, client, server.url, name, levels)
                    for name, levels in (("few", 1), ("many", 1), ("paced", 3))
                ]
                recorded = await make_place(nc, client, server.url, "recorded", history={})
                figures = [*await latency(paced), *await beside_nats_py(few), *await with_history(few, recorded)]
                figures += await results(recorded)
                if stored:
                    figures += await with_many_stored(few, many, stored)
        finally:
            await nc.close()
            server.kill()
    show(title, figures)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--stored", type=int, default=1_000_000, help="tasks in the full queue; 0 leaves it out")
    asyncio.run(run(arguments.parse_args().stored))

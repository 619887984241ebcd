"""How fast a Redrive moves dead letters, how evenly, and whether each exactly once while the operator is killed.

    python benchmarks/redrive.py [--letters 100000] [--kills 5]

Four acts on a Queue whose letters nobody works on again: all of them at full speed, while another tenant's Queue is
made; a filter that takes every other one; a stated rate; all of them once more, the operator killed in the middle.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import Figure, machine, show
from nats.aio.client import Client as Nats
from population import queue
from stage import Stage, add_arguments, namespace, run, staged

import nats
from protoqueue.protocol.names import QueueName
from protoqueue_devcluster.kube.client import QUEUES, REDRIVES

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from letters import bury, stored

LIMIT_S = 900.0
LOOK_S = 0.05
RATE, RATE_FOR_S = 400, 10
LEAST_PER_S = 20_000
MOST_OFF = 0.03


@dataclass
class Scene:
    stage: Stage
    namespace: str
    nats: Nats
    letters: int
    figures: list[Figure] = field(default_factory=list)

    def name(self, queue_name: str) -> QueueName:
        return QueueName(self.namespace, queue_name)

    async def make_queue(self, name: str) -> float:
        """Returns how long it took until it was Ready."""
        began = time.monotonic()
        await self.stage.client.create(QUEUES, queue(name), self.namespace)
        await self.until(lambda: self._is_ready(name))
        return time.monotonic() - began

    async def _is_ready(self, name: str) -> bool:
        status = (await self.stage.client.get(QUEUES, name, self.namespace)).get("status", {})
        return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))

    async def redrive(self, name: str, queue_name: str, **spec: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"queueRef": {"name": queue_name}, **spec}}
        await self.stage.client.create(REDRIVES, body, self.namespace)

    async def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = (await self.stage.client.get(REDRIVES, name, self.namespace)).get("status", {})
        return status

    async def is_done(self, name: str) -> bool:
        return (await self.status(name)).get("completionTime") is not None

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        while not await holds():  # noqa: ASYNC110 -- the figures tell how long it took
            await asyncio.sleep(LOOK_S)

    async def tasks(self, queue_name: str) -> list[int]:
        """How many tasks are stored, and how many of them have an id of their own."""
        found: list[int] = []
        jetstream = self.nats.jetstream()
        name = self.name(queue_name)
        consumer = await jetstream.pull_subscribe(f"{name.retry('*', '*')}", stream=name.stream)
        ids: set[bytes] = set()
        count = 0
        while True:
            try:
                messages = await consumer.fetch(1000, timeout=2)
            except TimeoutError:
                found += [count, len(ids)]
                return found
            count += len(messages)
            ids |= {message.data for message in messages}
            for message in messages:
                await message.ack()


async def at_full_speed(scene: Scene) -> None:
    await scene.make_queue("fast")
    await bury(scene.nats, scene.name("fast"), range(scene.letters))
    began = time.monotonic()
    await scene.redrive("fast", "fast")
    beside = await scene.make_queue("beside")
    await scene.until(lambda: scene.is_done("fast"))
    took = time.monotonic() - began
    count, distinct = await scene.tasks("fast")
    left = await stored(scene.nats, scene.name("fast"))
    scene.figures += [
        Figure("at full speed", scene.letters / took, "letters/s", at_least=LEAST_PER_S, note=f"{scene.letters:,}"),
        Figure("another Queue Ready meanwhile", beside, "s", 1.0),
        Figure("tasks more or less than letters", abs(count - scene.letters) + count - distinct + left, "", 0),
    ]


async def with_a_filter(scene: Scene) -> None:
    await scene.make_queue("filtered")
    await bury(scene.nats, scene.name("filtered"), range(scene.letters), types=("welcome", "goodbye"))
    began = time.monotonic()
    await scene.redrive("filtered", "filtered", filter={"types": ["welcome"]})
    await scene.until(lambda: scene.is_done("filtered"))
    took = time.monotonic() - began
    moved = (await scene.status("filtered"))["moved"]
    scene.figures.append(Figure("every other one, by a filter", moved / took, "letters/s", note=f"{moved:,}"))


async def at_a_rate(scene: Scene) -> None:
    count = RATE * RATE_FOR_S
    await scene.make_queue("slow")
    await bury(scene.nats, scene.name("slow"), range(count))
    await scene.redrive("slow", "slow", rate={"tasks": RATE})

    async def begun() -> bool:
        return await stored(scene.nats, scene.name("slow")) < count

    async def emptied() -> bool:
        return await stored(scene.nats, scene.name("slow")) == 0

    await scene.until(begun)
    began = time.monotonic()
    await scene.until(emptied)
    took = time.monotonic() - began
    off = abs(count / took / RATE - 1)
    note = f"{count / took:,.1f}/s instead of {RATE}/s"
    scene.figures.append(Figure("off the stated rate", 100 * off, "%", 100 * MOST_OFF, note=note))


async def while_killed(scene: Scene, kills: int) -> None:
    operator = scene.stage.operator
    if operator is None:
        return
    await scene.make_queue("killed")
    await bury(scene.nats, scene.name("killed"), range(scene.letters))
    await scene.redrive("killed", "killed")
    for number in range(kills):
        goal = scene.letters * (number + 1) / (kills + 1) * random.uniform(0.9, 1.0)

        async def far_enough(goal: float = goal) -> bool:
            return scene.letters - await stored(scene.nats, scene.name("killed")) >= goal

        await scene.until(far_enough)
        await operator.kill()
        await operator.start()
    await scene.until(lambda: scene.is_done("killed"))
    moved = (await scene.status("killed"))["moved"]
    count, distinct = await scene.tasks("killed")
    wrong = abs(count - scene.letters) + count - distinct + abs(moved - count)
    scene.figures.append(Figure(f"lost, doubled or miscounted through {kills} kills", wrong, "", 0))


async def main(options: argparse.Namespace) -> None:
    title = f"Redrive, {machine()}"
    async with staged(options) as stage, namespace(stage) as place:
        client = await nats.connect(stage.nats_url, pending_size=64 << 20)
        scene = Scene(stage, place, client, options.letters)
        await at_full_speed(scene)
        await with_a_filter(scene)
        await at_a_rate(scene)
        await while_killed(scene, options.kills)
        await client.close()
    show(title, scene.figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--letters", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    add_arguments(parser)
    run(main(parser.parse_args()), LIMIT_S)

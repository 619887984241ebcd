"""A real server and memory: where what holds on one is to hold on the other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import protoqueue
from provisioning import GroupSpec, QueueSpec


@dataclass
class Backend:
    """One place for queues: `set_up(queue, *groups)` makes a queue or changes it."""

    client: protoqueue.Client
    url: str | None
    set_up: Callable[..., Awaitable[None]]

    async def queue(self, spec: QueueSpec, *groups: GroupSpec) -> protoqueue.Queue:
        await self.set_up(spec, *(groups or (GroupSpec(),)))
        return await self.client.queue(str(spec.queue))


def worker_of(backend: Backend, queue: protoqueue.Queue, group: str = "mailers", **options: Any) -> protoqueue.Worker:
    return protoqueue.Worker(queue.name, group=group, url=backend.url, **options)


async def letters_of(queue: protoqueue.Queue) -> list[protoqueue.DeadLetter]:
    return [letter async for letter in queue.dead_letters()]


async def is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 0)

"""A real server and memory: where what holds on one is to hold on the other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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

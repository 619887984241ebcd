"""Workers on virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from protoqueue.broker import Broker
from protoqueue.protocol.config import GroupSettings, QueueSettings, RateLimit
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.ratelimit.limiter import Limiter

QUEUE = QueueName("default", "email")


def limit(tasks: int, per_s: float = 1, burst: int = 0, scope: str = "Queue") -> RateLimit:
    return RateLimit(tasks, per_s, burst, scope)


def update(limiter: Limiter, queue: RateLimit | None, group: RateLimit | None, name: str = "mailers") -> None:
    """As the settings of queue and group do."""
    limiter.update(
        QueueSettings(QUEUE, "stream", "later", "dead", rate_limit=queue),
        GroupSettings(GroupName(QUEUE, name), (), rate_limit=group),
    )


class Worker:
    """Starts tasks as fast as its limiter lets it, up to `slots` at once, and notes when."""

    def __init__(self, broker: Broker, queue=None, group=None, name: str = "mailers", slots: int = 10) -> None:
        self.limiter = Limiter(broker)
        update(self.limiter, queue, group, name)
        self.slots = slots
        self.starts: list[float] = []

    async def work(self, handler_s: float = 0) -> None:
        async with asyncio.TaskGroup() as slots:
            for _ in range(self.slots):
                slots.create_task(self._run_slot(handler_s))

    async def _run_slot(self, handler_s: float) -> None:
        while True:
            assert await self.limiter.acquire()
            self.starts.append(asyncio.get_running_loop().time())
            await asyncio.sleep(handler_s)


@contextlib.asynccontextmanager
async def at_work(workers: Sequence[Worker], handler_s: float = 0) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.work(handler_s)) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def all_starts(workers: Sequence[Worker]) -> list[float]:
    return sorted(start for worker in workers for start in worker.starts)


def within(starts: Sequence[float], begin_s: float, end_s: float) -> int:
    return sum(begin_s <= start < end_s for start in starts)

"""Workers on virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from google.protobuf.duration_pb2 import Duration

from protoqueue.naming import GroupName, QueueName
from protoqueue.ratelimit.limiter import Limiter
from protoqueue.ratelimit.store import Store
from protoqueue.v1.config_pb2 import RateLimit

GROUP = GroupName(QueueName("default", "email"), "mailers")


def limit(tasks: int, per_s: float = 1, burst: int = 0, scope: str = "Queue") -> RateLimit:
    seconds, fraction = divmod(per_s, 1)
    per = Duration(seconds=int(seconds), nanos=round(fraction * 1e9))
    return RateLimit(tasks=tasks, per=per, burst=burst, scope=scope)


class Worker:
    """Starts tasks as fast as its limiter lets it, up to `slots` at once, and notes when."""

    def __init__(self, store: Store, queue=None, group=None, name: str = "mailers", slots: int = 10) -> None:
        self.limiter = Limiter(GroupName(GROUP.queue, name), store)
        self.limiter.update(queue, group)
        self.slots = slots
        self.starts: list[float] = []

    async def work(self, handler_s: float = 0) -> None:
        while True:
            granted = await self.limiter.acquire(self.slots)
            self.starts += [asyncio.get_running_loop().time()] * granted
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

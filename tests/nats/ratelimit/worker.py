"""A worker process: starts imaginary tasks as its limiter allows and prints when, by the machine's clock.

Arguments: NATS URL, tasks, burst (per second). Each line on standard input, "tasks burst", changes the limit.
"""

import asyncio
import sys
import time

from protoqueue.connection import ConnectionOptions, JetStreamBroker
from protoqueue.gate import BrokerStore
from protoqueue.naming import GroupName, QueueName
from protoqueue.ratelimit import Limiter
from protoqueue.v1.config_pb2 import RateLimit

SLOTS = 20


def limit(tasks: str, burst: str) -> RateLimit:
    setting = RateLimit(tasks=int(tasks), burst=int(burst), scope="Queue")
    setting.per.FromSeconds(1)
    return setting


async def work(limiter: Limiter) -> None:
    while True:
        granted = await limiter.acquire(SLOTS)
        now = time.monotonic()
        sys.stdout.write(f"{now!r}\n" * granted)
        sys.stdout.flush()
        await asyncio.sleep(0)


async def obey(limiter: Limiter) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        limiter.update(limit(*line.split()), None)


async def main(url: str, tasks: str, burst: str) -> None:
    broker = await JetStreamBroker.connect(ConnectionOptions(url), 5)
    limiter = Limiter(GroupName(QueueName("default", "email"), "mailers"), BrokerStore(broker))
    limiter.update(limit(tasks, burst), None)
    working = asyncio.create_task(work(limiter))
    await obey(limiter)
    working.cancel()
    await broker.close()


asyncio.run(main(*sys.argv[1:]))

"""A worker process: starts imaginary tasks as its limiter allows and prints when, by the machine's clock.

Arguments: NATS URL, tasks, burst (per second). Each line on standard input, "tasks burst", changes the limit, and a
line "changed TIME" says from when on it holds here. A line "late S" says that the machine has let this process wait for
S seconds, longer than ever before.
"""

import asyncio
import sys
import time

from protoqueue.broker import ConnectionOptions, JetStreamBroker
from protoqueue.protocol.config import GroupSettings, QueueSettings, RateLimit
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.ratelimit import Limiter

SLOTS = 20
QUEUE = QueueName("default", "email")


def update(limiter: Limiter, tasks: str, burst: str) -> None:
    limit = RateLimit(int(tasks), 1, int(burst), "Queue")
    limiter.update(
        QueueSettings(QUEUE, "stream", "later", "dead", rate_limit=limit),
        GroupSettings(GroupName(QUEUE, "mailers"), ()),
    )


async def work(limiter: Limiter) -> None:
    while await limiter.acquire():
        say(repr(time.monotonic()))
        await asyncio.sleep(0)


async def obey(limiter: Limiter) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        update(limiter, *line.split())
        say(f"changed {time.monotonic()!r}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def watch() -> None:
    longest, pause_s = 0.0, 0.005
    while True:
        began = time.monotonic()
        await asyncio.sleep(pause_s)
        if (late := time.monotonic() - began - pause_s) > longest:
            longest = late
            say(f"late {late!r}")


async def main(url: str, tasks: str, burst: str) -> None:
    broker = await JetStreamBroker.connect(ConnectionOptions(url), 5)
    limiter = Limiter(broker)
    update(limiter, tasks, burst)
    watching = asyncio.create_task(watch())
    slots = [asyncio.create_task(work(limiter)) for _ in range(SLOTS)]
    await obey(limiter)
    limiter.close()
    await asyncio.gather(*slots)
    watching.cancel()
    await broker.close()


asyncio.run(main(*sys.argv[1:]))

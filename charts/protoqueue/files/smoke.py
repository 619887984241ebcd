"""What `helm test` runs: a task put into a fresh Queue is counted, so API server, operator, NATS and SDK work."""

import asyncio
import os
import time

import protoqueue


async def main() -> None:
    name = os.environ["PROTOQUEUE_QUEUE"]
    deadline = time.monotonic() + 60
    async with await protoqueue.connect() as client:
        while True:
            try:
                queue = await client.queue(name)
                break
            except protoqueue.QueueNotFound:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)  # the operator is told of the Queue at the same moment as we are
        receipt = await queue.enqueue({"from": "helm test"})
        stats = await queue.stats()
        print(f"enqueued {receipt.id} into {name}, {stats.waiting} ready")
        if stats.waiting < 1:
            raise SystemExit(f"{name} holds no task although one was stored")


asyncio.run(main())

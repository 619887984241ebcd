"""Which queues there are in this NATS account."""

import asyncio

from protoqueue.broker import Broker
from protoqueue.broker.config_watch import READ_TIMEOUT_S
from protoqueue.protocol.buckets import CONFIG_BUCKET

_CONCURRENT_READS = 32


async def existing_queues(broker: Broker) -> list[str]:
    """As `namespace/name`, sorted. Raises Unavailable."""
    keys = [key for key in await broker.keys(CONFIG_BUCKET, "", READ_TIMEOUT_S) if key.count(".") == 1]
    reading = asyncio.Semaphore(_CONCURRENT_READS)

    async def exists(key: str) -> bool:
        async with reading:
            return (await broker.read_key(CONFIG_BUCKET, key, READ_TIMEOUT_S)).value is not None

    there = await asyncio.gather(*map(exists, keys))
    return sorted(key.replace(".", "/") for key, is_there in zip(keys, there, strict=True) if is_there)

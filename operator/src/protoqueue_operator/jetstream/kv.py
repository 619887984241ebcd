"""The key-value buckets of the contract: created once per connection, read and written key by key."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from protoqueue.protocol.buckets import CONFIG_BUCKET, DONE_BUCKET, RATE_BUCKET, SAMPLES_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.samples import COARSE
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable
from protoqueue_operator.jetstream.assets import nanoseconds
from protoqueue_operator.jetstream.client import JetStream


@dataclass(frozen=True)
class Bucket:
    name: str
    storage: str = "file"
    ttl: timedelta = timedelta(0)


BUCKETS = (
    Bucket(CONFIG_BUCKET),
    Bucket(RATE_BUCKET, storage="memory"),
    Bucket(DONE_BUCKET, ttl=timedelta(days=1)),
)
"""Finished tasks are remembered for a day: longer than any redelivery can take."""

SAMPLES = Bucket(SAMPLES_BUCKET, ttl=timedelta(seconds=COARSE.slots * COARSE.block_s))
"""Created apart from the others: a queue works without it."""


class ConfigBucket:
    """The bucket `pq-config` of one connection. Every method raises BrokerUnavailable and BrokerRefused."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._is_there = False
        self._replicas = 1
        self._ensuring = asyncio.Lock()

    async def get(self, key: str) -> bytes | None:
        """The value of the key; None without one."""
        await self._ensure()
        return _value(await self._jetstream.last_message(_stream(CONFIG_BUCKET), _subject(key)))

    async def put(self, key: str, value: bytes) -> None:
        await self._ensure()
        await self._publish(key, value, {})

    async def purge(self, key: str) -> None:
        """Delete the key, leaving a marker for watchers; creates no bucket for that."""
        if not self._is_there and await self._jetstream.stream(_stream(CONFIG_BUCKET)) is None:
            return
        await self._publish(key, b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"})

    @property
    def replicas(self) -> int:
        return self._replicas

    def replicate(self, replicas: int) -> None:
        """Replicate the bucket as often as a queue, which is worthless without its entry. Never reduced again."""
        if replicas > self._replicas:
            self._replicas, self._is_there = replicas, False

    def doubt(self) -> None:
        """The server was away: what it kept in memory may be gone, so check before the next use."""
        self._is_there = False

    async def _publish(self, key: str, value: bytes, headers: dict[str, str]) -> None:
        try:
            await self._jetstream.publish(_subject(key), value, headers)
        except BrokerUnavailable:
            # There is no answer either if the bucket was deleted: check before the next attempt.
            self.doubt()
            raise

    async def _ensure(self) -> None:
        async with self._ensuring:
            if self._is_there:
                return
            wanted = self._replicas
            for bucket in BUCKETS:
                await ensure_bucket(self._jetstream, bucket, wanted)
            self._is_there = wanted == self._replicas


async def ensure_bucket(jetstream: JetStream, bucket: Bucket, replicas: int) -> None:
    """Create it, or raise its replicas to at least this number. Raises BrokerUnavailable and BrokerRefused."""
    info = await jetstream.stream(_stream(bucket.name))
    if info is None:
        try:
            await jetstream.create_stream(_configuration(bucket, replicas))
        except BrokerRefused:
            # Another connection to the same account may have been first.
            if await jetstream.stream(_stream(bucket.name)) is None:
                raise
    elif info["config"]["num_replicas"] < replicas:
        await jetstream.update_stream(info["config"] | {"num_replicas": replicas})


async def read_noted(jetstream: JetStream, key: str) -> bytes | None:
    """An entry of workers in `pq-done`; None if there is none. Raises BrokerUnavailable and BrokerRefused."""
    return _value(await jetstream.last_message(_stream(DONE_BUCKET), f"$KV.{DONE_BUCKET}.{key}"))


def _value(message: Mapping[str, Any] | None) -> bytes | None:
    if message is None or b"KV-Operation" in base64.b64decode(message.get("hdrs", "")):
        return None
    return base64.b64decode(message.get("data", ""))


def bucket_of(stream: str) -> str | None:
    """The bucket of the contract behind this stream; None for other streams."""
    return next((bucket.name for bucket in BUCKETS if _stream(bucket.name) == stream), None)


def finished_tasks(queue: QueueName) -> tuple[str, str]:
    """Stream and subject of the workers' entries about a queue's tasks in `pq-done`."""
    return _stream(DONE_BUCKET), f"$KV.{DONE_BUCKET}.{queue.config_key}.>"


def samples_of(queue: QueueName) -> tuple[str, str]:
    """Stream and subject of a queue's samples."""
    return _stream(SAMPLES_BUCKET), f"$KV.{SAMPLES_BUCKET}.{queue.config_key}.>"


def sample_block(key: str) -> tuple[str, str]:
    """Stream and subject of one block of samples."""
    return _stream(SAMPLES_BUCKET), f"$KV.{SAMPLES_BUCKET}.{key}"


def seal_entry(group: GroupName) -> tuple[str, str]:
    """Stream and subject of the secret that seals a group's message ids, in `pq-done`."""
    return _stream(DONE_BUCKET), f"$KV.{DONE_BUCKET}.{group.seal_key}"


def _stream(bucket: str) -> str:
    return f"KV_{bucket}"


def _subject(key: str) -> str:
    return f"$KV.{CONFIG_BUCKET}.{key}"


def _configuration(bucket: Bucket, replicas: int) -> dict[str, Any]:
    """As NATS's key-value layer is specified (ADR-8), so that every client library reads it."""
    return {
        "name": _stream(bucket.name),
        "subjects": [f"$KV.{bucket.name}.>"],
        "description": "ProtoQueue",
        "storage": bucket.storage,
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_age": nanoseconds(bucket.ttl),
        "discard": "new",
        "duplicate_window": nanoseconds(min(bucket.ttl, timedelta(minutes=2)) or timedelta(minutes=2)),
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
    }

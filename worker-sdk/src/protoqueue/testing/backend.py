"""Queues in memory, set up as the operator would."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from google.protobuf import json_format

from protoqueue.ambient import use_broker
from protoqueue.client import Client
from protoqueue.durations import to_timedelta
from protoqueue.naming import CONFIG_BUCKET, SCHEDULED_CONSUMER, GroupName, QueueName
from protoqueue.settings import GroupSettings, QueueSettings, parse_group, parse_queue
from protoqueue.testing.memory import MemoryBroker
from protoqueue.testing.streams import Consumer, Stream
from protoqueue.v1 import config_pb2

_LEASE_S = 30.0
_UNLIMITED = 1_000_000_000


class InMemory:
    """A broker in memory, its queues, and a client, with which the broker is closed."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.client = Client(self.broker)

    async def advance(self, duration: float | timedelta) -> None:
        """Move time ahead, by seconds or a timedelta: delayed tasks come due, leases run out, tasks expire."""
        self.broker.advance(to_timedelta(duration).total_seconds())

    def add_queue(self, config: config_pb2.QueueConfig, *, max_tasks: int = -1) -> None:
        """Make a queue; a second call changes its settings."""
        data = json_format.MessageToJson(config).encode()
        settings = parse_queue(data)
        if settings.stream not in self.broker.streams:
            self._add_streams(settings, max_tasks)
        self.broker.put_key(CONFIG_BUCKET, settings.name.config_key, data)

    def _add_streams(self, settings: QueueSettings, max_tasks: int) -> None:
        name = settings.name
        window_s = settings.deduplication_window_s
        later = Stream(settings.later_stream, "workqueue", window_s)
        later.consumers[SCHEDULED_CONSUMER] = Consumer(SCHEDULED_CONSUMER, (name.all_scheduled,), _LEASE_S, _UNLIMITED)
        main = Stream(settings.stream, "interest" if settings.broadcast else "workqueue", window_s, max_tasks)
        self.broker.add_stream(main, name.stream_subjects)
        self.broker.add_stream(later, name.later_subjects)
        self.broker.add_stream(Stream(settings.dead_letter_stream, "limits", window_s), name.dead_letter_subjects)
        self.broker.forward(later, main, name)

    def add_group(self, config: config_pb2.GroupConfig) -> None:
        """Make a consumer group of a queue that was added before; a second call changes its settings."""
        data = json_format.MessageToJson(config).encode()
        settings = parse_group(data)
        queue = parse_queue(self._queue_data(settings.name.queue))
        stream = self.broker.streams[queue.stream]
        for consumer in settings.consumers:
            filters = _filters(settings, queue, consumer.partition if queue.partitions else consumer.level)
            in_flight = 1 if queue.partitions else config.max_in_flight or _UNLIMITED
            made = stream.consumers.setdefault(consumer.name, Consumer(consumer.name, filters, 0, in_flight))
            made.lease_s = settings.visibility_s
        self.broker.put_key(CONFIG_BUCKET, settings.name.config_key, data)

    def _queue_data(self, name: QueueName) -> bytes:
        revision = self.broker.key(CONFIG_BUCKET, name.config_key)
        if revision.value is None:
            raise ValueError(f"add queue {name} before its groups")
        return revision.value


def _filters(group: GroupSettings, queue: QueueSettings, number: int) -> tuple[str, str]:
    first = queue.name.ordered(number) if queue.partitions else queue.name.task(number)
    return first, queue.name.retry(group.name.name if queue.broadcast else "*", number)


@contextlib.asynccontextmanager
async def in_memory(queue: str = "default/test", *, group: str | None = "test") -> AsyncIterator[InMemory]:
    """A backend with one queue of three levels and one group; `add_queue` and `add_group` make others.

    Until the block ends, `connect()` and workers use it, whatever URL they are given.
    """
    memory = InMemory()
    name = QueueName.parse(queue)
    queue_config = config_pb2.QueueConfig(namespace=name.namespace, name=name.name, priority_levels=3)
    queue_config.dead_letter.enabled = True
    memory.add_queue(queue_config)
    if group is not None:
        group_name = GroupName(name, group)
        group_config = config_pb2.GroupConfig(namespace=name.namespace, queue=name.name, name=group)
        for level in (2, 1, 0):
            group_config.consumers.add(name=group_name.level_consumer(level), level=level, weight=2**level)
        memory.add_group(group_config)
    with use_broker(memory.broker):
        try:
            yield memory
        finally:
            await memory.client.close()

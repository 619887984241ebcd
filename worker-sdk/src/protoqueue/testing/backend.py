"""Queues in memory, set up as the operator would."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Unpack

from google.protobuf import json_format

from protoqueue.broker.override import use_broker
from protoqueue.client import Client
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.config import GroupSettings, QueueSettings, parse_group, parse_queue
from protoqueue.protocol.consumer_names import SCHEDULED_CONSUMER, slot_of_consumer
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.subjects import Slot
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing.memory import MemoryBroker
from protoqueue.testing.shapes import (
    GroupOptions,
    GroupShape,
    HistoryShape,
    Options,
    QueueOptions,
    QueueShape,
    consumers,
    read_manifests,
    read_shape,
)
from protoqueue.testing.streams import Consumer, Stream

_LEASE_S = 30.0
_UNLIMITED = 1_000_000_000
_OF_GROUPS = frozenset(GroupOptions.__annotations__) - frozenset(QueueOptions.__annotations__)


class InMemory:
    """A broker in memory, its queues, and a client, with which the broker is closed."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.client = Client(self.broker)

    async def advance(self, duration: float | timedelta) -> None:
        """Move time ahead, by seconds or a timedelta, for the queues, their clients and workers.

        Delayed tasks and retries come due, tasks expire, leases run out, rate limits yield.
        """
        self.broker.advance(duration)

    def add_queue(
        self, queue: str | config_pb2.QueueConfig, *, max_tasks: int | None = None, **options: Unpack[QueueOptions]
    ) -> None:
        """Make the queue `namespace/name`; a second call changes its settings.

        `options` are the fields of a Queue's `spec`, in Python's spelling: `priority_levels=5`,
        `ordering={"partitions": 4}`, `limits={"max_tasks": 50}`. Raises ConfigurationError for what they cannot be.
        """
        if isinstance(queue, str):
            self._add_queue(_queue_name(queue), read_shape(QueueShape, f"queue {queue}", options), None, max_tasks)
        else:
            self._add_queue(QueueName(queue.namespace, queue.name), QueueShape(), queue, max_tasks)

    def _add_queue(
        self, name: QueueName, shape: QueueShape, config: config_pb2.QueueConfig | None, max_tasks: int | None = None
    ) -> None:
        made = shape.config(name) if config is None else config_pb2.QueueConfig.FromString(config.SerializeToString())
        if not made.ordering_partitions:  # in one stream, whatever limits it has
            made.stream = made.later_stream = name.stream
        data = json_format.MessageToJson(made).encode()
        settings = parse_queue(data)
        main = self.broker.streams.get(settings.stream) or self._add_streams(settings)
        limits, max_age_s = shape.limits, settings.max_age_s
        main.max_messages = next((n for n in (max_tasks, limits.max_tasks) if n is not None), -1)
        main.drops_oldest = limits.on_full == "DropOldest"
        main.max_age_s = limits.max_age.total_seconds() if limits.max_age else max_age_s or float("inf")
        new = name.stream_subjects(settings.priority_levels, settings.partitions, settings.lanes)
        later = name.later_subjects(settings.priority_levels, settings.partitions, settings.lanes)
        if settings.takes_unique:
            later = (*later, *name.unique_subjects(settings.priority_levels, settings.lanes))
        if settings.is_sourced:
            self.broker.route(settings.stream, new)
            self.broker.route(settings.later_stream, later)
        else:
            self.broker.route(settings.stream, (*new, *later))
        self._keep_history(settings, shape.history or HistoryShape())
        self.broker.put_key(CONFIG_BUCKET, settings.name.config_key, data)

    def _keep_history(self, settings: QueueSettings, shape: HistoryShape) -> None:
        stream = settings.name.history_stream
        if settings.history is None:
            self.broker.remove_stream(stream)
            return
        if stream not in self.broker.streams:
            self.broker.add_stream(Stream(stream, "limits", 0.0), (settings.name.all_records,))
        kept = self.broker.streams[stream]
        kept.drops_oldest, kept.max_messages = True, shape.max_tasks
        kept.max_age_s = shape.max_age.total_seconds()

    def _add_streams(self, settings: QueueSettings) -> Stream:
        name = settings.name
        window_s = settings.deduplication_window_s
        retention = "interest" if settings.broadcast else "workqueue"
        if settings.is_sourced:
            main = Stream(settings.stream, retention, window_s)
            later = Stream(settings.later_stream, "workqueue", window_s)
            self.broker.add_stream(later, ())
            self.broker.forward(later, main, name)
        else:
            limited = [subject for subject in name.waiting_subjects(ordered=False) if subject != name.all_due]
            main = later = Stream(settings.stream, retention, window_s, limited)
        self.broker.add_stream(main, ())
        later.consumers[SCHEDULED_CONSUMER] = Consumer(SCHEDULED_CONSUMER, (name.all_scheduled,), _LEASE_S, _UNLIMITED)
        self.broker.add_stream(Stream(settings.dead_letter_stream, "limits", window_s), name.dead_letter_subjects)
        return main

    def add_group(
        self, queue: str | config_pb2.GroupConfig, group: str | None = None, **options: Unpack[GroupOptions]
    ) -> None:
        """Make the consumer group `group` of a queue that was added before; a second call changes its settings.

        `options` are the fields of a ConsumerGroup's `spec`, in Python's spelling: `exactly_once=True`,
        `retry={"max_attempts": 3}`, `rate_limit={"tasks": 10, "per": 1}`. Raises ConfigurationError.
        """
        if isinstance(queue, str):
            name = _group_name(queue, group)
            self._add_group(name, read_shape(GroupShape, f"group {name}", options))
            return
        if stray := set(options) - {"start_from"}:
            raise ConfigurationError(f"remove {sorted(stray)}: the GroupConfig sets it")
        name = GroupName(QueueName(queue.namespace, queue.queue), queue.name)
        config = config_pb2.GroupConfig()
        config.CopyFrom(queue)
        if not config.consumers:
            config.consumers.extend(consumers(name, self._queue_config(name.queue)))
        self._put_group(config, starts_now=options.get("start_from") == "New")

    def _add_group(self, name: GroupName, shape: GroupShape) -> None:
        self._put_group(shape.config(name, self._queue_config(name.queue)), starts_now=shape.start_from == "New")

    def _put_group(self, config: config_pb2.GroupConfig, starts_now: bool) -> None:
        del config.moved[:]
        for each in config.consumers:
            each.stream = ""
        data = json_format.MessageToJson(config).encode()
        settings = parse_group(data)
        queue = parse_queue(self._queue_data(settings.name.queue))
        stream = self.broker.streams[queue.stream]
        for consumer in settings.consumers:
            filters = _filters(settings, queue, slot_of_consumer(consumer.name) or "")
            cursor = stream.last_sequence if starts_now and queue.broadcast else 0
            made = stream.consumers.setdefault(consumer.name, Consumer(consumer.name, filters, 0, 1, cursor))
            made.max_in_flight = 1 if queue.partitions else config.max_in_flight or _UNLIMITED
            made.lease_s = settings.visibility_s
            made.paused = settings.paused or queue.paused
        self.broker.put_key(CONFIG_BUCKET, settings.name.config_key, data)

    def _queue_data(self, name: QueueName) -> bytes:
        revision = self.broker.key(CONFIG_BUCKET, name.config_key)
        if revision.value is None:
            raise ConfigurationError(f"queue {name} does not exist in memory: add it before its groups")
        return revision.value

    def _queue_config(self, name: QueueName) -> config_pb2.QueueConfig:
        return json_format.Parse(self._queue_data(name), config_pb2.QueueConfig())

    def apply(self, manifests: str | Path) -> None:
        """Make the Queues and ConsumerGroups of a YAML file or a folder of such, or change them, as kubectl would.

        Fields that have no effect in memory are left out, `schedules` and `autoscale` among them.
        """
        queues, groups = read_manifests(manifests)
        for queue_name, queue in queues.items():
            self._add_queue(queue_name, queue, None)
        for group_name, group in groups.items():
            self._add_group(group_name, group)


def _queue_name(text: str) -> QueueName:
    try:
        return QueueName.parse(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _group_name(queue: str, group: str | None) -> GroupName:
    try:
        return GroupName.parse(_queue_name(queue), group or "")
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _filters(group: GroupSettings, queue: QueueSettings, slot: Slot) -> tuple[str, ...]:
    first = queue.name.ordered(slot) if queue.partitions else queue.name.task(slot)
    new = (first, queue.name.retry(group.name.name if queue.broadcast else "*", slot))
    if queue.is_sourced:
        return new
    unique = (queue.name.unique_waiting("*", slot),) if queue.takes_unique else ()
    return (*new, *map(queue.name.due, new), *unique)


@contextlib.asynccontextmanager
async def in_memory(
    queue: str | None = None,
    *,
    group: str | None = "test",
    manifests: str | Path | None = None,
    **options: Unpack[Options],
) -> AsyncIterator[InMemory]:
    """A backend with the queues of `manifests`, or with one queue (`default/test`) and one `group` of it.

    `options` are fields of its Queue's and ConsumerGroup's `spec`, as `add_queue` and `add_group` take them, which make
    others. Until the block ends, `connect()` and workers use it, whatever URL they are given.
    """
    memory = InMemory()
    if manifests is not None:
        if queue is not None or options:
            raise ConfigurationError("the queues are given by manifests: add others with add_queue")
        memory.apply(manifests)
    else:
        queue = queue or "default/test"
        of_queue: Any = {key: value for key, value in options.items() if key not in _OF_GROUPS}
        of_group: Any = {key: value for key, value in options.items() if key in _OF_GROUPS}
        memory.add_queue(queue, **of_queue)
        if group is not None:
            memory.add_group(queue, group, **of_group)
    with use_broker(memory.broker):
        try:
            yield memory
        finally:
            await memory.client.close()

"""What may be holding up the tasks of a queue: the facts behind `protoqueue why`."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from protoqueue.admin.places import first_messages
from protoqueue.admin.stats import QueueStats, read_consumers, read_stats
from protoqueue.broker import Broker, ConsumerState
from protoqueue.broker.config_watch import read_settings
from protoqueue.protocol.config import QueueSettings, RateLimit, parse_group
from protoqueue.protocol.consumer_names import group_of_consumer
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.task_codec import read_task
from protoqueue.task import Task


@dataclass(frozen=True)
class BusyPartition:
    """A partition of an ordered queue in which tasks wait behind one that is in flight or waiting for its retry."""

    group: str
    number: int
    waiting: int
    since: datetime
    """The earliest time at which that task can have become the first."""
    task: Task | None


@dataclass(frozen=True)
class Inspection:
    """What was found in a queue."""

    stats: QueueStats
    redelivered: Mapping[str, int]
    """By group, the tasks in flight that have been delivered before."""
    partitions: Sequence[BusyPartition]
    rate_limits: Mapping[str, RateLimit]
    """By group; the queue's own has an empty name."""


async def inspect_queue(broker: Broker, queue: QueueSettings, timeout_s: float) -> Inspection:
    """Raises QueueNotFound when the stream is gone, and Unavailable."""
    stats = await read_stats(broker, queue, timeout_s)
    consumers = await read_consumers(broker, queue, timeout_s)
    redelivered: Counter[str] = Counter()
    for consumer in consumers:
        if (belongs := group_of_consumer(consumer.name)) is not None:
            redelivered[belongs[0]] += consumer.redelivered
    partitions = await _busy_partitions(broker, queue, consumers, timeout_s) if queue.partitions else []
    return Inspection(stats, redelivered, partitions, await _rate_limits(broker, queue, sorted(stats.groups)))


async def _busy_partitions(
    broker: Broker, queue: QueueSettings, consumers: Sequence[ConsumerState], timeout_s: float
) -> list[BusyPartition]:
    """Those that have waited longest first."""

    async def look(consumer: ConsumerState, group: str, number: int) -> BusyPartition | None:
        subjects = (queue.name.ordered(number), queue.name.retry("*", number))
        places = [(queue.stream, subject) for subject in subjects]
        found = (await first_messages(broker, dict.fromkeys(places, 1), timeout_s)).values()
        first = min(found, key=lambda message: message.sequence, default=None)
        if first is None:
            return None
        since = max(first.stored_at, consumer.acked_at or first.stored_at)
        return BusyPartition(
            group, number, consumer.pending, since, read_task(first.data, first.headers, first.sequence, first.stream)
        )

    busy = [each for each in consumers if each.in_flight and each.pending]
    named = [(each, belongs) for each in busy if (belongs := group_of_consumer(each.name)) is not None]
    found = await asyncio.gather(*(look(each, *belongs) for each, belongs in named))
    return sorted((each for each in found if each is not None), key=lambda each: each.since)


async def _rate_limits(broker: Broker, queue: QueueSettings, groups: Sequence[str]) -> dict[str, RateLimit]:
    found = {"": queue.rate_limit}
    for name in groups:
        settings = await read_settings(broker, GroupName(queue.name, name).config_key, parse_group)
        found[name] = settings.rate_limit if settings else None
    return {name: limit for name, limit in found.items() if limit is not None and limit.tasks}

"""How much a queue holds."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from protoqueue.admin.places import Place, first_messages
from protoqueue.broker import Broker, ConsumerState
from protoqueue.errors import PermissionDenied, QueueNotFound
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.consumer_names import SCHEDULED_CONSUMER, group_of_consumer
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.throttle import ThrottledUntil, read_throttle


@dataclass(frozen=True)
class GroupStats:
    """One consumer group; `levels` maps each level (or partition) to its waiting tasks.

    A group that is `paused`, or whose queue is, gets no tasks.
    """

    waiting: int = 0
    in_flight: int = 0
    levels: dict[int, int] = field(default_factory=dict)
    paused: bool = False
    throttled_until: datetime | None = None
    """While a handler's `Throttle` keeps the group from starting tasks: until when, and its text."""
    throttle_reason: str = ""


@dataclass(frozen=True)
class QueueStats:
    """Tasks `waiting` for a worker, `in_flight` with one, and `scheduled`: not yet due, retries among them.

    In a Broadcast queue `waiting` and `in_flight` are sums over its groups. `oldest_age` is the age of the oldest
    waiting or in-flight task; that of a delayed one counts from when it was due. While the queue is `paused` no group
    gets tasks.
    """

    waiting: int
    in_flight: int
    scheduled: int
    dead: int
    oldest_age: timedelta | None
    levels: dict[int, int]
    groups: dict[str, GroupStats]
    paused: bool = False


@dataclass(frozen=True)
class Progress:
    """Tasks ever `stored` for workers, and `removed` again: the difference between two readings is a rate.

    Both are derived from deliveries: a repeated one counts again.
    """

    stored: int
    removed: int


async def read_progress(broker: Broker, queue: QueueSettings, timeout_s: float) -> Progress:
    """Raises QueueNotFound when the stream is gone, and Unavailable. Of a Broadcast queue, of its busiest group."""
    consumers = await read_consumers(broker, queue, timeout_s)
    stored = 0 if _by_group(consumers) else sum((await _counted(broker, queue, consumers, timeout_s)).values())
    return count_progress(consumers, stored)


def count_progress(consumers: Sequence[ConsumerState], stored: int) -> Progress:
    """Pure. `stored` is the number of tasks in the streams, which is all that is known of a queue without a group."""
    groups = _by_group(consumers).values()
    if not groups:
        return Progress(stored, 0)
    return Progress(
        stored=max(sum(one.delivered + one.pending for _, one in each) for each in groups),
        removed=max(sum(one.delivered - one.in_flight for _, one in each) for each in groups),
    )


async def read_stats(broker: Broker, queue: QueueSettings, timeout_s: float) -> QueueStats:
    """Raises QueueNotFound when the stream is gone, and Unavailable."""
    consumers = await read_consumers(broker, queue, timeout_s)
    counted = await _counted(broker, queue, consumers, timeout_s)
    oldest = await first_messages(broker, {place: 1 for place, count in counted.items() if count}, timeout_s)
    dead = await broker.stream_state(queue.dead_letter_stream, timeout_s)
    oldest_at = min((message.stored_at for message in oldest.values()), default=None)
    stats = summarize(queue, sum(counted.values()), oldest_at, consumers, dead.messages if dead else 0, broker.now())
    return await with_throttles(broker, queue, stats, timeout_s)


async def with_throttles(broker: Broker, queue: QueueSettings, stats: QueueStats, timeout_s: float) -> QueueStats:
    """The same, and which groups start nothing because a handler said so. Raises Unavailable."""
    throttles = await asyncio.gather(
        *(read_group_throttle(broker, GroupName(queue.name, name), timeout_s) for name in stats.groups)
    )
    return replace(stats, groups=dict(map(_throttled, stats.groups.items(), throttles)))


def _throttled(group: tuple[str, GroupStats], throttle: ThrottledUntil | None) -> tuple[str, GroupStats]:
    name, counts = group
    if throttle is None:
        return group
    return name, replace(counts, throttled_until=throttle.until, throttle_reason=throttle.why)


async def read_group_throttle(broker: Broker, group: GroupName, timeout_s: float) -> ThrottledUntil | None:
    """None if the group may start tasks, and if this user may not read that. Raises Unavailable."""
    try:
        entry = await broker.read_key(DONE_BUCKET, group.throttle_key, timeout_s)
    except PermissionDenied:
        return None
    throttle = read_throttle(entry.value)
    return throttle if throttle is not None and throttle.until > broker.now() else None


async def _counted(
    broker: Broker, queue: QueueSettings, consumers: Sequence[ConsumerState], timeout_s: float
) -> dict[Place, int]:
    """How many tasks wait or run, by where they are stored.

    The server counts by subject. Tasks with a unique key, each on its own subject, are the remainder.
    """
    places, others = list(queue.waiting), list[Place]()
    later = queue.later_stream
    all_due, unique = (later, queue.name.all_due), (later, queue.name.unique_waiting("*", "*"))
    counters = [each for each in consumers if each.name == SCHEDULED_CONSUMER]
    counts_rest = queue.takes_unique and len(counters) == 1 and all_due in places
    if counts_rest:
        due = (queue.name.due(queue.name.task("*")), queue.name.due(queue.name.retry("*", "*")))
        places = [place for place in places if place != all_due] + [(later, subject) for subject in due]
        others = [(later, queue.name.all_recurring), (later, queue.name.all_checkpoints)]
    asked = (*places, *others)
    found = await asyncio.gather(*(broker.count_messages(*place, timeout_s) for place in asked))
    if any(stream == queue.stream and count is None for (stream, _), count in zip(asked, found, strict=True)):
        raise QueueNotFound(
            f"the stream of queue {queue.name} does not exist: check that the Queue has not been deleted"
        )
    counts = {place: count or 0 for place, count in zip(asked, found, strict=True)}
    if counts_rest:
        state = await broker.stream_state(later, timeout_s)
        told = sum(count for (stream, _), count in counts.items() if stream == later)
        counts[unique] = max(0, (state.messages if state else 0) - told - counters[0].pending)
    return {place: count for place, count in counts.items() if place not in others}


async def read_consumers(broker: Broker, queue: QueueSettings, timeout_s: float) -> list[ConsumerState]:
    """Those of all streams of a queue; raises Unavailable."""
    found = await asyncio.gather(*(broker.consumer_states(stream, timeout_s) for stream in queue.streams))
    return [consumer for consumers in found for consumer in consumers]


def _by_group(consumers: Sequence[ConsumerState]) -> dict[str, list[tuple[int, ConsumerState]]]:
    """The consumers of each group, with their levels or partitions."""
    groups: defaultdict[str, list[tuple[int, ConsumerState]]] = defaultdict(list)
    for consumer in consumers:
        if (belongs := group_of_consumer(consumer.name)) is not None:
            groups[belongs[0]].append((belongs[1], consumer))
    return groups


def summarize(
    queue: QueueSettings,
    stored: int,
    oldest_at: datetime | None,
    consumers: Sequence[ConsumerState],
    dead: int,
    now: datetime,
) -> QueueStats:
    """Pure. From how many tasks are `stored` that are not scheduled, and the consumers of all streams.

    Tasks that no consumer holds yet, as in a queue without a group, are waiting too.
    """
    groups = _by_group(consumers)
    scheduled = sum(consumer.pending for consumer in consumers if consumer.name == SCHEDULED_CONSUMER)
    by_group = {
        name: GroupStats(
            waiting=sum(state.pending for _, state in members),
            in_flight=sum(state.in_flight for _, state in members),
            levels=_by_level(members),
            paused=queue.paused or all(state.paused for _, state in members),
        )
        for name, members in groups.items()
    }
    in_flight = sum(group.in_flight for group in by_group.values())
    waiting = sum(group.waiting for group in by_group.values())
    if not queue.broadcast:
        waiting = max(0, stored - in_flight)
    levels: defaultdict[int, int] = defaultdict(int)
    for group in by_group.values():
        for number, count in group.levels.items():
            levels[number] += count
    oldest = max(timedelta(), now - oldest_at) if oldest_at and waiting + in_flight else None
    return QueueStats(waiting, in_flight, scheduled, dead, oldest, dict(levels), by_group, queue.paused)


def _by_level(members: Sequence[tuple[int, ConsumerState]]) -> dict[int, int]:
    """How many tasks wait per level, over all streams."""
    levels: defaultdict[int, int] = defaultdict(int)
    for number, state in sorted(members, key=lambda member: member[0]):
        levels[number] += state.pending
    return dict(levels)

"""How much a queue holds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from protoqueue.connection import Broker, ConsumerState, StreamState
from protoqueue.errors import QueueNotFound
from protoqueue.naming import SCHEDULED_CONSUMER, group_of_consumer
from protoqueue.settings import QueueSettings


@dataclass(frozen=True)
class GroupStats:
    """One consumer group; `levels` maps each level (or partition) to its ready tasks."""

    ready: int = 0
    in_flight: int = 0
    levels: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class QueueStats:
    """`ready` waits for a worker, `in_flight` is with one, `scheduled` is not yet due (waiting retries are among them).

    In a Broadcast queue `ready` and `in_flight` are sums over its groups. `oldest_age` is that of the oldest task that
    is ready or in flight.
    """

    ready: int
    in_flight: int
    scheduled: int
    dead: int
    oldest_age: timedelta | None
    levels: dict[int, int]
    groups: dict[str, GroupStats]


async def read_stats(broker: Broker, queue: QueueSettings, timeout_s: float) -> QueueStats:
    """Raises QueueNotFound when the stream is gone, and Unavailable."""
    stream = await broker.stream_state(queue.stream, timeout_s)
    if stream is None:
        raise QueueNotFound(f"the stream of queue {queue.name} is gone: has the Queue been deleted?")
    consumers = await broker.consumer_states(queue.stream, timeout_s)
    later = await broker.consumer_states(queue.later_stream, timeout_s)
    dead = await broker.stream_state(queue.dead_letter_stream, timeout_s)
    scheduled = sum(consumer.pending for consumer in later if consumer.name == SCHEDULED_CONSUMER)
    return summarize(queue, stream, consumers, scheduled, dead.messages if dead else 0, datetime.now(UTC))


def summarize(
    queue: QueueSettings,
    stream: StreamState,
    consumers: Sequence[ConsumerState],
    scheduled: int,
    dead: int,
    now: datetime,
) -> QueueStats:
    """Pure. Tasks of a work queue that no consumer holds yet, as those of a queue without a group, are ready too."""
    groups: defaultdict[str, list[tuple[int, ConsumerState]]] = defaultdict(list)
    for consumer in consumers:
        if (belongs := group_of_consumer(consumer.name)) is not None:
            groups[belongs[0]].append((belongs[1], consumer))
    by_group = {
        name: GroupStats(
            ready=sum(state.pending for _, state in members),
            in_flight=sum(state.in_flight for _, state in members),
            levels={number: state.pending for number, state in sorted(members, key=lambda member: member[0])},
        )
        for name, members in groups.items()
    }
    in_flight = sum(group.in_flight for group in by_group.values())
    ready = sum(group.ready for group in by_group.values())
    if not queue.broadcast:
        ready = max(0, stream.messages - in_flight)
    levels: defaultdict[int, int] = defaultdict(int)
    for group in by_group.values():
        for number, count in group.levels.items():
            levels[number] += count
    oldest = max(timedelta(), now - stream.first_at) if stream.first_at and ready + in_flight else None
    return QueueStats(ready, in_flight, scheduled, dead, oldest, dict(levels), by_group)

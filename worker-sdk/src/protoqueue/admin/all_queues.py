"""What all queues hold, for callers that poll.

One listing of the streams shows which queues have changed. Only these are read in detail, and those that hold tasks: a
task that goes from waiting to in flight changes no stream.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from protoqueue.admin.places import first_messages
from protoqueue.admin.stats import (
    Progress,
    QueueStats,
    count_progress,
    read_consumers,
    summarize,
    with_throttles,
)
from protoqueue.broker import Broker, StreamState
from protoqueue.broker.config_watch import read_settings
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.config import QueueSettings, parse_queue
from protoqueue.protocol.consumer_names import SCHEDULED_CONSUMER
from protoqueue.protocol.names import QueueName

_AT_ONCE = 32
_STALE_LOOKS = 40
"""Number of reads after which a queue's settings and recurring schedules are read again."""
_UNKNOWN_LOOKS = 4
"""The same for a stream without a known queue: the queue may be under construction, or the stream left behind."""


@dataclass(frozen=True)
class QueueOverview:
    """What one queue holds, and what has passed through it.

    `oldest_at` is when the oldest waiting or in-flight task was stored; for a delayed task, when it came due.
    """

    stats: QueueStats
    progress: Progress
    oldest_at: datetime | None


@dataclass
class _Seen:
    """What the last detailed read of a queue found; no settings if only its stream exists."""

    settings: QueueSettings | None
    recurring: int
    looks_left: int
    streams: tuple[StreamState | None, ...] = ()
    oldest_at: datetime | None = None
    overview: QueueOverview | None = None

    @property
    def holds_tasks(self) -> bool:
        return self.overview is not None and self.overview.stats.waiting + self.overview.stats.in_flight > 0


class AllQueues:
    """Remembers the last read: keep exactly one per connection."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._seen: dict[QueueName, _Seen] = {}
        self._looking = asyncio.Lock()

    async def read(self, timeout_s: float, *, closely: bool = True) -> dict[QueueName, QueueOverview]:
        """Every queue of the account; raises Unavailable and PermissionDenied.

        Unless `closely`, queues whose streams have not changed are not asked what is in flight.
        """
        async with self._looking:  # two concurrent reads would do the same work
            states = await self._broker.stream_states(timeout_s)
            names = {name for stream in states if (name := QueueName.of_stream(stream)) is not None}
            for gone in self._seen.keys() - names:
                del self._seen[gone]
            await self._look_at_all((name for name in names if self._is_due(name, states, closely)), states, timeout_s)
            return self.known

    async def look(self, names: Iterable[QueueName], timeout_s: float) -> dict[QueueName, QueueOverview]:
        """The same, but reads only some queues, in detail. New ones are found by name."""
        async with self._looking:
            wanted = list(names)
            for name in wanted:
                if (known := self._seen.get(name)) is None or known.settings is None:
                    self._seen[name] = await self._opened(name, None, timeout_s)
            opened = {name: seen.settings for name in wanted if (seen := self._seen.get(name)) and seen.settings}
            streams = [stream for each in opened.values() for stream in (*each.streams, each.dead_letter_stream)]
            found = await asyncio.gather(*(self._broker.stream_state(stream, timeout_s) for stream in streams))
            states = {stream: state for stream, state in zip(streams, found, strict=True) if state is not None}
            await self._look_at_all(opened, states, timeout_s)
            return self.known

    @property
    def known(self) -> dict[QueueName, QueueOverview]:
        """What the last read found."""
        return {name: seen.overview for name, seen in self._seen.items() if seen.overview is not None}

    def recurs(self, name: QueueName) -> bool:
        """Whether the queue has schedules: tasks that these fire cannot be listened for."""
        seen = self._seen.get(name)
        return seen is not None and seen.recurring > 0

    def _is_due(self, name: QueueName, states: Mapping[str, StreamState], closely: bool) -> bool:
        seen = self._seen.get(name)
        if seen is None:
            return True
        seen.looks_left -= 1
        if seen.looks_left <= 0:
            return True
        if seen.settings is None:
            return False
        return self._now(seen.settings, states) != seen.streams or (closely and seen.holds_tasks)

    @staticmethod
    def _now(settings: QueueSettings, states: Mapping[str, StreamState]) -> tuple[StreamState | None, ...]:
        return tuple(states.get(stream) for stream in (*settings.streams, settings.dead_letter_stream))

    async def _look_at_all(
        self, names: Iterable[QueueName], states: Mapping[str, StreamState], timeout_s: float
    ) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def look(name: QueueName) -> None:
            async with slots:
                await self._look_at(name, states, timeout_s)

        await asyncio.gather(*map(look, names))

    async def _look_at(self, name: QueueName, states: Mapping[str, StreamState], timeout_s: float) -> None:
        seen = self._seen.get(name)
        if seen is None or seen.looks_left <= 0:
            seen = self._seen[name] = await self._opened(name, seen, timeout_s)
        settings = seen.settings
        if settings is None or settings.stream not in states:
            seen.overview = None
            return
        now = self._now(settings, states)
        consumers = await read_consumers(self._broker, settings, timeout_s)
        scheduled = sum(each.pending for each in consumers if each.name == SCHEDULED_CONSUMER)
        messages = sum(states[stream].messages for stream in settings.streams if stream in states)
        stored = max(0, messages - scheduled - seen.recurring)
        if now != seen.streams:
            seen.oldest_at = await self._oldest_at(settings, states, messages, stored, timeout_s)
            seen.streams = now
        dead = now[-1].messages if now[-1] else 0
        stats = summarize(settings, stored, seen.oldest_at, consumers, dead, self._broker.now())
        if stats.waiting and not stats.in_flight:
            stats = await with_throttles(self._broker, settings, stats, timeout_s)
        oldest_at = None if stats.oldest_age is None else seen.oldest_at
        seen.overview = QueueOverview(stats, count_progress(consumers, stored), oldest_at)

    async def _opened(self, name: QueueName, before: _Seen | None, timeout_s: float) -> _Seen:
        """With fresh settings; the earlier object if they are unchanged."""
        try:
            settings = await read_settings(self._broker, name.config_key, parse_queue)
        except ConfigurationError:
            settings = None
        if settings is None:
            return _Seen(None, 0, _UNKNOWN_LOOKS)
        counts = await asyncio.gather(
            *(self._broker.count_messages(stream, name.all_recurring, timeout_s) for stream in settings.streams)
        )
        recurring = sum(count or 0 for count in counts)
        if before is not None and (before.settings, before.recurring) == (settings, recurring):
            before.looks_left = _STALE_LOOKS
            return before
        # Spread out, so that queues found together are not all read again in the same round.
        return _Seen(settings, recurring, random.randint(_STALE_LOOKS // 2, _STALE_LOOKS))  # noqa: S311

    async def _oldest_at(
        self, settings: QueueSettings, states: Mapping[str, StreamState], messages: int, stored: int, timeout_s: float
    ) -> datetime | None:
        """When the oldest waiting or running task was stored: the first message, if the stream holds nothing else."""
        if not stored:
            return None
        if stored == messages:
            moments = [states[stream].first_at for stream in settings.streams if stream in states]
        else:
            found = await first_messages(self._broker, dict.fromkeys(settings.waiting, 1), timeout_s)
            moments = [message.stored_at for message in found.values()]
        return min((moment for moment in moments if moment is not None), default=None)

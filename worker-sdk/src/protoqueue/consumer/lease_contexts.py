"""What `receive` and `lease` need of a consumer group: its settings, limits and what settles its tasks."""

import math
import time

from protoqueue.broker import Broker
from protoqueue.broker.config_watch import read_settings
from protoqueue.consumer.receive import LeaseContext
from protoqueue.consumer.receive_limits import ReceiveLimits
from protoqueue.errors import GroupNotFound
from protoqueue.history.queue_history import QueueHistory
from protoqueue.protocol.config import QueueSettings, parse_group
from protoqueue.protocol.names import GroupName
from protoqueue.settlement.settle import Settler, process_name

_REREAD_GROUP_S = 5.0
"""How old a group's settings may be when a lease is settled by them."""


class LeaseContexts:
    """Those of one queue's groups. The rate limits of a group live as long as this."""

    def __init__(self, broker: Broker, history: QueueHistory) -> None:
        self._broker = broker
        self._history = history
        self._settler = Settler(broker, process_name(), retries_forever=False)
        self._read: dict[GroupName, tuple[float, LeaseContext]] = {}
        self._limits: dict[GroupName, ReceiveLimits] = {}

    def forget(self) -> None:
        """Read the groups' settings again before anything more is settled: those of the queue have changed."""
        self._read.clear()

    async def recent(self, queue: QueueSettings, group: GroupName) -> LeaseContext:
        """With settings that are a few seconds old at most. Raises GroupNotFound and Unavailable."""
        read_at, context = self._read.get(group, (-math.inf, None))
        if context is None or time.monotonic() - read_at > _REREAD_GROUP_S:
            context = await self.current(queue, group)
            self._read[group] = time.monotonic(), context
        return context

    async def current(self, queue: QueueSettings, group: GroupName) -> LeaseContext:
        """With settings read now. Raises GroupNotFound and Unavailable."""
        settings = await read_settings(self._broker, group.config_key, parse_group)
        if settings is None:
            raise GroupNotFound(f"queue {queue.name} has no consumer group {group.name}: apply a ConsumerGroup for it")
        limits = self._limits.get(group) or ReceiveLimits(self._broker)
        self._limits[group] = limits
        limits.update(queue, settings)
        return LeaseContext(self._broker, self._settler, queue, settings, limits, self._history)

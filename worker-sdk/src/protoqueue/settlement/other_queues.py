"""Settings of other queues that a worker needs: those that get its dead letters, or from which letters come."""

import logging
import time

from protoqueue.broker import Broker
from protoqueue.broker.config_watch import read_settings
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.config import QueueSettings, parse_group, parse_queue
from protoqueue.protocol.names import GroupName, QueueName

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""How old the settings of such a queue may be."""


class OtherQueues:
    """Settings from `pq-config`. Every method raises Unavailable."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._known: dict[QueueName, tuple[float, QueueSettings | None]] = {}

    async def settings(self, name: QueueName) -> QueueSettings | None:
        """None if there is no such queue on this NATS."""
        read_at, known = self._known.get(name, (0.0, None))
        if time.monotonic() - read_at < FRESH_S:
            return known
        try:
            settings = await read_settings(self._broker, name.config_key, parse_queue)
        except ConfigurationError as error:
            log.error("the settings of queue %s cannot be read: %s", name, error)
            settings = None
        self._known[name] = time.monotonic(), settings
        return settings

    def forget(self, name: QueueName) -> None:
        """Read it again the next time."""
        self._known.pop(name, None)

    async def has_group(self, name: GroupName) -> bool:
        return (await read_settings(self._broker, name.config_key, parse_group)) is not None

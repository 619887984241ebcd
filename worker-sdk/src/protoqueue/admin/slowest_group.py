"""Which group of a Broadcast queue keeps it full: the slowest group fills it for all."""

import time
from collections import Counter

from protoqueue.broker import Broker
from protoqueue.errors import ProtoQueueError, QueueFull
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.consumer_names import group_of_consumer

ASKED_AGAIN_S = 5.0
"""The answer is reused for this long: a producer may hit a full queue many times a second."""
_TIMEOUT_S = 1.0


class SlowestGroup:
    """Of one queue."""

    def __init__(self, broker: Broker, settings: QueueSettings) -> None:
        self._broker = broker
        self._settings = settings
        self._asked_at = float("-inf")
        self._said = ""

    async def named_in(self, error: QueueFull) -> QueueFull:
        """The same error, with the group that is furthest behind if NATS answers in time. Raises nothing."""
        if not self._settings.broadcast:
            return error
        if time.monotonic() - self._asked_at >= ASKED_AGAIN_S:
            self._said = await self._behind()
            self._asked_at = time.monotonic()
        if self._said:
            error.args = (f"{error}; {self._said}", *error.args[1:])
        return error

    async def _behind(self) -> str:
        try:
            consumers = await self._broker.consumer_states(self._settings.stream, _TIMEOUT_S)
        except ProtoQueueError:
            return ""
        behind: Counter[str] = Counter()
        for consumer in consumers:
            if belongs := group_of_consumer(consumer.name):
                behind[belongs[0]] += consumer.pending + consumer.in_flight
        ((group, count),) = behind.most_common(1) or (("", 0),)
        return f"the group {group} is furthest behind, with {count} task{'s' if count != 1 else ''}" if count else ""

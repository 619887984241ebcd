"""Which of its key's two lanes a task goes to: the one that holds less, as far as this producer knows."""

import asyncio
import math
import time
from collections import Counter

from protoqueue.aio import cancel
from protoqueue.broker import Broker
from protoqueue.errors import PermissionDenied, ProtoQueueError
from protoqueue.protocol.config import QueueSettings

READ_AGAIN_S = 0.25
"""How old counts may be before they are read again, beside the work."""

_TOO_OLD_S = 5.0
"""How old they may be before an enqueue waits for new ones."""

_REFUSED_S = 60.0
_TIMEOUT_S = 1.0


class LaneLoads:
    """Of one queue: tasks by lane as the server counts them, and what was enqueued here since.

    Where they cannot be read, all lanes look alike, and a task goes to the first of its key.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._held: Counter[str] = Counter()
        self._read_at = -math.inf
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self, queue: QueueSettings) -> None:
        """To be awaited before tasks with a fairness key are prepared. Raises nothing."""
        age_s = time.monotonic() - self._read_at
        if age_s < READ_AGAIN_S:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(queue))
        if age_s > _TOO_OLD_S:
            await asyncio.shield(self._reading)

    def choose(self, subjects: tuple[str, str]) -> str:
        """Of a task's subjects in its two lanes the one to publish to: the first of equals."""
        chosen = min(subjects, key=self._held.__getitem__)
        self._held[chosen] += 1
        return chosen

    async def close(self) -> None:
        if self._reading is not None:
            await cancel(self._reading)

    async def _read(self, queue: QueueSettings) -> None:
        try:
            held = await self._broker.count_by_subject(queue.stream, queue.name.task("*"), _TIMEOUT_S)
        except PermissionDenied:
            self._read_at = time.monotonic() + _REFUSED_S
        except ProtoQueueError:
            self._read_at = time.monotonic()
        else:
            self._held, self._read_at = Counter(held or {}), time.monotonic()

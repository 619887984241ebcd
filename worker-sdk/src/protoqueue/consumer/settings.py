"""Following what `pq-config` says about a worker's queue and group."""

import asyncio
import logging

from protoqueue.broker import Broker
from protoqueue.broker.config_watch import Watch
from protoqueue.consumer.loop import WorkLoop
from protoqueue.errors import GroupNotFound, QueueNotFound
from protoqueue.protocol.config import GroupSettings, QueueSettings, parse_group, parse_queue
from protoqueue.protocol.names import GroupName

log = logging.getLogger(__name__)

_REMIND_S = 30.0


class SettingsWatch:
    """Gives the loop its settings each time they change, and logs periodically what is missing."""

    def __init__(self, broker: Broker, name: GroupName, loop: WorkLoop) -> None:
        self._broker = broker
        self._name = name
        self._loop = loop
        self._queue: QueueSettings | None = None
        self._group: GroupSettings | None = None
        self._looked: set[str] = set()

    def refuse_if_missing(self) -> None:
        """Raises QueueNotFound or GroupNotFound once it is known to be missing."""
        if self._looked == {"queue", "group"} and self.missing:
            raise (QueueNotFound if self._queue is None else GroupNotFound)(self.missing)

    @property
    def missing(self) -> str | None:
        """Which resource is missing, as a sentence."""
        if self._queue is None:
            return f"queue {self._name.queue} does not exist on this NATS server yet"
        if self._group is None:
            return f"queue {self._name.queue} has no ConsumerGroup {self._name.name} yet"
        return None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Watch(self._broker, self._name.queue.config_key, parse_queue, self._queue_changed).run())
            tasks.create_task(Watch(self._broker, self._name.config_key, parse_group, self._group_changed).run())
            tasks.create_task(self._remind())

    async def _queue_changed(self, queue: QueueSettings | None) -> None:
        self._queue = queue
        self._looked.add("queue")
        await self._loop.apply(queue, self._group)

    async def _group_changed(self, group: GroupSettings | None) -> None:
        self._group = group
        self._looked.add("group")
        await self._loop.apply(self._queue, group)

    async def _remind(self) -> None:
        await asyncio.sleep(1)
        while True:
            if missing := self.missing:
                log.warning("waiting: %s", missing)
            await asyncio.sleep(_REMIND_S)

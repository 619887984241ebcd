"""The client: a connection, and the queues it has opened."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from protoqueue.admin.all_queues import AllQueues, QueueOverview
from protoqueue.admin.follow_queues import QueueFollower
from protoqueue.admin.queue_names import existing_queues
from protoqueue.aio import cancel
from protoqueue.broker import Broker
from protoqueue.broker.config_watch import Watch, read_settings
from protoqueue.errors import ConfigurationError, QueueNotFound
from protoqueue.history.queue_history import QueueHistory
from protoqueue.observability.tracing import Tracing
from protoqueue.producer import arguments
from protoqueue.producer.lane_loads import LaneLoads
from protoqueue.protocol.config import parse_queue
from protoqueue.protocol.names import QueueName
from protoqueue.queue import Queue
from protoqueue.task import DEFAULT_TIMEOUT_S

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class Client:
    """A connection. Close it, or use it as `async with connect() as client`."""

    def __init__(self, broker: Broker, owned: bool = True, tracer_provider: "TracerProvider | None" = None) -> None:
        self._broker = broker
        self._owned = owned
        self._tracing = Tracing.using(tracer_provider)
        self._queues: dict[QueueName, Queue] = {}
        self._opening: dict[QueueName, asyncio.Lock] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._histories: list[QueueHistory] = []
        self._lane_loads: list[LaneLoads] = []
        self._all_queues = AllQueues(broker)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS now; while there is none, the client tries to get one."""
        return self._broker.connected

    async def queue(self, name: str) -> Queue:
        """The queue `namespace/name`; raises QueueNotFound and, for what is no such name, ConfigurationError."""
        try:
            queue_name = QueueName.parse(name)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if (known := self._queues.get(queue_name)) is not None:
            return known
        opening = self._opening.setdefault(queue_name, asyncio.Lock())
        try:
            async with opening:
                return self._queues.get(queue_name) or await self._open(name, queue_name)
        finally:
            if not opening.locked():  # a name without a queue leaves nothing behind
                self._opening.pop(queue_name, None)

    async def _open(self, name: str, queue_name: QueueName) -> Queue:
        settings = await read_settings(self._broker, queue_name.config_key, parse_queue)
        if settings is None:
            raise QueueNotFound(
                f"queue {name} does not exist on this NATS server: apply a Queue and wait until it is Ready, "
                f"kubectl wait --for=condition=Ready queue/{queue_name.name} -n {queue_name.namespace}"
            )
        history = QueueHistory(self._broker, queue_name)
        self._histories.append(history)
        lane_loads = LaneLoads(self._broker)
        self._lane_loads.append(lane_loads)
        self._queues[queue_name] = queue = Queue(self._broker, settings, self._tracing, history, lane_loads)
        task = asyncio.create_task(Watch(self._broker, queue_name.config_key, parse_queue, queue.update).run())
        self._watches.add(task)
        return queue

    async def queue_names(self) -> list[str]:
        """The queues of this NATS account as `namespace/name`, sorted. Raises Unavailable."""
        return await existing_queues(self._broker)

    async def overview(self, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> dict[str, QueueOverview]:
        """What every queue of this NATS account holds, by `namespace/name`. Needs the rights of an administrator.

        Raises Unavailable.
        """
        found = await self._all_queues.read(arguments.seconds("timeout", timeout))
        return {str(name): overview for name, overview in sorted(found.items())}

    async def follow_overview(
        self, interval: float | timedelta = 0.5, *, expected: Callable[[], Iterable[str]] = tuple
    ) -> AsyncGenerator[dict[str, QueueOverview]]:
        """The overview again and again, for who watches: at least every `interval`, and soon after a task is enqueued.

        Cheap for thousands of queues: those where nothing happens are listened to and not asked. A queue that is new
        or gone, or where dead letters were removed, is seen within some seconds; one that `expected` names, as it is
        known from elsewhere, within one. Raises Unavailable.
        """
        follower = QueueFollower(
            self._broker, self._all_queues, arguments.seconds("interval", interval),
            lambda: map(QueueName.parse, expected()),
        )  # fmt: skip
        async with contextlib.aclosing(follower.follow()) as looks:
            async for found in looks:
                yield {str(name): overview for name, overview in found.items()}

    async def close(self) -> None:
        """End what follows settings and results; close the connection, if this client has opened it."""
        await cancel(*self._watches)
        self._watches.clear()
        await asyncio.gather(*(history.close() for history in self._histories))
        await asyncio.gather(*(loads.close() for loads in self._lane_loads))
        self._lane_loads.clear()
        self._histories.clear()
        self._queues.clear()
        if self._owned:
            await self._broker.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

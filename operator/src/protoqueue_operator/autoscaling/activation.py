"""Scaling from zero.

The operator listens to a queue whose group has no worker, and checks the queue at once when the first task is
published. Listening is free until then, and reacts within milliseconds. What it misses, such as tasks that come due,
the sampler's sweeps find within a second.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.nats.connection import Connection

_LOOKS_S = (0.0, 0.02, 0.1, 0.3)
"""Delays between the checks after a publish was heard: it may be heard before it is stored."""


class Activation:
    """Core NATS subscriptions that end after one message, and the checks that follow."""

    def __init__(
        self,
        connection: Connection,
        look: Callable[[QueueName], Awaitable[bool]],
        start: Callable[[Callable[[], Awaitable[object]]], asyncio.Task[None]],
    ) -> None:
        """`look` sizes a queue's groups and returns whether it has work; `start` runs a coroutine in the background."""
        self._connection = connection
        self._look = look
        self._start = start
        self._armed: dict[QueueName, list[Subscription]] = {}
        self._activating: set[QueueName] = set()
        self._is_closed = False

    async def arm(self, queue: QueueName) -> bool:
        """Listen for the next new task; returns whether this was not listened to before. Raises BrokerUnavailable."""
        if queue in self._armed:
            return False
        subscriptions = self._armed[queue] = []

        def heard(_: Msg) -> None:
            if self._armed.get(queue) is subscriptions:
                del self._armed[queue]
                self._heard(queue)

        try:
            for subject in queue.new_task_subjects:
                subscriptions.append(await self._connection.subscribe(subject, heard, limit=1))  # noqa: PERF401
        except BrokerUnavailable:
            await self.disarm(queue)
            raise
        return True

    async def disarm(self, queue: QueueName) -> None:
        """Stop listening."""
        for subscription in self._armed.pop(queue, ()):
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def disarm_others(self, queues: set[QueueName]) -> None:
        """Stop listening to all other queues."""
        for queue in self._armed.keys() - queues:
            await self.disarm(queue)

    def close(self) -> None:
        """Stop checking; the subscriptions end with the connection."""
        self._is_closed = True

    def is_armed(self, queue: QueueName) -> bool:
        return queue in self._armed

    def _heard(self, queue: QueueName) -> None:
        """Messages heard during an activation are covered by its remaining checks, or by the next round.

        Not every published message is stored, for example a duplicate, so this may happen repeatedly.
        """
        if queue not in self._activating and not self._is_closed:
            self._activating.add(queue)
            self._start(lambda: self._activate(queue)).add_done_callback(lambda _: self._activating.discard(queue))

    async def _activate(self, queue: QueueName) -> None:
        for delay_s in _LOOKS_S:
            await asyncio.sleep(delay_s)
            if await self._look(queue):
                return

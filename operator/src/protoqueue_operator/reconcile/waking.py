"""Alarms on sleeping queues: the first publish is heard within milliseconds, and costs nothing until then."""

import contextlib
from collections.abc import Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from protoqueue.naming import QueueName
from protoqueue_operator.adapters.connections import Connection
from protoqueue_operator.core.refusals import BrokerUnavailable


class Alarms:
    """Core NATS subscriptions that end after one message. What they miss (tasks that come due), sampling catches."""

    def __init__(self, connection: Connection, ring: Callable[[QueueName], None]) -> None:
        self._connection = connection
        self._ring = ring
        self._armed: dict[QueueName, list[Subscription]] = {}

    async def arm(self, queue: QueueName) -> bool:
        """Listen for the next new task; returns whether the alarm was not set before. Raises BrokerUnavailable."""
        if queue in self._armed:
            return False
        subscriptions = self._armed[queue] = []

        def heard(_: Msg) -> None:
            if self._armed.get(queue) is subscriptions:
                del self._armed[queue]
                self._ring(queue)

        try:
            for subject in queue.new_task_subjects:
                subscriptions.append(await self._connection.subscribe(subject, heard, limit=1))  # noqa: PERF401
        except BrokerUnavailable:
            await self.clear(queue)
            raise
        return True

    async def clear(self, queue: QueueName) -> None:
        """Stop listening."""
        for subscription in self._armed.pop(queue, ()):
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    def __contains__(self, queue: QueueName) -> bool:
        return queue in self._armed

    def queues(self) -> set[QueueName]:
        return set(self._armed)

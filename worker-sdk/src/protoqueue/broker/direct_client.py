"""A fast path for incoming messages that skips most of nats-py's work per message."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeAlias

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from protoqueue.broker.parser import MAX_MESSAGE_BYTES
from protoqueue.broker.reconnecting_client import ReconnectingClient
from protoqueue.protocol.servers import DEFAULT_INBOX_PREFIX

Arrived: TypeAlias = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes the subject, reply subject, data and headers of a message, each as received or empty."""


class DirectClient(ReconnectingClient):
    """nats-py's client, with subscriptions whose messages are passed on unparsed as soon as they are read.

    nats-py parses all headers of a message, makes an object of it and passes that through a queue to a task for each
    subscription. A worker reads few headers and does not block where messages arrive: for it that is a large part of
    all its work, and for a caller that awaits an answer an extra turn of the event loop. There is no public way around
    it: this class relies on nats-py's private names, and `tests/nats/test_direct.py` tests what it needs of them.
    """

    def __init__(
        self,
        inbox_prefix: str = DEFAULT_INBOX_PREFIX,
        largest_bytes: int = MAX_MESSAGE_BYTES,
        bytes_per_s: float | None = None,
    ) -> None:
        super().__init__(inbox_prefix, largest_bytes, bytes_per_s)
        self._arrived: dict[int, Arrived] = {}

    async def subscribe_direct(self, subject: str, arrived: Arrived) -> Subscription:
        """Have `arrived` called with each message, also after a reconnect, until the subscription is ended."""
        subscription = await self.subscribe(subject, cb=_unused)
        self._arrived[subscription._id] = arrived  # noqa: SLF001
        return subscription

    async def end(self, subscription: Subscription) -> None:
        """Return once everything sent to it has arrived; at once if there is no connection. Raises nothing."""
        # nats-py's own way sends the PING that it waits for first, so that what the server sends before it comes to the
        # UNSUB is dropped; and where that fails it keeps the subscription, which each reconnect renews.
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError, asyncio.InvalidStateError):
            if self.is_connected:
                await self._send_unsubscribe(subscription._id)  # noqa: SLF001
                await self._flush_pending(force_flush=True)
                await self.flush()
        subscription._stop_processing()  # noqa: SLF001
        self._remove_sub(subscription._id)  # noqa: SLF001

    async def send(self, commands: bytes) -> None:
        """Send commands of the protocol as they are, with what else this turn of the event loop sends.

        To be called while connected: `publish` knows what to do while it is not, and costs several times as much.
        """
        await self._send_command(commands)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    def send_soon(self, commands: bytes) -> bool:
        """The same without waiting for a slow connection, for callers that wait for an answer anyway.

        False, and nothing is sent, if there is no connection.
        """
        flusher, queue = self._flusher_task, self._flush_queue
        if not self.is_connected or flusher is None or flusher.done() or queue is None:
            return False
        self._pending.append(commands)
        self._pending_data_size += len(commands)
        if queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())
        return True

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._arrived.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        arrived = self._arrived.get(sid)
        if arrived is None:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]  # it takes None
            return
        try:
            arrived(subject, reply, data, headers or b"")
        except Exception as error:  # it must not end the read loop
            await self._error_cb(error)


async def _unused(_message: Msg) -> None:
    """nats-py requires a callback; messages are passed on before they would reach it."""

"""Pull requests to one JetStream consumer over a plain subscription."""

import itertools
import json
import logging

from nats.aio.subscription import Subscription

from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.interface import Ended, Receive
from protoqueue.broker.replies import parse_delivery, parse_pull_end

log = logging.getLogger(__name__)


class JetStreamInbox:
    """An inbox is subscribed on the first request, and again after each withdrawal.

    JetStream sends nothing to an inbox without interest, so unsubscribing withdraws requests; draining ensures that
    messages sent before are still handled instead of timing out.
    """

    def __init__(self, nc: DirectClient, stream: str, consumer: str, receive: Receive, ended: Ended) -> None:
        self._nc = nc
        self._stream = stream
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._receive = receive
        self._ended = ended
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._numbers = itertools.count()

    async def request(self, batch: int, wait_s: float | None) -> None:
        if self._subscription is None:
            self._inbox = self._nc.new_inbox()
            self._subscription = await self._nc.subscribe_direct(f"{self._inbox}.*", self._arrived)
        # With `no_wait` and `expires` JetStream waits for the first message, gives what it has and ends the request. It
        # refuses that while other requests cover what is pending, so the request for a single task does without.
        body: dict[str, int | bool] = {"batch": batch}
        if wait_s:
            body["expires"] = int(wait_s * 1e9)
        if not wait_s or batch > 1:
            body["no_wait"] = True
        await self._nc.publish(self._next, json.dumps(body).encode(), reply=f"{self._inbox}.{next(self._numbers)}")

    async def withdraw(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._nc.end(subscription)

    def _arrived(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if reply.startswith(b"$JS.ACK."):
            self._receive(parse_delivery(subject, reply, data, headers, self._stream))
        elif (end := parse_pull_end(headers)) is not None:
            self._ended(end)
        else:
            log.debug("ignored a status: %r", headers)

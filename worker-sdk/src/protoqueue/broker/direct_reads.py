"""Reading many messages of a stream by one request, from any of its replicas."""

import asyncio
import json
from collections.abc import Sequence

import nats.errors
from nats.aio.subscription import Subscription

from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.headers import parse_headers, parse_status
from protoqueue.broker.interface import StoredMessage
from protoqueue.broker.replies import parse_direct
from protoqueue.errors import Unavailable

_END, _NONE, _NO_STREAM = "204", "404", "503"


async def read_last(nc: DirectClient, stream: str, subjects: Sequence[str], timeout_s: float) -> list[StoredMessage]:
    """As `Broker.last_messages` says; raises Unavailable."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    found: list[StoredMessage] = []

    def arrived(_subject: bytes, _reply: bytes, data: bytes, headers: bytes) -> None:
        status, description = parse_status(headers)
        if not status:
            found.append(parse_direct(data, parse_headers(headers)))
        elif not ended.done():
            ended.set_result("" if status in (_END, _NONE, _NO_STREAM) else description or status)

    inbox = nc.new_inbox()
    try:
        subscription = await nc.subscribe_direct(inbox, arrived)
        try:
            request = json.dumps({"multi_last": list(subjects)}).encode()
            await nc.publish(f"$JS.API.DIRECT.GET.{stream}", request, reply=inbox)
            async with asyncio.timeout(timeout_s):
                refused = await ended
        finally:
            await subscription.unsubscribe()
    except TimeoutError:
        raise Unavailable(f"{stream}: NATS did not respond (timeout {timeout_s:g} s)") from None
    except nats.errors.Error as error:
        raise Unavailable(f"not connected to NATS: {error or type(error).__name__}") from error
    if refused:
        raise Unavailable(f"{stream}: JetStream rejected the request: {refused}")
    return found


class DirectSubscription:
    """A subscription that has ended when `unsubscribe` returns."""

    def __init__(self, nc: DirectClient, subscription: Subscription) -> None:
        self._nc = nc
        self._subscription = subscription

    async def unsubscribe(self) -> None:
        await self._nc.end(self._subscription)

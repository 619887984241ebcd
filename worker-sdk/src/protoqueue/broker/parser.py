"""Reading what a server sends within bounds: it may be broken or malicious."""

import asyncio
import time
from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, Parser

MAX_LINE_BYTES = 1024 * 1024
"""Of the INFO of a large cluster. All other lines are shorter."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The most that a server can be configured to take."""

_MESSAGE_COST_BYTES = 1024
"""What handling a message costs beside its bytes, in bytes."""

_BURST_S = 4.0


class BoundedParser(Parser):
    """nats-py's parser, which disconnects from a server that violates the protocol or sends an endless message."""

    def __init__(self, client: Any, largest_bytes: int = MAX_MESSAGE_BYTES, bytes_per_s: float | None = None) -> None:
        """With `bytes_per_s` no more than that is read, averaged over a few seconds: TCP slows the server down."""
        super().__init__(client)
        self._largest = largest_bytes
        self._rate = bytes_per_s
        self._budget = (bytes_per_s or 0.0) * _BURST_S
        self._counted_at = time.monotonic()

    def lift(self) -> None:
        """From now on read without a limit of speed, and messages of any size a server can be configured to send."""
        self._largest, self._rate = MAX_MESSAGE_BYTES, None

    async def parse(self, data: bytes = b"") -> None:
        """Raises ProtocolError, after which the client reconnects."""
        messages = self.nc.stats["in_msgs"]
        try:
            await super().parse(data)
        except (OSError, ProtocolError):
            raise
        except Exception:  # whatever nats-py raises for invalid input
            raise ProtocolError from None
        waits_for_line = self.state == AWAITING_CONTROL_LINE and len(self.buf) > MAX_LINE_BYTES
        waits_for_data = self.state == AWAITING_MSG_PAYLOAD and self.needed > self._largest
        if waits_for_line or waits_for_data:
            self.reset()
            raise ProtocolError
        if self._rate is not None:
            await self._pace(self._rate, len(data) + _MESSAGE_COST_BYTES * (self.nc.stats["in_msgs"] - messages))

    async def _pace(self, rate: float, cost: int) -> None:
        now = time.monotonic()
        self._budget = min(rate * _BURST_S, self._budget + rate * (now - self._counted_at)) - cost
        self._counted_at = now
        if self._budget < 0:
            await asyncio.sleep(-self._budget / rate)

"""Retrying until NATS answers, for what must be stored before anything else may happen."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from protoqueue.errors import PayloadTooLarge, ProtoQueueError

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0

_Answer = TypeVar("_Answer")


async def retry_forever(act: Callable[[], Awaitable[_Answer]], what: str) -> _Answer:
    """The result of `act`, however long that takes; raises PayloadTooLarge, which waiting does not cure."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return await act()
        except PayloadTooLarge:
            raise
        except ProtoQueueError as error:
            log.warning("cannot store %s, retrying: %s", what, error, extra={"wait_s": wait_s})
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

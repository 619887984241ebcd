"""Follows the files that say how the operator itself reaches NATS."""

import asyncio
import logging
from collections.abc import Callable

from protoqueue_operator.core.credentials import Credentials
from protoqueue_operator.core.refusals import SecretInvalid

logger = logging.getLogger(__name__)

LOOK_S = 5.0


async def follow(read: Callable[[], Credentials], adopt: Callable[[Credentials], None]) -> None:
    """Until cancelled, tell what was read twice in a row: a look between two files that change sees what never was."""
    last: Credentials | None = None
    trouble = ""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            now = await asyncio.to_thread(read)
        except (OSError, SecretInvalid) as error:
            if str(error) != trouble:
                logger.warning("own nats credentials not read: error=%s; those from before stay", error)
            trouble, last = str(error), None
            continue
        trouble = ""
        if now == last:
            adopt(now)
        last = now

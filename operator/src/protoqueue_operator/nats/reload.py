"""Reloads the credentials of the operator's own NATS connection when their files change."""

import asyncio
import logging
from collections.abc import Callable

from protoqueue_operator.api.v1alpha1.errors import SecretInvalid
from protoqueue_operator.nats.credentials import Credentials

logger = logging.getLogger(__name__)

LOOK_S = 5.0


async def reload(read: Callable[[], Credentials], adopt: Callable[[Credentials], None]) -> None:
    """Adopt what was read twice in a row, until cancelled: a read between the changes of two files is inconsistent."""
    last: Credentials | None = None
    trouble = ""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            now = await asyncio.to_thread(read)
        except (OSError, SecretInvalid) as error:
            if str(error) != trouble:
                logger.warning("nats credentials not reloaded: error=%s; keeping the previous ones", error)
            trouble, last = str(error), None
            continue
        trouble = ""
        if now == last:
            adopt(now)
        last = now

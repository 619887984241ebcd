"""What a worker waits for before it takes tasks: NATS, and its group where it was not named."""

import asyncio
import contextlib
import logging

from protoqueue.admin.only_group import only_group
from protoqueue.broker import Broker, ConnectionOptions
from protoqueue.broker.override import open_broker
from protoqueue.errors import GroupNotFound, QueueNotFound, Unavailable
from protoqueue.protocol.names import GroupName, QueueName

log = logging.getLogger(__name__)

_CONNECT_TRY_S = 4.0
_LOOK_FOR_GROUP_S = 1.0


async def connected_broker(options: ConnectionOptions, stop: asyncio.Event) -> Broker | None:
    """Try until NATS answers; None when told to stop before. Raises ConfigurationError when NATS refuses us."""
    while not stop.is_set():
        try:
            return await open_broker(options, _CONNECT_TRY_S)
        except Unavailable as error:
            log.warning("waiting for NATS: %s", error)
    return None


async def found_group(broker: Broker, queue: QueueName, stop: asyncio.Event, *, waits: bool) -> GroupName | None:
    """The queue's only group; None when told to stop before there is one.

    Raises ConfigurationError, and QueueNotFound and GroupNotFound unless it `waits` for queue and group.
    """
    while not stop.is_set():
        try:
            return await only_group(broker, queue)
        except (QueueNotFound, GroupNotFound, Unavailable) as error:
            if not waits and not isinstance(error, Unavailable):
                raise
            log.warning("waiting: %s", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_FOR_GROUP_S)
    return None

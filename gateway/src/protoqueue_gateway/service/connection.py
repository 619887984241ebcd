"""The connection to NATS, which may be unreachable when the gateway starts."""

import asyncio
import logging

import protoqueue
from protoqueue import ConfigurationError, ProtoQueueError, QueueNotFound
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.errors import Away, NoSuchQueue

log = logging.getLogger(__name__)

_AGAIN_S = 1.0


class Connection:
    """Connects in the background until it succeeds; from then on the client itself reconnects."""

    def __init__(self, nats_url: str) -> None:
        self._url = nats_url
        self._client: protoqueue.Client | None = None

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.connected

    async def run(self) -> None:
        while self._client is None:
            try:
                self._client = await protoqueue.connect(self._url)
            except ProtoQueueError as error:
                log.warning("cannot connect to NATS, trying again: %s", error)
                await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> protoqueue.Client:
        """Raises Away."""
        if self._client is None:
            raise Away("there is no connection to NATS yet")
        return self._client

    async def queue(self, name: QueueName) -> protoqueue.Queue:
        """Raises NoSuchQueue, Away and Unavailable."""
        try:
            return await self.client.queue(str(name))
        except QueueNotFound:
            raise NoSuchQueue(f"there is no queue {name}, or it is not ready yet") from None
        except ConfigurationError as error:
            raise Away(str(error)) from error

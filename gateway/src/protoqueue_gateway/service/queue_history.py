"""A queue's samples for its charts, as recorded by the operator."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from protoqueue import ProtoQueueError, QueueSamples
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import ServiceError
from protoqueue_gateway.service.fresh import Fresh

_GOOD_FOR_S = 5.0


class Span(StrEnum):
    """How far back."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is Span.HOUR else timedelta(days=1)


class QueueHistory:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._samples = Fresh(self._ask, _GOOD_FOR_S)

    async def read(self, name: QueueName, span: Span) -> QueueSamples:
        """No samples if none were recorded, or NATS cannot be asked."""
        return await self._samples.get((name, span))

    async def _ask(self, key: tuple[QueueName, Span]) -> QueueSamples:
        name, span = key
        try:
            found = await (await self._connection.queue(name)).samples(span.length)
        except (ProtoQueueError, ServiceError):
            return QueueSamples(timedelta(seconds=10), [], [])
        since = datetime.now(UTC) - span.length
        return QueueSamples(
            found.step,
            [sample for sample in found.samples if sample.at >= since],
            [change for change in found.changes if change.at >= since],
        )

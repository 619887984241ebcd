"""What JetStream says of the queues that one broker holds, asked in as few requests as possible.

`STREAM.LIST` pages tell which streams hold anything; only of those the consumers are asked.
"""

from collections.abc import Mapping

from protoqueue.naming import SCHEDULED_CONSUMER, QueueName
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.core.load import NO_STREAM, Sample, StreamState, consumer_state, stream_state
from protoqueue_operator.core.resources import Key, Queue
from protoqueue_operator.reconcile.drift import DriftWatch


class Backlogs:
    """Reads, remembers what the last sweep has found, and has everything compared with what it should be."""

    def __init__(self, jetstream: JetStream, drift: DriftWatch) -> None:
        self._jetstream = jetstream
        self._drift = drift
        self._streams: dict[str, StreamState] = {}
        self._scheduled: dict[QueueName, tuple[StreamState, int]] = {}

    async def sweep(self, queues: Mapping[Key, Queue]) -> None:
        """Read the state of every stream. Raises BrokerUnavailable and BrokerRefused."""
        await self._drift.listen()
        streams, configs, comparing = {}, {}, self._drift.streams_are_due()
        async for info in self._jetstream.streams():
            config = info["config"]
            streams[config["name"]] = stream_state(info)
            if comparing:
                configs[config["name"]] = config
        self._streams = streams
        if comparing:
            self._drift.compare_streams(queues, configs)

    def stored(self, name: QueueName) -> tuple[StreamState | None, StreamState | None, StreamState | None]:
        """The states of the queue's own stream, of LATER and of the dead letters, each None where there is no such."""
        seen = self._streams.get
        return seen(name.stream), seen(name.later_stream), seen(name.dead_letter_stream)

    async def sample(self, queue: Queue, *, closely: bool) -> Sample:
        """Asks for consumers only where the stream holds something, or `closely`.

        Raises BrokerUnavailable and BrokerRefused.
        """
        held, later, dead = self.stored(queue.name)
        consumers = None
        if closely or (held and held.messages):
            infos = await self._jetstream.consumers(queue.name.stream)
            consumers = {info["name"]: consumer_state(info) for info in infos or ()}
            self._drift.compare_consumers(queue, infos or ())
        return Sample(held, dead or NO_STREAM, await self._count(queue.name, later or NO_STREAM), consumers)

    def forget_others(self, names: set[QueueName]) -> None:
        """Of queues that are gone, or held elsewhere, nothing is kept."""
        for name in self._scheduled.keys() - names:
            del self._scheduled[name]

    async def _count(self, name: QueueName, later: StreamState) -> int:
        """Tasks not yet due; asked again only when the stream has moved."""
        if not later.messages:
            return 0
        before = self._scheduled.get(name)
        if before and before[0] == later:
            return before[1]
        info = await self._jetstream.consumer(name.later_stream, SCHEDULED_CONSUMER)
        count: int = info["num_pending"] if info else 0
        self._scheduled[name] = (later, count)
        return count

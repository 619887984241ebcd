"""What JetStream says of the queues that one broker holds, asked in as few requests as possible.

`STREAM.LIST` pages tell which streams hold anything; only of those the consumers are asked.
"""

from collections.abc import Mapping, Set

from protoqueue.naming import SCHEDULED_CONSUMER, QueueName
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.core.load import NO_STREAM, Sample, StreamState, consumer_state, has_work, stream_state
from protoqueue_operator.core.resources import Key, Queue
from protoqueue_operator.reconcile.drift import DriftWatch

_DOUBTS = 3
"""So many looks in a row are not believed."""


class Backlogs:
    """Reads, remembers what the last sweep has found, and has everything compared with what it should be."""

    def __init__(self, jetstream: JetStream, drift: DriftWatch) -> None:
        self._jetstream = jetstream
        self._drift = drift
        self._streams: dict[str, StreamState] = {}
        self._scheduled: dict[QueueName, tuple[StreamState, int]] = {}
        self._doubts: dict[QueueName, int] = {}

    async def sweep(self, queues: Mapping[Key, Queue]) -> None:
        """Read the state of every stream. Raises BrokerUnavailable and BrokerRefused."""
        await self._drift.listen()
        streams: dict[str, StreamState] = {}
        configs, comparing = {}, self._drift.streams_are_due()
        async for page in self._jetstream.streams():
            # What a server that is away holds is still there, and as it was.
            streams |= {name: self._streams[name] for name in page.missing if name in self._streams}
            for info in page.found:
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

    async def sample(self, queue: Queue, *, closely: bool) -> Sample | None:
        """Asks for consumers only where the stream holds something, or `closely`; None where that cannot be true.

        Raises BrokerUnavailable and BrokerRefused.
        """
        held, later, dead = self.stored(queue.name)
        consumers = None
        if closely or (held and held.messages):
            infos = await self._jetstream.consumers(queue.name.stream)
            consumers = {info["name"]: consumer_state(info) for info in infos or ()}
            says_nothing_is_left = held and held.messages and consumers and not any(map(has_work, consumers.values()))
            if says_nothing_is_left and await self._is_doubtful(queue):
                return None
            self._drift.compare_consumers(queue, infos or ())
        return Sample(held, dead or NO_STREAM, await self._count(queue.name, later or NO_STREAM), consumers)

    def forget_others(self, queues: Set[Key]) -> None:
        """Of queues that are gone, or held elsewhere, nothing is kept."""
        self._drift.forget_others(queues)
        names = {QueueName(key.namespace, key.name) for key in queues}
        for name in self._scheduled.keys() - names:
            del self._scheduled[name]
        for name in self._doubts.keys() - names:
            del self._doubts[name]

    async def _is_doubtful(self, queue: Queue) -> bool:
        """Consumers say that nothing is left of what the stream held a moment ago: whether the stream still holds it.

        A server that has just come back can say so too early. Where it says so again and again, the stream holds what
        is no task.
        """
        info = await self._jetstream.stream(queue.name.stream)
        holds = info and info["state"]["messages"] and info["config"]["retention"] == "workqueue"
        self._doubts[queue.name] = self._doubts.get(queue.name, 0) + 1 if holds else 0
        return 0 < self._doubts[queue.name] <= _DOUBTS

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

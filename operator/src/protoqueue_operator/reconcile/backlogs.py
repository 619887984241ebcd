"""What JetStream says of the queues that one broker holds, asked in as few requests as possible.

`STREAM.LIST` pages tell which streams hold anything; only of those the consumers are asked.
"""

import logging
import time
from collections.abc import Mapping, Set

from protoqueue.naming import SCHEDULED_CONSUMER, QueueName
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.core.doubts import Doubts, weigh
from protoqueue_operator.core.load import (
    NO_STREAM,
    ConsumerState,
    Sample,
    StreamState,
    consumer_state,
    stream_state,
)
from protoqueue_operator.core.resources import Key, Queue
from protoqueue_operator.reconcile.drift import DriftWatch

logger = logging.getLogger(__name__)


class Backlogs:
    """Reads, remembers what the last sweep has found, and has everything compared with what it should be."""

    def __init__(self, jetstream: JetStream, drift: DriftWatch) -> None:
        self._jetstream = jetstream
        self._drift = drift
        self._streams: dict[str, StreamState] = {}
        self._scheduled: dict[QueueName, tuple[StreamState, int]] = {}
        self._unseen: set[str] = set()
        """Streams of which nobody has told yet what they hold, since their server is away."""
        self._doubts: dict[QueueName, Doubts] = {}

    async def sweep(self, queues: Mapping[Key, Queue]) -> None:
        """Read the state of every stream. Raises BrokerUnavailable and BrokerRefused."""
        await self._drift.listen()
        streams: dict[str, StreamState] = {}
        unseen: set[str] = set()
        configs, comparing = {}, self._drift.streams_are_due()
        async for page in self._jetstream.streams():
            # What a server that is away holds is still there, and as it was.
            streams |= {name: self._streams[name] for name in page.missing if name in self._streams}
            unseen |= {name for name in page.missing if name not in self._streams}
            for info in page.found:
                config = info["config"]
                streams[config["name"]] = stream_state(info)
                if comparing:
                    configs[config["name"]] = config
        self._streams, self._unseen = streams, unseen
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
        held, _, _ = self.stored(queue.name)
        consumers = None
        if closely or (held and held.messages):
            infos = await self._jetstream.consumers(queue.name.stream)
            consumers = {info["name"]: consumer_state(info) for info in infos or ()}
            self._drift.compare_consumers(queue, infos or ())
            if held and consumers and await self._is_doubtful(queue.name, held, consumers):
                return None
        dead = self._messages(queue.name.dead_letter_stream)
        return Sample(held, dead, await self._count(queue.name), consumers)

    def forget_others(self, queues: Set[Key]) -> None:
        """Of queues that are gone, or held elsewhere, nothing is kept."""
        self._drift.forget_others(queues)
        names = {QueueName(key.namespace, key.name) for key in queues}
        for name in self._scheduled.keys() - names:
            del self._scheduled[name]
        for name in self._doubts.keys() - names:
            del self._doubts[name]

    async def _is_doubtful(self, name: QueueName, held: StreamState, consumers: Mapping[str, ConsumerState]) -> bool:
        told, messages = sum(state.pending + state.in_flight for state in consumers.values()), held.messages
        if not told and messages:  # what was held when the last sweep came by may be done
            info = await self._jetstream.stream(name.stream)
            messages = info["state"]["messages"] if info else 0
        before = self._doubts.get(name, Doubts())
        doubts = self._doubts[name] = weigh(before, messages, told, time.monotonic())
        if doubts.strangers > before.strangers:
            logger.warning(
                "messages that no consumer takes: stream=%s count=%d; look at their subjects with `nats stream view`",
                name.stream,
                doubts.strangers,
            )
        return doubts.since is not None

    def _messages(self, stream: str) -> int | None:
        """None where nobody tells."""
        return None if stream in self._unseen else self._streams.get(stream, NO_STREAM).messages

    async def _count(self, name: QueueName) -> int | None:
        """Tasks not yet due, None where nobody tells; asked again only when the stream has moved."""
        if not self._messages(name.later_stream):
            return self._messages(name.later_stream)
        later, before = self._streams[name.later_stream], self._scheduled.get(name)
        if before and before[0] == later:
            return before[1]
        info = await self._jetstream.consumer(name.later_stream, SCHEDULED_CONSUMER)
        if info is None:  # somebody has removed the counter: it is about to be made anew
            return None
        count: int = info["num_pending"]
        self._scheduled[name] = (later, count)
        return count

"""Reading the backlog of all queues of one broker from JetStream, with as few requests as possible.

`STREAM.LIST` pages show which streams hold messages and which have changed; only these streams' consumers are read.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

from protoqueue.protocol.consumer_names import SCHEDULED_CONSUMER, group_of_consumer
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling.load import (
    NO_STREAM,
    ConsumerState,
    Place,
    Sample,
    StreamState,
    consumer_state,
    stream_state,
    together,
)
from protoqueue_operator.autoscaling.stale_reads import Doubts, weigh
from protoqueue_operator.jetstream.assets import Consumer
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.drift import DriftWatch
from protoqueue_operator.jetstream.layout import Layout, initial_layout
from protoqueue_operator.jetstream.stranded import stranded

STRANDED_AGAIN_S = 20.0
"""How often to read the subjects of a queue that holds more messages than its consumers report."""

OLDEST_AGAIN_S = 5.0
"""How often to look for the oldest due task in a stream of scheduled ones: JetStream sends the whole message."""

Infos = list[dict[str, Any]]


class Backlogs:
    """Reads, remembers the findings of the last sweep, and has everything compared with the desired state."""

    def __init__(
        self,
        jetstream: JetStream,
        drift: DriftWatch,
        layout: Callable[[Key], Layout | None] = lambda _: None,
        is_redriven: Callable[[Key], bool] = lambda _: False,
    ) -> None:
        """`layout` is asked in which streams a queue's tasks lie; None: as in a new one.

        `is_redriven`: whether a Redrive may have stored in them how far it has come.
        """
        self._jetstream = jetstream
        self._drift = drift
        self._layout = layout
        self._is_redriven = is_redriven
        self._streams: dict[str, StreamState] = {}
        self._scheduled: dict[QueueName, int] = {}
        """Tasks not yet due in the same stream as due ones, as last reported."""
        self._counted: dict[QueueName, tuple[StreamState, int]] = {}
        """The same in a stream of their own, and what that was like then."""
        self._resting: dict[QueueName, object] = {}
        """By queue in which nothing was due: the states of its streams at that time."""
        self._followed: dict[QueueName, int] = {}
        """How much was ever stored in a queue's streams when its consumers were last read, or it was first seen."""
        self._unseen: set[str] = set()
        """Streams whose contents are not known yet, since their server is away."""
        self._checkpoints: dict[QueueName, int] = {}
        """How many messages of each queue belong to Redrives, as last counted."""
        self._doubts: dict[QueueName, Doubts] = {}
        self._stranded: dict[QueueName, tuple[float, dict[str, int]]] = {}
        """When each queue's subjects were last read, and which messages no consumer takes."""
        self._oldest: dict[QueueName, tuple[float, str]] = {}
        """When the oldest due task was last looked for, and when it was stored."""

    async def sweep(self, queues: Mapping[Key, Queue]) -> None:
        """Read the state of every stream. Raises BrokerUnavailable and BrokerRefused."""
        await self._drift.listen()
        streams: dict[str, StreamState] = {}
        unseen: set[str] = set()
        configs, comparing = {}, self._drift.streams_are_due()
        async for page in self._jetstream.streams():
            # Streams on a server that is away still exist, unchanged.
            streams |= {name: self._streams[name] for name in page.missing if name in self._streams}
            unseen |= {name for name in page.missing if name not in self._streams}
            for info in page.found:
                config = info["config"]
                streams[config["name"]] = stream_state(info)
                if comparing:
                    configs[config["name"]] = config
        self._streams, self._unseen = streams, unseen
        if comparing:
            held = {name: state.messages for name, state in streams.items()}
            self._drift.compare_streams(queues, configs, held)

    def layout(self, queue: Queue) -> Layout:
        """The streams that hold the queue's tasks, as far as known."""
        if known := self._layout(queue.meta.key):
            return known
        return initial_layout(queue.name, queue.spec if isinstance(queue.spec, QueueSpec) else QueueSpec())

    def stored(self, queue: Queue) -> tuple[StreamState | None, ...]:
        """The states of the streams that hold tasks and of the dead letters, each None where there is no such."""
        return tuple(map(self._streams.get, (*self.layout(queue).holding, queue.name.dead_letter_stream)))

    def is_resting(self, queue: Queue) -> bool:
        """Whether nothing was due when the streams were last read, and they have not changed."""
        layout = self.layout(queue)
        held = self._held(layout)
        return held is not None and self._is_resting(queue.name, layout, held)

    def _is_resting(self, name: QueueName, layout: Layout, held: Mapping[str, StreamState]) -> bool:
        if any(state.messages for state in held.values()):
            return self._resting.get(name) == (layout, held)
        stored = together(held.values()).last_sequence
        return self._followed.setdefault(name, stored) == stored  # otherwise tasks came and are already done

    def _held(self, layout: Layout) -> dict[str, StreamState] | None:
        """The states of the streams that groups consume; None if an expected one is unknown."""
        if layout.stream not in self._streams or (not layout.sourced and layout.later not in self._streams):
            return None
        return {name: self._streams[name] for name in layout.consumed if name in self._streams}

    async def sample(self, queue: Queue, *, closely: bool) -> Sample | None:
        """Reads consumers only if something may be due, or `closely`; None if the result would be inconsistent.

        Raises BrokerUnavailable and BrokerRefused.
        """
        name, layout = queue.name, self.layout(queue)
        held = self._held(layout)
        consumers, found = None, dict[str, int]()
        scheduled = await self._count(name, layout) if layout.sourced else None
        if closely or (held is not None and not self._is_resting(name, layout, held)):
            infos = await self._consumers(layout)
            if held:
                self._followed[name] = together(held.values()).last_sequence
            consumers = {(info["stream_name"], info["name"]): consumer_state(info) for info in infos}
            self._drift.compare_consumers(queue, infos)
            if not layout.sourced:
                scheduled = self._told(name, layout, consumers)
            if held and infos:
                if (due := await self._due(queue, layout, held, consumers)) is None:
                    return None
                found = await self._stranded_in(queue, layout, due, infos)
        elif not layout.sourced:
            scheduled = self._scheduled.get(name) if held and any(s.messages for s in held.values()) else 0
            if held is None and any(each in self._unseen for each in layout.holding):
                scheduled = None
        dead = self._messages(name.dead_letter_stream)
        tasks = None if held is None else await self._tasks(queue, layout, held)
        return Sample(tasks, dead, scheduled, consumers, found, self._streams.get(layout.stream))

    async def _consumers(self, layout: Layout) -> Infos:
        listed = await asyncio.gather(*map(self._jetstream.consumers, layout.consumed))
        return [info for infos in listed for info in infos or ()]

    def _told(self, name: QueueName, layout: Layout, consumers: Mapping[Place, ConsumerState]) -> int | None:
        """Tasks not yet due; None if the counting consumer was removed: it is about to be recreated."""
        counters = {stream: consumers.get((stream, SCHEDULED_CONSUMER)) for stream in layout.holding}
        if counters[layout.later] is None:
            self._scheduled.pop(name, None)
            return None
        self._scheduled[name] = sum(state.pending for state in counters.values() if state)
        return self._scheduled[name]

    async def _due(
        self, queue: Queue, layout: Layout, held: Mapping[str, StreamState], consumers: Mapping[Place, ConsumerState]
    ) -> int | None:
        """How many messages are due, also those that no consumer reports; None if the answers are doubted."""
        name = queue.name
        told = sum(state.pending + state.in_flight for place, state in consumers.items() if group_of_consumer(place[1]))
        due = self._not_scheduled(queue, layout, held)
        if self._is_redriven(queue.meta.key) or name in self._checkpoints:
            due = await self._without_checkpoints(queue, layout, held)
        if not told and due:  # messages held at the last sweep may be done, or not due after all
            infos = await asyncio.gather(*(self._jetstream.stream(each, name.all_recurring) for each in held))
            states = [info["state"] for info in infos if info]
            due = sum(state["messages"] - sum((state.get("subjects") or {}).values()) for state in states)
            due = max(0, due - (0 if layout.sourced else self._scheduled.get(name, 0)) - self._checkpoints.get(name, 0))
        doubts = self._doubts[name] = weigh(self._doubts.get(name, Doubts()), due, told, time.monotonic())
        if told or due or doubts.since is not None:
            self._resting.pop(name, None)
        else:
            self._resting[name] = (layout, dict(held))
        return None if doubts.since is not None else due

    async def _without_checkpoints(self, queue: Queue, layout: Layout, held: Mapping[str, StreamState]) -> int:
        """How many messages are due, after counting those of Redrives again."""
        name = queue.name
        counts = await asyncio.gather(*(self._jetstream.count(each, name.all_checkpoints) for each in held))
        self._checkpoints.pop(name, None)
        if any(counts):
            self._checkpoints[name] = sum(counts)
        return self._not_scheduled(queue, layout, held)

    def _not_scheduled(self, queue: Queue, layout: Layout, held: Mapping[str, StreamState]) -> int:
        messages = sum(state.messages for state in held.values()) - self._checkpoints.get(queue.name, 0)
        if layout.sourced:
            return max(0, messages)
        recurring = len(queue.spec.active_schedules) if isinstance(queue.spec, QueueSpec) else 0
        return max(0, messages - self._scheduled.get(queue.name, 0) - recurring)

    async def _tasks(self, queue: Queue, layout: Layout, held: Mapping[str, StreamState]) -> StreamState:
        """The due messages, as if they had a stream of their own."""
        all_of_it = together(held.values())
        due = self._not_scheduled(queue, layout, held)
        if due == all_of_it.messages:
            return all_of_it
        first_at = await self._first_due_at(queue, held) if due else ""
        return replace(all_of_it, messages=due, first_at=first_at)

    async def _first_due_at(self, queue: Queue, held: Mapping[str, StreamState]) -> str:
        name = queue.name
        looked_at, before = self._oldest.get(name, (0.0, ""))
        now = time.monotonic()
        if looked_at and now - looked_at < OLDEST_AGAIN_S:
            return before
        asked = [(stream, each) for stream, state in held.items() if state.messages for each in _patterns(queue)]
        firsts = await asyncio.gather(*(self._jetstream.first_message(*each) for each in asked))
        first_at = min((message["time"] for message in firsts if message), default="")
        self._oldest[name] = now, first_at
        return first_at

    def forget_others(self, queues: Set[Key]) -> None:
        """Forget queues that are gone or live elsewhere."""
        self._drift.forget_others(queues)
        names = {QueueName(key.namespace, key.name) for key in queues}
        kept: tuple[dict[QueueName, Any], ...] = (
            self._scheduled, self._counted, self._followed, self._resting, self._checkpoints, self._doubts,
            self._stranded, self._oldest,
        )  # fmt: skip
        for known in kept:
            for name in known.keys() - names:
                del known[name]

    async def _stranded_in(
        self, queue: Queue, layout: Layout, due: int, infos: Iterable[Mapping[str, Any]]
    ) -> dict[str, int]:
        """Reads subjects only if more is stored than consumers report, and only periodically."""
        name, consumers = queue.name, [Consumer.observed(info) for info in infos if group_of_consumer(info["name"])]
        states = [consumer_state(info) for info in infos if group_of_consumer(info["name"])]
        if due <= sum(state.pending + state.in_flight for state in states):
            self._stranded.pop(name, None)
            return {}
        looked_at, before = self._stranded.get(name, (0.0, {}))
        now = time.monotonic()
        if looked_at and now - looked_at < STRANDED_AGAIN_S:
            return before
        found: dict[str, int] = {}
        for stream in layout.consumed:
            filters = [each for consumer in consumers if consumer.stream == stream for each in consumer.filter_subjects]
            for within in _patterns(queue):
                info = await self._jetstream.stream(stream, within)
                subjects = (info or {"state": {}})["state"].get("subjects") or {}
                found |= stranded(subjects, filters)
        self._stranded[name] = now, found
        return found

    def _messages(self, stream: str) -> int | None:
        """None if unknown."""
        return None if stream in self._unseen else self._streams.get(stream, NO_STREAM).messages

    async def _count(self, name: QueueName, layout: Layout) -> int | None:
        """Tasks not yet due in a stream of their own, None if unknown; read again when the stream has changed."""
        if not self._messages(layout.later):
            return self._messages(layout.later)
        later, before = self._streams[layout.later], self._counted.get(name)
        if before and before[0] == later:
            return before[1]
        info = await self._jetstream.consumer(layout.later, SCHEDULED_CONSUMER)
        if info is None:  # the counting consumer was removed: it is about to be recreated
            return None
        count: int = info["num_pending"]
        self._counted[name] = (later, count)
        return count


def _patterns(queue: Queue) -> tuple[str, ...]:
    """The subjects of all due tasks."""
    is_ordered = isinstance(queue.spec, QueueSpec) and queue.spec.ordering is not None
    return queue.name.waiting_subjects(ordered=is_ordered)

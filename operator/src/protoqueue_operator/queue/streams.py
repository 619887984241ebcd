"""Brings the streams of a queue from the observed to the desired state without losing a task at any time.

A stream claims a subject only after the previous owner has released it. In a Broadcast queue a stream keeps only
messages with a consumer: it accepts nothing before its consumers exist.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from protoqueue_operator.api.v1alpha1.errors import ImmutableField, LevelsGrowing, TakenOver
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.assets import Consumer, Owner, Stream
from protoqueue_operator.jetstream.client import JetStream, Json
from protoqueue_operator.jetstream.contents import contents, own_streams
from protoqueue_operator.jetstream.desired import queue_stream_names, queue_streams, standing_consumers
from protoqueue_operator.jetstream.diff import (
    Action,
    CreateStream,
    DeleteStream,
    UpdateStream,
    other_shape,
    plan_consumer,
    plan_stream,
)
from protoqueue_operator.jetstream.layout import Layout, initial_layout, is_closed, is_limited, layout_of
from protoqueue_operator.jetstream.ownership import is_lost, is_owned, refuse_earlier_namespace, refuse_foreign
from protoqueue_operator.queue.reclaim import record_loss
from protoqueue_operator.queue.state import QueueStates
from protoqueue_operator.runtime.cache import Index

_CATCH_UP_S, _CATCH_UP_LOOKS = 3.0, 30


class QueueStreams:
    def __init__(self, states: QueueStates, groups_of: Index[Group, Key], now: Callable[[], datetime]) -> None:
        self._states = states
        self._groups_of = groups_of
        self._now = now

    async def apply(
        self, queue: Queue, spec: QueueSpec, jetstream: JetStream
    ) -> tuple[Layout, tuple[Stream, ...], list[Action]]:
        """Returns the layout, the desired streams, and what was done.

        Raises Refusal, BrokerUnavailable and BrokerRefused.
        """
        found = await asyncio.gather(*map(jetstream.stream, queue_stream_names(queue.name)))
        infos = {info["config"]["name"]: info for info in found if info}
        observed = {name: Stream.observed(info["config"]) for name, info in infos.items()}
        self._refuse_lost(queue, observed)
        _refuse_anothers(queue, spec, observed)
        sourced = not await _leaves_later(queue, spec, observed, jetstream)
        desired = queue_streams(queue, spec, observed, sourced=sourced)
        await _refuse_other_shape(queue, desired, observed, jetstream)
        there = {name: info["config"] for name, info in infos.items() if name in observed}
        steps = _Steps(queue, spec, jetstream, there)
        steps.plan(desired)  # impossible changes are refused before anything is done
        await steps.make_room(desired)
        if spec.delivery == "Broadcast" and not sourced:
            await steps.prepare_broadcast(desired)
            await self._wait_for_groups(queue, steps)
        await steps.streams(desired)
        await steps.delete_history()
        layout = layout_of(queue.name, {stream.name: stream for stream in desired}) or initial_layout(queue.name, spec)
        await steps.standing(layout)
        worked_off = await steps.delete_empty(layout, infos)
        layout = replace(layout, draining=tuple(name for name in layout.draining if name not in worked_off))
        self._states.layouts[queue.meta.key] = layout
        return layout, tuple(stream for stream in desired if stream.name not in worked_off), steps.done

    async def _wait_for_groups(self, queue: Queue, steps: "_Steps") -> None:
        """Each group that consumes the queue must consume the stream of new tasks too. Raises LevelsGrowing."""
        if not steps.is_to_open_new:
            return
        before, after = await steps.consumer_names(queue.name.stream), await steps.consumer_names(queue.name.new_stream)
        for group in self._groups_of.get(queue.meta.key):
            if (first := group.name.level_consumer(0)) in before and first not in after:
                self._states.layouts.pop(queue.meta.key, None)  # the group has to find that stream
                raise LevelsGrowing(f"the group {group.meta.name} does not listen to the stream of new tasks yet")

    def _refuse_lost(self, queue: Queue, observed: Mapping[str, Stream]) -> None:
        """Raises TakenOver until it is time to reclaim the streams."""
        key, now, states = queue.meta.key, self._now(), self._states
        lost = [each.name for each in states.streams.get(key, ()) if is_lost(each, observed.get(each.name))]
        if not lost:
            if states.is_taken_over(key):  # the other Queue is gone, and its streams with it
                del states.takeovers[key]
            return
        takeover = states.takeovers[key] = record_loss(states.takeovers.get(key), now)
        if not takeover.is_taken_back:
            raise TakenOver(
                f"the stream {lost[0]} was taken over by another {key}, as of another cluster that uses the same NATS "
                "account: give each cluster an account of its own, or delete one of the two Queues. "
                f"The stream is taken back at {takeover.until:%Y-%m-%dT%H:%MZ}"
            )


class _Steps:
    """Changes the streams of one queue, one after the other. Raises BrokerUnavailable and BrokerRefused."""

    def __init__(self, queue: Queue, spec: QueueSpec, jetstream: JetStream, there: dict[str, Json]) -> None:
        self._queue = queue
        self._spec = spec
        self._jetstream = jetstream
        self.there = there
        """The current configurations by name."""
        self.done: list[Action] = []

    async def _apply(self, plan: list[Action], there: Mapping[str, Json] | None = None) -> None:
        await apply_plan(self._jetstream, plan, self.there if there is None else there)
        self.done += plan

    async def make_room(self, desired: tuple[Stream, ...]) -> None:
        """Schedules cannot be switched off: an empty stream kept from an earlier queue is replaced by a new one."""
        for stream in desired:
            kept = self.there.get(stream.name)
            if kept and kept.get("allow_msg_schedules") and not stream.allow_msg_schedules:
                if stream.name != self._queue.name.stream:
                    continue
                await self._apply([DeleteStream(stream.name)])
                del self.there[stream.name]

    async def prepare_broadcast(self, desired: tuple[Stream, ...]) -> None:
        """Create the consumers that are never pulled before a stream accepts what they keep."""
        name = self._queue.name
        for stream in desired:
            if stream.name in (name.stream, name.new_stream) and stream.name not in self.there:
                closed = replace(stream, subjects=(f"{name.closed}.{stream.name.lower()}",))
                await self._apply([CreateStream(closed)])
                self.there[stream.name] = closed.config()
        await self.standing(initial_layout(name, self._spec))

    @property
    def is_to_open_new(self) -> bool:
        """Whether the stream of new tasks does not accept any yet, and must."""
        name = self._queue.name
        return is_limited(self._spec) and is_closed(name, Stream.observed(self.there[name.new_stream]))

    async def consumer_names(self, stream: str) -> set[str]:
        return {info["name"] for info in await self._jetstream.consumers(stream) or ()}

    def plan(self, desired: tuple[Stream, ...]) -> list[Action]:
        """Raises ForeignAsset and ImmutableField."""
        observed = {name: Stream.observed(config) for name, config in self.there.items()}
        plans = [plan_stream(stream, observed.get(stream.name), adopts=self._queue.meta.adopts) for stream in desired]
        return [action for plan in plans for action in plan]

    async def streams(self, desired: tuple[Stream, ...]) -> None:
        await self._apply(self.plan(desired))

    async def standing(self, layout: Layout) -> None:
        """The consumers that are never pulled."""
        for wanted in standing_consumers(self._queue, self._spec, layout):
            info = await self._jetstream.consumer(wanted.stream, wanted.name)
            plan = plan_consumer(wanted, Consumer.observed(info) if info else None)
            await self._apply(plan, {wanted.name: info["config"]} if info else {})

    async def delete_history(self) -> None:
        """Delete records that the queue no longer keeps; another owner's stay."""
        kept = self.there.get(self._queue.name.history_stream)
        if kept is None or self._spec.history is not None:
            return
        queue = self._queue
        if is_owned(Owner.of(queue.meta), queue.namespace_uid, queue.meta.adopts, Stream.observed(kept)):
            await self._apply([DeleteStream(queue.name.history_stream)])

    async def delete_empty(self, layout: Layout, infos: Mapping[str, Json]) -> set[str]:
        """Delete streams that were closed and are empty; returns the names."""

        def is_empty(info: Json) -> bool:
            return not info["state"]["messages"] and is_closed(self._queue.name, Stream.observed(info["config"]))

        empty = {name for name in layout.draining if is_empty(infos[name])}
        await self._apply([DeleteStream(name) for name in sorted(empty)])
        return empty


def _refuse_anothers(queue: Queue, spec: QueueSpec, observed: Mapping[str, Stream]) -> None:
    """Raises ForeignAsset before anything is done. Streams that the queue does not need stay, whoever owns them."""
    unused = set() if spec.dead_letter.enabled else {queue.name.dead_letter_stream}
    unused |= set() if spec.history else {queue.name.history_stream}
    for name, stream in observed.items():
        if name not in unused:
            refuse_foreign(Owner.of(queue.meta), stream.owner, f"stream {name}")
            refuse_earlier_namespace(queue.namespace_uid, stream, queue.meta.adopts)


async def _leaves_later(queue: Queue, spec: QueueSpec, observed: dict[str, Stream], jetstream: JetStream) -> bool:
    """Whether the queue's stream need not, or no longer, source from LATER what comes due.

    A Broadcast queue leaves LATER when that is empty: it is closed before it is believed to be.
    """
    name, own, later = queue.name, observed.get(queue.name.stream), observed.get(queue.name.later_stream)
    if spec.ordering:
        return False
    if own is None or own.source is None or later is None:
        return True
    if spec.delivery != "Broadcast":
        await _let_source_catch_up(queue, jetstream)
        return True
    if await _due_or_scheduled(queue, jetstream):
        return False
    info = await jetstream.stream(later.name)
    closed = [UpdateStream(replace(later, subjects=(f"{name.closed}.later",)))]
    await apply_plan(jetstream, closed, {later.name: info["config"]} if info else {})
    if await _due_or_scheduled(queue, jetstream):
        return False  # and it is reopened
    await jetstream.delete_stream(later.name)
    del observed[later.name]
    return True


async def _let_source_catch_up(queue: Queue, jetstream: JetStream) -> None:
    """What was sourced is acknowledged a second later; until then it would be delivered from LATER too.

    Where the queue is full it waits there, and where something is due all the time there is no such moment.
    """
    for _ in range(_CATCH_UP_LOOKS):
        if not await jetstream.subjects(queue.name.later_stream, queue.name.all_due):
            return
        await asyncio.sleep(_CATCH_UP_S / _CATCH_UP_LOOKS)


async def _due_or_scheduled(queue: Queue, jetstream: JetStream) -> int:
    """How many messages LATER holds besides recurring tasks."""
    info = await jetstream.stream(queue.name.later_stream, queue.name.all_recurring)
    if info is None:
        return 0
    held: int = info["state"]["messages"] - sum((info["state"].get("subjects") or {}).values())
    return held


async def _refuse_other_shape(
    queue: Queue, desired: tuple[Stream, ...], observed: Mapping[str, Stream], jetstream: JetStream
) -> None:
    """Raises ImmutableField if the streams hold tasks, kept by Retain, that no group would consume any more."""
    for stream in desired:
        kept = observed.get(stream.name)
        other = other_shape(stream.shape, kept.shape) if kept and stream.shape else None
        if other is None:
            continue
        field, made_for = other
        streams = await own_streams(queue, jetstream)
        streams.pop(queue.name.dead_letter_stream, None)
        if what := contents(queue, streams):
            raise ImmutableField(
                f"the stream {stream.name} is kept from {made_for} and holds {what}, some of which nobody would take: "
                "state the former value, or use another name and move the tasks there",
                field=field,
            )

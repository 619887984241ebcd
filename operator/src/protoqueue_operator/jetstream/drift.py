"""Detects changes by others to the operator's assets in JetStream.

Advisories report at once streams edited or deleted and consumers deleted, paused or resumed. Changes that the server
does not announce, an edited consumer or a purged schedule, are detected from the requests: these are messages like any
other, and the operator's own are not echoed to it. What all of that misses, as during an outage or without a
permission, is found by comparing what sampling reads anyway.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Protocol

from nats.aio.msg import Msg

from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.consumer_names import KEPT_CONSUMER, SCHEDULED_CONSUMER, group_of_consumer
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import Consumer, Stream
from protoqueue_operator.jetstream.broker import Broker, Brokers
from protoqueue_operator.jetstream.kv import bucket_of
from protoqueue_operator.jetstream.layout import Layout

_ADVISORIES = (
    "$JS.EVENT.ADVISORY.STREAM.UPDATED.*",
    "$JS.EVENT.ADVISORY.STREAM.DELETED.*",
    "$JS.EVENT.ADVISORY.CONSUMER.DELETED.*.*",
    "$JS.EVENT.ADVISORY.CONSUMER.PAUSE.*.*",
)
_CONSUMER_REQUESTS = ("$JS.API.CONSUMER.CREATE.", "$JS.API.CONSUMER.DURABLE.CREATE.")
"""Followed by the stream and the consumer, and in the first by a filter."""

_REMOVALS = ("$JS.API.STREAM.PURGE.", "$JS.API.STREAM.MSG.DELETE.")
"""Followed by the stream."""

_DONE_S = (0.5,)
"""When to check after a change. However often it is repeated, no queue is checked more often."""
_ASKED_FOR_S = (0.5, 5.0)
"""When to check after a request was heard: it is heard before it is executed, which takes time in a busy cluster."""

COMPARE_AGAIN_S = 20.0
"""How often samples are compared with the desired state."""


class Desired(Protocol):
    """The desired assets of a queue, as far as known."""

    def streams(self, queue: Key) -> Iterable[Stream]: ...

    def layout(self, queue: Key) -> Layout | None: ...

    def consumers(self, queue: Key) -> Iterable[Consumer]:
        """The consumers of its groups; none of refused groups, for which nothing can be repaired."""


class DriftWatch:
    """Watches one broker.

    `look_again` is called with the queue whose assets, or whose groups' assets, may have changed.
    """

    def __init__(
        self,
        broker: Broker,
        brokers: Brokers,
        queues: Mapping[Key, Queue],
        desired: Desired,
        look_again: Callable[[Key], None],
    ) -> None:
        self._broker = broker
        self._brokers = brokers
        self._queues = queues
        self._desired = desired
        self._look_again = look_again
        self._unheard = dict.fromkeys(_ADVISORIES, self._stream_touched)
        self._unheard[f"$KV.{CONFIG_BUCKET}.>"] = self._entry_touched
        self._unheard |= {f"{request}>": self._consumer_asked_for for request in _CONSUMER_REQUESTS}
        self._unheard |= {f"{request}*": self._removal_asked_for for request in _REMOVALS}
        self._soon: set[tuple[Key, float]] = set()
        self._buckets_soon: set[float] = set()
        self._compared: dict[Key, float] = {}
        self._streams_compared = time.monotonic()

    async def listen(self) -> None:
        """Subscribe, once; the connection keeps subscriptions through outages. Raises BrokerUnavailable."""
        for subject, heard in list(self._unheard.items()):
            await self._broker.connection.subscribe(subject, heard)
            del self._unheard[subject]
            self._streams_compared = -COMPARE_AGAIN_S  # earlier changes were not heard: compare at once

    def streams_are_due(self) -> bool:
        return time.monotonic() - self._streams_compared >= COMPARE_AGAIN_S

    def compare_streams(
        self, queues: Mapping[Key, Queue], configs: Mapping[str, Mapping[str, Any]], held: Mapping[str, int]
    ) -> None:
        """`configs` as the server lists them, by name, and how many messages each stream holds."""
        self._streams_compared = time.monotonic()
        for key, queue in queues.items():
            if self._is_worked_off(queue, held):
                self._look_again(key)
                continue
            for wanted in self._desired.streams(key):
                config = configs.get(wanted.name)
                if config is None or Stream.observed(config) != wanted:
                    self._look_again(key)
                    break

    def compare_consumers(self, queue: Queue, infos: Iterable[Mapping[str, Any]]) -> None:
        """Does nothing if that queue was compared recently."""
        key, now = queue.meta.key, time.monotonic()
        if now - self._compared.get(key, 0.0) < COMPARE_AGAIN_S:
            return
        self._compared[key] = now
        there = {each.place: each for each in map(Consumer.observed, infos)}
        if not all(_as_wanted(each, there.get(each.place)) for each in self._desired.consumers(key)):
            self._look_again(key)

    def _is_worked_off(self, queue: Queue, held: Mapping[str, int]) -> bool:
        """Whether a stream that is kept only until it is empty is empty, except for recurring tasks."""
        layout = self._desired.layout(queue.meta.key)
        if layout is None or not isinstance(queue.spec, QueueSpec):
            return False
        leaving = (layout.later,) if layout.sourced and not queue.spec.ordering else layout.draining
        return any(held.get(stream, 0) <= len(queue.spec.active_schedules) for stream in leaving)

    def forget_others(self, queues: Set[Key]) -> None:
        """Forget queues that are gone or live elsewhere."""
        for key in self._compared.keys() - queues:
            del self._compared[key]

    def _stream_touched(self, message: Msg) -> None:
        """The stream's name is the sixth part of every advisory's subject."""
        stream = message.subject.split(".")[5]
        if key := _queue_of(stream):
            self._look_soon(key, _DONE_S)
        elif bucket_of(stream):
            self._bucket_touched(_DONE_S)

    def _consumer_asked_for(self, message: Msg) -> None:
        """Another client creates or updates a consumer with a name of the operator's."""
        stream, _, rest = _after(_CONSUMER_REQUESTS, message.subject).partition(".")
        consumer = rest.partition(".")[0]
        key = _queue_of(stream)
        if key and (consumer in (SCHEDULED_CONSUMER, KEPT_CONSUMER) or group_of_consumer(consumer)):
            self._look_soon(key, _ASKED_FOR_S)

    def _removal_asked_for(self, message: Msg) -> None:
        """Another client removes messages: some stored by the operator may be among them."""
        stream = _after(_REMOVALS, message.subject)
        key = _queue_of(stream)
        queue = self._queues.get(key) if key else None
        if queue and isinstance(queue.spec, QueueSpec) and queue.spec.schedules:
            self._look_soon(queue.meta.key, _ASKED_FOR_S)
        elif bucket_of(stream) == CONFIG_BUCKET:
            self._bucket_touched(_ASKED_FOR_S)

    def _bucket_touched(self, delays_s: tuple[float, ...]) -> None:
        """A bucket with entries of every queue has changed, or is gone."""
        self._broker.configs.doubt()
        loop = asyncio.get_running_loop()
        for delay_s in delays_s:
            if delay_s not in self._buckets_soon:  # however often it is changed, its queues are counted once
                self._buckets_soon.add(delay_s)
                loop.call_later(delay_s, self._look_at_all, delay_s)

    def _look_at_all(self, delay_s: float) -> None:
        self._buckets_soon.discard(delay_s)
        for key in self._brokers.queues_of(self._broker):
            self._look_again(key)

    def _look_soon(self, key: Key, delays_s: tuple[float, ...]) -> None:
        """Does nothing if the queue lives elsewhere: in a NATS of their own, tenants can name any queue."""
        if self._brokers.known(key) is not self._broker:
            return
        loop = asyncio.get_running_loop()
        for delay_s in delays_s:
            if (key, delay_s) not in self._soon:
                self._soon.add((key, delay_s))
                loop.call_later(delay_s, self._look_now, key, delay_s)

    def _look_now(self, key: Key, delay_s: float) -> None:
        self._soon.discard((key, delay_s))
        self._look_again(key)

    def _entry_touched(self, message: Msg) -> None:
        """Another client wrote into `pq-config`; the operator's own writes are not heard."""
        parts = message.subject.removeprefix(f"$KV.{CONFIG_BUCKET}.").split(".")
        if len(parts) >= 2:
            self._look_soon(Key("Queue", parts[0], parts[1]), _DONE_S)


def _queue_of(stream: str) -> Key | None:
    name = QueueName.of_stream(stream)
    return Key("Queue", name.namespace, name.name) if name else None


def _after(prefixes: Iterable[str], subject: str) -> str:
    return next(subject.removeprefix(prefix) for prefix in prefixes if subject.startswith(prefix))


def _as_wanted(wanted: Consumer, there: Consumer | None) -> bool:
    return there is not None and wanted.same_configuration(there) and wanted.paused == there.paused

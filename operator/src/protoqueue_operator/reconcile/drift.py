"""Notices what others do to the operator's assets in JetStream.

Advisories tell at once of streams edited or deleted and of consumers deleted, paused or resumed. What they miss, as
during an outage, and what the server does not announce, a consumer that was edited, is found by comparing what sampling
reads anyway.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nats.aio.msg import Msg

from protoqueue.naming import CONFIG_BUCKET, QueueName
from protoqueue_operator.adapters.connections import Connection
from protoqueue_operator.core.assets import Consumer, Stream
from protoqueue_operator.core.resources import Key, Queue
from protoqueue_operator.reconcile.runtime import Runtime

_ADVISORIES = (
    "$JS.EVENT.ADVISORY.STREAM.UPDATED.*",
    "$JS.EVENT.ADVISORY.STREAM.DELETED.*",
    "$JS.EVENT.ADVISORY.CONSUMER.DELETED.*.*",
    "$JS.EVENT.ADVISORY.CONSUMER.PAUSE.*.*",
)
COMPARE_AGAIN_S = 20.0
"""How often what is sampled is compared with what it should be."""


class DriftWatch:
    """Of one broker. `look_again` is called with the queue whose assets, or whose groups' assets, are in question."""

    def __init__(self, runtime: Runtime, connection: Connection, look_again: Callable[[Key], None]) -> None:
        self._runtime = runtime
        self._connection = connection
        self._look_again = look_again
        self._unheard = dict.fromkeys(_ADVISORIES, self._stream_touched)
        self._unheard[f"$KV.{CONFIG_BUCKET}.>"] = self._entry_touched
        self._compared: dict[Key, float] = {}
        self._streams_compared = time.monotonic()

    async def listen(self) -> None:
        """Subscribe, once; the connection keeps subscriptions through outages. Raises BrokerUnavailable."""
        for subject, heard in list(self._unheard.items()):
            await self._connection.subscribe(subject, heard)
            del self._unheard[subject]

    def streams_are_due(self) -> bool:
        return time.monotonic() - self._streams_compared >= COMPARE_AGAIN_S

    def compare_streams(self, keys: Iterable[Key], configs: Mapping[str, Mapping[str, Any]]) -> None:
        """`configs` as the server lists them, by name."""
        self._streams_compared = time.monotonic()
        for key in keys:
            for wanted in self._runtime.streams.get(key, ()):
                config = configs.get(wanted.name)
                if config is None or Stream.observed(config) != wanted:
                    self._look_again(key)
                    break

    def compare_consumers(self, queue: Queue, infos: Iterable[Mapping[str, Any]]) -> None:
        """Nothing happens where that queue was compared a moment ago."""
        key, now = queue.meta.key, time.monotonic()
        if now - self._compared.get(key, 0.0) < COMPARE_AGAIN_S:
            return
        self._compared[key] = now
        there = {info["name"]: Consumer.observed(info) for info in infos}
        for group in self._runtime.cache.groups_of(key):
            established = self._runtime.state_of(group.meta.key, group.meta.uid).established
            if established and not all(_as_wanted(each, there.get(each.name)) for each in established.consumers):
                self._look_again(key)
                return

    def _stream_touched(self, message: Msg) -> None:
        """The stream's name is the sixth part of every advisory's subject."""
        name = QueueName.of_stream(message.subject.split(".")[5])
        if name:
            self._look_again(Key("Queue", name.namespace, name.name))

    def _entry_touched(self, message: Msg) -> None:
        """Somebody wrote into `pq-config`; what the operator itself writes is not heard."""
        parts = message.subject.removeprefix(f"$KV.{CONFIG_BUCKET}.").split(".")
        if len(parts) >= 2:
            self._look_again(Key("Queue", parts[0], parts[1]))


def _as_wanted(wanted: Consumer, there: Consumer | None) -> bool:
    return there is not None and wanted.same_configuration(there) and wanted.paused == there.paused

"""The broker that lives in this process."""

# ruff: noqa: ARG002  # a broker in memory answers at once: it has no use for timeouts

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from protoqueue.broker import (
    ConsumerState,
    Delivery,
    Inbox,
    Message,
    Published,
    PullEnd,
    Revision,
    StoredMessage,
    StreamState,
    Subscription,
    Turn,
    WrongRevision,
)
from protoqueue.broker.event_loop import OwnLoop
from protoqueue.errors import PayloadTooLarge, QueueFull, Unavailable
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.durations import to_timedelta
from protoqueue.protocol.names import QueueName
from protoqueue.testing.streams import Consumer, Entry, Request, Stream, matches

_TICK_S = 0.005
_MAX_PAYLOAD = 1024 * 1024
_KEPT_S = {DONE_BUCKET: 86_400.0}
"""Seconds for which buckets keep an entry, where they do not keep it for good."""


class MemoryInbox:
    def __init__(
        self, broker: "MemoryBroker", stream: str, consumer: str, receive: Callable[[Delivery], None],
        ended: Callable[[PullEnd], None],
    ) -> None:  # fmt: skip
        self._broker = broker
        self._place = (stream, consumer)
        self._receive = receive
        self._ended = ended

    async def request(self, batch: int, wait_s: float | None) -> None:
        consumer = self._broker.consumer(*self._place)
        if consumer is None:
            self._ended(PullEnd.GONE)
            return
        expires_at = None if wait_s is None else self._broker.seconds() + wait_s
        consumer.requests.append(Request(self._receive, self._ended, batch, expires_at, owner=self))
        self._broker.turn()

    async def withdraw(self) -> None:
        consumer = self._broker.consumer(*self._place)
        for request in [r for r in consumer.requests if r.owner is self] if consumer else []:
            consumer.requests.remove(request)  # type: ignore[union-attr]  # there are none without a consumer


class MemoryBroker:
    """See `Broker` for what its methods promise. Its clock is the system's until `advance` moves it ahead.

    Clients and workers on this broker go by it.
    """

    max_payload = _MAX_PAYLOAD
    connected = True
    acks_refused: str | None = None

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._routes: list[tuple[str, Stream]] = []
        self._forwards: list[tuple[Stream, Stream, QueueName]] = []
        self._keys: dict[tuple[str, str], Revision] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._watches: list[tuple[tuple[str, str], Callable[[], None]]] = []
        self._listeners: list[tuple[str, Callable[[bytes], bytes | None]]] = []
        self._overhearing: list[tuple[str, Callable[[str, bytes], None]]] = []
        self._ahead_s = 0.0
        self._own_loop = OwnLoop()
        self._time_moved: list[Callable[[timedelta], None]] = []
        self._ticking: asyncio.Task[None] | None = None

    def seconds(self) -> float:
        """The time in seconds since the epoch."""
        return time.time() + self._ahead_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds(), UTC)

    def on_time_moved(self, call: Callable[[timedelta], None]) -> None:
        self._time_moved.append(call)

    def advance(self, duration: float | timedelta) -> None:
        """Move the clock: what becomes due, expires or runs out by then does so now."""
        ahead = to_timedelta(duration)
        self._ahead_s += ahead.total_seconds()
        for call in self._time_moved:
            call(ahead)
        self.turn()

    def add_stream(self, stream: Stream, subjects: Sequence[str]) -> None:
        self.streams[stream.name] = stream
        self._routes += [(subject, stream) for subject in subjects]

    def remove_stream(self, stream: str) -> None:
        """Forget it, and what it holds; nothing happens where there is none."""
        if self.streams.pop(stream, None) is not None:
            self._routes = [(subject, to) for subject, to in self._routes if to.name != stream]

    def route(self, stream: str, subjects: Sequence[str]) -> None:
        """Have a stream take these subjects, and no others."""
        self._routes = [(subject, to) for subject, to in self._routes if to.name != stream]
        self._routes += [(subject, self.streams[stream]) for subject in subjects]

    def forward(self, source: Stream, target: Stream, queue: QueueName) -> None:
        """Have `target` take over what comes due in `source`."""
        self._forwards.append((source, target, queue))

    def consumer(self, stream: str, consumer: str) -> Consumer | None:
        return self.streams[stream].consumers.get(consumer) if stream in self.streams else None

    def turn(self) -> None:
        """Let everything happen that is due. As it is called from within calls, it never runs callbacks twice."""
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick())
        now = self.seconds()
        for stream in self.streams.values():
            stream.fire(now)
        for source, target, queue in self._forwards:
            _take_over(source, target, queue, now)
        for stream in self.streams.values():
            stream.expire(now)
            stream.deliver(now)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.turn()

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Memory is never away."""

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        self._own_loop.check()
        self._check_size(message)
        published = self._stream_for(message.subject).publish(message, self.seconds())
        self.turn()
        return published

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None, turn: Turn) -> None:
        self._own_loop.check()
        for message in messages:
            self._check_size(message)
        await turn()
        self._stream_for(messages[0].subject).publish_all(messages, self.seconds())
        self.turn()

    async def publish_many(self, messages: Sequence[tuple[str, bytes]], timeout_s: float) -> None:
        self._own_loop.check()
        for subject, data in messages:
            self._stream_for(subject).publish(Message(subject, data), self.seconds())
            for listened, heard in tuple(self._overhearing):
                if matches(listened, subject):
                    heard(subject, data)
        self.turn()

    def _check_size(self, message: Message) -> None:
        if message.size > self.max_payload:
            raise PayloadTooLarge(
                f"the message has {message.size} bytes with headers, the broker allows {self.max_payload}"
            )

    def _stream_for(self, subject: str) -> Stream:
        for pattern, stream in self._routes:
            if matches(pattern, subject):
                return stream
        raise Unavailable(f"no stream has the subject {subject}")

    async def answer(self, reply: str, token: bytes) -> None:
        self._own_loop.check()
        stream, consumer, sequence, _deliveries = reply.split()
        self.streams[stream].answer(consumer, int(sequence), token, self.seconds())
        self.turn()

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        await self.answer(reply, token)

    def open_inbox(
        self, stream: str, consumer: str, receive: Callable[[Delivery], None], ended: Callable[[PullEnd], None]
    ) -> Inbox:
        return MemoryInbox(self, stream, consumer, receive, ended)

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        self._own_loop.check()
        if "*" in key:
            there = (self.key(bucket, each) for place, each in self._keys if place == bucket and matches(key, each))
            return max(there, key=lambda revision: revision.number, default=Revision(None, 0))
        return self.key(bucket, key)

    async def read_value(self, bucket: str, key: str, timeout_s: float) -> bytes | None:
        self._own_loop.check()
        return self.key(bucket, key).value

    def key(self, bucket: str, key: str) -> Revision:
        revision = self._keys.get((bucket, key), Revision(None, 0))
        is_over = self._written.get((bucket, key), 0.0) + _KEPT_S.get(bucket, float("inf")) <= self.seconds()
        return Revision(None, 0) if is_over else revision

    async def keys(self, bucket: str, under: str, timeout_s: float) -> list[str]:
        return [key for place, key in self._keys if place == bucket and key.startswith(f"{under}." if under else "")]

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        before = self.key(bucket, key)
        if before.number != revision:
            raise WrongRevision(f"{key} is at {before.number}, not at {revision}")
        return self.put_key(bucket, key, value)

    def put_key(self, bucket: str, key: str, value: bytes | None) -> int:
        """Write whatever the revision is; None deletes."""
        number = 1 + max((revision.number for revision in self._keys.values()), default=0)
        self._keys[bucket, key] = Revision(value, number)
        self._written[bucket, key] = self.seconds()
        for place, changed in self._watches:
            if place == (bucket, key):
                changed()
        return number

    async def watch_key(self, bucket: str, key: str, changed: Callable[[], None]) -> Subscription:
        watch = ((bucket, key), changed)
        self._watches.append(watch)
        return _Watch(lambda: self._watches.remove(watch))

    async def call(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        return next(iter(await self.call_all(subject, data, timeout_s)), None)

    async def call_all(self, subject: str, data: bytes, wait_s: float) -> list[bytes]:
        answers = [heard(data) for listened, heard in self._listeners if listened == subject]
        return [answer for answer in answers if answer is not None]

    async def listen(self, subject: str, heard: Callable[[bytes], bytes | None]) -> Subscription:
        listener = (subject, heard)
        self._listeners.append(listener)
        return _Watch(lambda: self._listeners.remove(listener))

    async def overhear(self, subject: str, heard: Callable[[str, bytes], None]) -> Subscription:
        listener = (subject, heard)
        self._overhearing.append(listener)
        return _Watch(lambda: self._overhearing.remove(listener))

    async def server_time_us(self, timeout_s: float) -> int:
        return int(self.seconds() * 1e6)

    async def stream_state(self, stream: str, timeout_s: float) -> StreamState | None:
        found = self.streams.get(stream)
        if found is None:
            return None
        first = next(iter(found.entries.values()), None)
        return StreamState(
            messages=len(found.entries),
            bytes=sum(len(entry.message.data) for entry in found.entries.values()),
            first_sequence=first.sequence if first else found.last_sequence + 1,
            last_sequence=found.last_sequence,
            first_at=datetime.fromtimestamp(first.stored_at, UTC) if first else None,
        )

    async def stream_states(self, timeout_s: float) -> dict[str, StreamState]:
        found = {name: await self.stream_state(name, timeout_s) for name in self.streams}
        return {name: state for name, state in found.items() if state is not None}

    async def count_messages(self, stream: str, subject: str, timeout_s: float) -> int | None:
        counts = await self.count_by_subject(stream, subject, timeout_s)
        return None if counts is None else sum(counts.values())

    async def count_by_subject(self, stream: str, subject: str, timeout_s: float) -> dict[str, int] | None:
        found = self.streams.get(stream)
        if found is None:
            return None
        subjects = (each.message.subject for each in found.entries.values())
        return Counter(each for each in subjects if matches(subject, each))

    async def consumer_states(self, stream: str, timeout_s: float) -> list[ConsumerState]:
        found = self.streams.get(stream)
        if found is None:
            return []
        return [
            ConsumerState(
                name=consumer.name,
                pending=found.pending(consumer),
                in_flight=consumer.in_flight,
                redelivered=sum(1 for lease in consumer.leases.values() if lease.deliveries > 1),
                paused=consumer.paused,
                delivered=consumer.delivered,
                delivered_sequence=consumer.cursor,
            )
            for consumer in found.consumers.values()
        ]

    async def next_message(self, stream: str, sequence: int, subject: str, timeout_s: float) -> StoredMessage | None:
        found = self.streams.get(stream)
        entries = found.entries if found else {}
        at_once = [entries[sequence]] if sequence in entries else []  # one who reads on asks for each in turn
        for entry in itertools.chain(at_once, entries.values()):
            if entry.sequence >= sequence and matches(subject, entry.message.subject):
                return _stored(entry, stream)
        return None

    async def last_messages(self, stream: str, subjects: Sequence[str], timeout_s: float) -> list[StoredMessage]:
        last: dict[str, StoredMessage] = {}
        for entry in self.streams[stream].entries.values() if stream in self.streams else ():
            if any(matches(pattern, entry.message.subject) for pattern in subjects):
                last[entry.message.subject] = _stored(entry, stream)
        return sorted(last.values(), key=lambda message: message.sequence)

    async def last_message(self, stream: str, subject: str, timeout_s: float) -> StoredMessage | None:
        entries = self.streams[stream].entries.values() if stream in self.streams else ()
        sequences = [entry.sequence for entry in entries if matches(subject, entry.message.subject)]
        return await self.next_message(stream, max(sequences), subject, timeout_s) if sequences else None

    async def delete_message(self, stream: str, sequence: int, timeout_s: float) -> bool:
        return stream in self.streams and self.streams[stream].remove(sequence)

    async def purge(self, stream: str, subject: str | None, timeout_s: float, before: int | None = None) -> int:
        found = self.streams.get(stream)
        if found is None:
            return 0
        gone = [
            entry.sequence
            for entry in found.entries.values()
            if matches(subject or ">", entry.message.subject) and (before is None or entry.sequence < before)
        ]
        return sum(found.remove(sequence) for sequence in gone)

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None


def _stored(entry: Entry, stream: str) -> StoredMessage:
    message, when = entry.message, datetime.fromtimestamp(entry.stored_at, UTC)
    return StoredMessage(entry.sequence, message.subject, message.data, message.headers, when, stream)


class _Watch:
    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    async def unsubscribe(self) -> None:
        self._end()


def _take_over(source: Stream, target: Stream, queue: QueueName, now: float) -> None:
    """Move what is due; what the target has no room for waits."""
    _, destination = queue.due_transform
    prefix = queue.due(destination).removesuffix(">")
    for entry in list(source.entries.values()):
        due = entry.message
        if not due.subject.startswith(prefix):
            continue
        subject = destination.removesuffix(">") + due.subject.removeprefix(prefix)
        try:
            target.publish(Message(subject, due.data, due.headers), now)
        except QueueFull:
            continue
        source.remove(entry.sequence)

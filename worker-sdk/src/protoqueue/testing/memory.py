"""The broker that lives in this process."""

# ruff: noqa: ARG002  # a broker in memory answers at once: it has no use for timeouts

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from protoqueue.connection import (
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
    WrongRevision,
)
from protoqueue.errors import PayloadTooLarge, QueueFull, Unavailable
from protoqueue.naming import Header, QueueName
from protoqueue.testing.streams import Consumer, Entry, Request, Stream, matches

_TICK_S = 0.005
_MAX_PAYLOAD = 1024 * 1024


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
        expires_at = None if wait_s is None else self._broker.now() + wait_s
        consumer.requests.append(Request(self._receive, self._ended, batch, expires_at, owner=self))
        self._broker.turn()

    async def withdraw(self) -> None:
        consumer = self._broker.consumer(*self._place)
        for request in [r for r in consumer.requests if r.owner is self] if consumer else []:
            consumer.requests.remove(request)  # type: ignore[union-attr]  # there are none without a consumer


class MemoryBroker:
    """See `Broker` for what its methods promise. Its clock is the system's until `advance` moves it ahead."""

    max_payload = _MAX_PAYLOAD
    connected = True

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self._routes: list[tuple[str, Stream]] = []
        self._forwards: list[tuple[Stream, Stream, QueueName]] = []
        self._keys: dict[tuple[str, str], Revision] = {}
        self._watches: list[tuple[tuple[str, str], Callable[[], None]]] = []
        self._listeners: list[tuple[str, Callable[[bytes], bytes | None]]] = []
        self._ahead_s = 0.0
        self._ticking: asyncio.Task[None] | None = None

    def now(self) -> float:
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Move the clock: what becomes due, expires or runs out by then does so now."""
        self._ahead_s += seconds
        self.turn()

    def add_stream(self, stream: Stream, subjects: Sequence[str]) -> None:
        self.streams[stream.name] = stream
        self._routes += [(subject, stream) for subject in subjects]

    def forward(self, source: Stream, target: Stream, queue: QueueName) -> None:
        """Have `target` take over what comes due in `source`."""
        self._forwards.append((source, target, queue))

    def consumer(self, stream: str, consumer: str) -> Consumer | None:
        return self.streams[stream].consumers.get(consumer) if stream in self.streams else None

    def turn(self) -> None:
        """Let everything happen that is due. As it is called from within calls, it never runs callbacks twice."""
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick())
        now = self.now()
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
        if message.size > self.max_payload:
            raise PayloadTooLarge(f"{message.size} bytes with headers; the broker takes {self.max_payload}")
        published = self._stream_for(message.subject).publish(message, self.now())
        self.turn()
        return published

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None) -> None:
        self._stream_for(messages[0].subject).publish_all(messages, self.now())
        self.turn()

    def _stream_for(self, subject: str) -> Stream:
        for pattern, stream in self._routes:
            if matches(pattern, subject):
                return stream
        raise Unavailable(f"no stream takes {subject}")

    async def answer(self, reply: str, token: bytes) -> None:
        stream, consumer, sequence, _deliveries = reply.split()
        self.streams[stream].answer(consumer, int(sequence), token, self.now())
        self.turn()

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        await self.answer(reply, token)

    def open_inbox(
        self, stream: str, consumer: str, receive: Callable[[Delivery], None], ended: Callable[[PullEnd], None]
    ) -> Inbox:
        return MemoryInbox(self, stream, consumer, receive, ended)

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        return self.key(bucket, key)

    def key(self, bucket: str, key: str) -> Revision:
        return self._keys.get((bucket, key), Revision(None, 0))

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        before = self.key(bucket, key)
        if before.number != revision:
            raise WrongRevision(f"{key} is at {before.number}, not at {revision}")
        return self.put_key(bucket, key, value)

    def put_key(self, bucket: str, key: str, value: bytes | None) -> int:
        """Write whatever the revision is; None deletes."""
        number = 1 + max((revision.number for revision in self._keys.values()), default=0)
        self._keys[bucket, key] = Revision(value, number)
        for place, changed in self._watches:
            if place == (bucket, key):
                changed()
        return number

    async def watch_key(self, bucket: str, key: str, changed: Callable[[], None]) -> Subscription:
        watch = ((bucket, key), changed)
        self._watches.append(watch)
        return _Watch(lambda: self._watches.remove(watch))

    async def call(self, subject: str, data: bytes, timeout_s: float) -> bool:
        answers = [heard(data) for listened, heard in self._listeners if listened == subject]
        return any(answer is not None for answer in answers)

    async def listen(self, subject: str, heard: Callable[[bytes], bytes | None]) -> Subscription:
        listener = (subject, heard)
        self._listeners.append(listener)
        return _Watch(lambda: self._listeners.remove(listener))

    async def server_time_us(self, timeout_s: float) -> int:
        return int(self.now() * 1e6)

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
            )
            for consumer in found.consumers.values()
        ]

    async def next_message(self, stream: str, sequence: int, subject: str, timeout_s: float) -> StoredMessage | None:
        found = self.streams.get(stream)
        for entry in found.entries.values() if found else ():
            if entry.sequence >= sequence and matches(subject, entry.message.subject):
                message = entry.message
                when = datetime.fromtimestamp(entry.stored_at, UTC)
                return StoredMessage(entry.sequence, message.subject, message.data, message.headers, when)
        return None

    async def delete_message(self, stream: str, sequence: int, timeout_s: float) -> bool:
        return stream in self.streams and self.streams[stream].remove(sequence)

    async def purge(self, stream: str, subject: str | None, timeout_s: float) -> int:
        found = self.streams.get(stream)
        if found is None:
            return 0
        gone = [e.sequence for e in found.entries.values() if matches(subject or ">", e.message.subject)]
        return sum(found.remove(sequence) for sequence in gone)

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None


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
        if _is_due(entry, now):
            entry.message = _fired(entry.message)
        due = entry.message
        if not due.subject.startswith(prefix):
            continue
        subject = destination.removesuffix(">") + due.subject.removeprefix(prefix)
        try:
            target.publish(Message(subject, due.data, due.headers), now)
        except QueueFull:
            continue
        source.remove(entry.sequence)


def _is_due(entry: Entry, now: float) -> bool:
    schedule = entry.message.headers.get(Header.SCHEDULE)
    return schedule is not None and datetime.fromisoformat(schedule.removeprefix("@at ")).timestamp() <= now


def _fired(scheduled: Message) -> Message:
    headers = {name: text for name, text in scheduled.headers.items() if not name.startswith("Nats-")}
    headers[Header.SCHEDULER] = scheduled.subject
    return Message(scheduled.headers[Header.SCHEDULE_TARGET], scheduled.data, headers)

"""Streams and consumers as JetStream has them, as far as ProtoQueue uses them. Time is an argument everywhere."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush

from protoqueue.broker import (
    ACK,
    IN_PROGRESS,
    NAK,
    Delivery,
    DuplicateInBatch,
    Message,
    Published,
    PullEnd,
    WrongRevision,
)
from protoqueue.errors import QueueFull
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.replaced_header import REMOVED


@dataclass
class Entry:
    """A stored message; times in seconds since the epoch."""

    sequence: int
    message: Message
    stored_at: float
    expires_at: float = float("inf")


@dataclass
class Request:
    """A pull request: for `left` more, until `expires_at`; without a wait it is answered and over at once."""

    receive: Callable[[Delivery], None]
    ended: Callable[[PullEnd], None]
    left: int
    expires_at: float | None
    owner: object


@dataclass
class Lease:
    """A delivered message; it comes again at `until`."""

    deliveries: int
    until: float
    lent: bool = True


@dataclass
class Consumer:
    name: str
    filters: tuple[str, ...]
    lease_s: float
    max_in_flight: int
    cursor: int = 0
    paused: bool = False
    delivered: int = 0
    leases: dict[int, Lease] = field(default_factory=dict)
    requests: deque[Request] = field(default_factory=deque)

    def takes(self, subject: str) -> bool:
        return any(matches(pattern, subject) for pattern in self.filters)

    @property
    def in_flight(self) -> int:
        return len(self.leases)


class Stream:
    """`retention` is workqueue, interest or limits. A full stream refuses what is new, or drops the oldest.

    Its limits count what lies on the `limited` subjects, and hold for that alone.
    """

    def __init__(self, name: str, retention: str, window_s: float, limited: Sequence[str] = (">",)) -> None:
        self.name = name
        self.entries: dict[int, Entry] = {}
        self._mortal: dict[int, Entry] = {}
        self.consumers: dict[str, Consumer] = {}
        self.last_sequence = 0
        self._retention = retention
        self._window_s = window_s
        self._limited = limited
        self._counted: dict[int, Entry] = {}
        self._schedules: list[tuple[float, int]] = []
        """When each is due, and its sequence, the earliest first."""
        self.max_messages = -1
        self.max_age_s = float("inf")
        self.drops_oldest = False
        self._ids: dict[str, tuple[int, float]] = {}

    def publish(self, message: Message, now: float) -> Published:
        """Raises QueueFull, and WrongRevision where another message than is expected is the last on the subject."""
        self._check_last(message)
        message_id = message.headers.get(Header.MSG_ID)
        if message_id and (known := self._known(message_id, now)):
            return Published(known, duplicate=True, stream=self.name)
        is_counted = self._counts(message)
        self._make_room(is_counted)
        self.last_sequence += 1
        ttl = message.headers.get(Header.TTL, "")
        expires_at = now + float(ttl.removesuffix("s")) if ttl else float("inf")
        if message_id:
            self._ids[message_id] = (self.last_sequence, now)
        if message.headers.get(Header.SCHEDULE_NEXT) == REMOVED:
            self._remove_schedule(message.headers.get(Header.SCHEDULER, ""))
        if Header.SCHEDULE in message.headers:  # a subject holds one schedule: the newest
            self._remove_schedule(message.subject)
        wanted = self._retention != "interest" or any(c.takes(message.subject) for c in self.consumers.values())
        if wanted:
            entry = self.entries[self.last_sequence] = Entry(self.last_sequence, message, now, expires_at)
            if ttl:
                self._mortal[entry.sequence] = entry
            if is_counted:
                self._counted[entry.sequence] = entry
            if (schedule := message.headers.get(Header.SCHEDULE)) is not None:
                heappush(self._schedules, (_moment(schedule), entry.sequence))
        return Published(self.last_sequence, stream=self.name)

    def _remove_schedule(self, subject: str) -> None:
        for _, sequence in self._schedules:
            if sequence in self.entries and self.entries[sequence].message.subject == subject:
                self.remove(sequence)

    def _check_last(self, message: Message) -> None:
        expected = message.headers.get(Header.EXPECTED_SEQUENCE)
        if expected is None:
            return
        of = message.headers.get(Header.EXPECTED_SUBJECT, message.subject)
        on_subject = [entry.sequence for entry in self.entries.values() if matches(of, entry.message.subject)]
        if max(on_subject, default=0) != int(expected):
            raise WrongRevision("wrong last sequence")

    def _counts(self, message: Message) -> bool:
        return any(matches(pattern, message.subject) for pattern in self._limited)

    def publish_all(self, messages: Sequence[Message], now: float) -> None:
        """All or none; raises DuplicateInBatch, WrongRevision and QueueFull."""
        ids = [named for message in messages if (named := message.headers.get(Header.MSG_ID))]
        if len(set(ids)) < len(ids) or any(self._known(message_id, now) for message_id in ids):
            raise DuplicateInBatch("batch contains a duplicate message id")
        for message in messages:
            self._check_last(message)
        self._make_room(sum(map(self._counts, messages)))
        for message in messages:
            self.publish(message, now)

    def _make_room(self, wanted: int) -> None:
        """For so many that count; raises QueueFull."""
        while wanted and 0 <= self.max_messages < len(self._counted) + wanted:
            if not self.drops_oldest or not self._counted:
                raise QueueFull("maximum messages exceeded: wait for workers, or raise spec.limits of the Queue")
            self.remove(next(iter(self._counted)))

    def _known(self, message_id: str, now: float) -> int:
        sequence, at = self._ids.get(message_id, (0, 0.0))
        return sequence if sequence and now - at < self._window_s else 0

    def answer(self, consumer_name: str, sequence: int, token: bytes, now: float) -> None:
        consumer = self.consumers.get(consumer_name)
        lease = consumer.leases.get(sequence) if consumer else None
        if consumer is None or lease is None:
            return
        if token == IN_PROGRESS:
            lease.until = now + consumer.lease_s
        elif token.startswith(NAK):
            delay = json.loads(token.removeprefix(NAK) or b"{}").get("delay", 0) / 1e9
            lease.until, lease.lent = now + delay, False
        elif token == ACK:
            del consumer.leases[sequence]
            entry = self.entries.get(sequence)
            if entry and (self._retention == "workqueue" or not self._awaited(entry)):
                self.remove(sequence)

    def _awaited(self, entry: Entry) -> bool:
        return any(
            consumer.takes(entry.message.subject)
            and (entry.sequence > consumer.cursor or entry.sequence in consumer.leases)
            for consumer in self.consumers.values()
        )

    def remove(self, sequence: int) -> bool:
        for consumer in self.consumers.values():
            consumer.leases.pop(sequence, None)
        self._mortal.pop(sequence, None)
        self._counted.pop(sequence, None)
        return self.entries.pop(sequence, None) is not None

    def expire(self, now: float) -> None:
        for entry in [entry for entry in self._mortal.values() if entry.expires_at <= now]:
            self.remove(entry.sequence)
        while self._counted and next(iter(self._counted.values())).stored_at + self.max_age_s <= now:
            self.remove(next(iter(self._counted)))

    def fire(self, now: float) -> None:
        """Put what is due where it is to appear, the earliest first."""
        while self._schedules and self._schedules[0][0] <= now:
            due, sequence = heappop(self._schedules)
            if (entry := self.entries.get(sequence)) is not None:
                self.remove(sequence)
                self.publish(_fired(entry.message), due)

    def deliver(self, now: float) -> None:
        """Serve the pull requests of every consumer as far as there is something for them."""
        for consumer in self.consumers.values():
            self._serve(consumer, now)

    def _serve(self, consumer: Consumer, now: float) -> None:
        while consumer.requests:
            request = consumer.requests[0]
            found = None if consumer.paused else self._next(consumer, now)
            if found is not None:
                request.receive(self._lend(consumer, found, now))
                request.left -= 1
                if not request.left:
                    consumer.requests.popleft()
            elif request.expires_at is None or request.expires_at <= now:
                consumer.requests.popleft()
                request.ended(PullEnd.EMPTY)
            else:
                over = [waiting for waiting in consumer.requests if (waiting.expires_at or now) <= now]
                for waiting in over:
                    consumer.requests.remove(waiting)
                    waiting.ended(PullEnd.EMPTY)
                return

    def _next(self, consumer: Consumer, now: float) -> Entry | None:
        for sequence, lease in consumer.leases.items():
            if lease.until <= now and sequence in self.entries:
                return self.entries[sequence]
        if consumer.in_flight >= consumer.max_in_flight:
            return None
        return next(self._unseen(consumer), None)

    def _unseen(self, consumer: Consumer) -> Iterator[Entry]:
        return (
            entry
            for entry in self.entries.values()
            if entry.sequence > consumer.cursor and consumer.takes(entry.message.subject)
        )

    def _lend(self, consumer: Consumer, entry: Entry, now: float) -> Delivery:
        lease = consumer.leases.get(entry.sequence)
        deliveries = 1 + (lease.deliveries if lease else 0)
        consumer.leases[entry.sequence] = Lease(deliveries, now + consumer.lease_s)
        consumer.cursor = max(consumer.cursor, entry.sequence)
        consumer.delivered += 1
        return Delivery(
            subject=entry.message.subject,
            data=entry.message.data,
            headers=entry.message.headers,
            reply=f"{self.name} {consumer.name} {entry.sequence} {deliveries}",
            sequence=entry.sequence,
            deliveries=deliveries,
            pending=int(next(self._unseen(consumer), None) is not None),  # counting takes long
            stored_ns=int(entry.stored_at * 1e9),
            stream=self.name,
        )

    def pending(self, consumer: Consumer) -> int:
        return sum(1 for _ in self._unseen(consumer))


def _moment(schedule: str) -> float:
    return datetime.fromisoformat(schedule.removeprefix("@at ")).timestamp()


def _fired(scheduled: Message) -> Message:
    headers = {name: text for name, text in scheduled.headers.items() if not name.startswith("Nats-")}
    headers[Header.SCHEDULER] = scheduled.subject
    if (ttl := scheduled.headers.get(Header.SCHEDULE_TTL)) is not None:
        headers[Header.TTL] = ttl
    return Message(scheduled.headers[Header.SCHEDULE_TARGET], scheduled.data, headers)


def matches(pattern: str, subject: str) -> bool:
    """NATS wildcards: `*` is one token, a final `>` one or more."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1] if len(tokens) >= len(wanted) else [""]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))

"""What clients and workers need of a broker: JetStream is one, the in-memory one of `protoqueue.testing` another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol, TypeAlias

ACK = b"+ACK"
NAK = b"-NAK"
IN_PROGRESS = b"+WPI"

_HEADER_FRAME = len(b"NATS/1.0\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Message:
    """What is published."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of data and headers, as the server counts them."""
        size = len(self.data) + (_HEADER_FRAME if self.headers else 0)
        for name, text in self.headers.items():
            size += len(name) + (len(text) if text.isascii() else len(text.encode())) + 4
        return size


@dataclass(frozen=True, slots=True)
class Published:
    """The broker stored a message, or held one of the same message id (`duplicate`) already."""

    sequence: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it lies in a stream."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    stored_at: datetime


@dataclass(slots=True)  # frozen costs a microsecond a message
class Delivery:
    """A message lent to this process until it is acked or its lease runs out.

    `deliveries` counts this one; `pending` is how many more the consumer held when it sent this; `sequence` is the
    stream's; `stored_ns` is when the stream stored it, in nanoseconds since the epoch.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    reply: str
    sequence: int
    deliveries: int
    pending: int
    stored_ns: int


class PullEnd(Enum):
    """Why a pull request ended with fewer messages than it asked for."""

    EMPTY = "the consumer has nothing more"
    REFUSED = "the consumer takes no more requests now"
    GONE = "there is no such consumer"


@dataclass(frozen=True)
class StreamState:
    """`first_at` is when the oldest message was stored."""

    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    first_at: datetime | None


@dataclass(frozen=True)
class ConsumerState:
    """`pending` messages wait for delivery, `in_flight` are delivered and unacked."""

    name: str
    pending: int
    in_flight: int
    redelivered: int
    paused: bool


@dataclass(frozen=True)
class Revision:
    """A key's value and its revision; the value of a deleted key is None and that of a missing one has revision 0."""

    value: bytes | None
    number: int


class DuplicateInBatch(Exception):
    """An atomic batch held a message id that the stream already has: nothing of it was stored."""


class WrongRevision(Exception):
    """Another client changed the key first."""


Receive: TypeAlias = Callable[[Delivery], None]
Ended: TypeAlias = Callable[[PullEnd], None]


class Inbox(Protocol):
    """Pull requests to one consumer. What arrives goes to the callbacks the inbox was opened with."""

    async def request(self, batch: int, wait_s: float | None) -> None:
        """Ask for up to `batch` messages: what there is at once, or, with `wait_s`, what comes first within it."""

    async def withdraw(self) -> None:
        """Take back all requests; what is on its way still arrives before this returns."""


class Subscription(Protocol):
    async def unsubscribe(self) -> None: ...


class Broker(Protocol):
    """Methods with `timeout_s` raise Unavailable when nobody answers in time; None waits for ever."""

    @property
    def max_payload(self) -> int:
        """Bytes of one message with its headers."""

    @property
    def connected(self) -> bool: ...

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever the connection is back; pull requests made before are then void."""

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        """Store a message; raises QueueFull, PayloadTooLarge and Unavailable."""

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None) -> None:
        """Store all, at most 1000 and to one stream, or none; raises DuplicateInBatch and what `publish` raises."""

    async def answer(self, reply: str, token: bytes) -> None:
        """Ack, nak or extend a delivery without waiting for the broker."""

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        """The same, and return once the broker has it."""

    def open_inbox(self, stream: str, consumer: str, receive: Receive, ended: Ended) -> Inbox: ...

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision: ...

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        """Write if the key is still at `revision` (0: does not exist) and return the new one; raises WrongRevision."""

    async def watch_key(self, bucket: str, key: str, changed: Callable[[], None]) -> Subscription:
        """Have `changed` called when the key may have changed: a hint to read it, which may be missed or come early."""

    async def call(self, subject: str, data: bytes, timeout_s: float) -> bool:
        """Whether one of those who `listen` on the subject answered."""

    async def listen(self, subject: str, heard: Callable[[bytes], bytes | None]) -> Subscription:
        """Have `heard` called with what is called; what it returns is the answer, and None is none."""

    async def server_time_us(self, timeout_s: float) -> int:
        """The broker's clock, in microseconds since the epoch."""

    async def stream_state(self, stream: str, timeout_s: float) -> StreamState | None: ...

    async def consumer_states(self, stream: str, timeout_s: float) -> list[ConsumerState]: ...

    async def next_message(self, stream: str, sequence: int, subject: str, timeout_s: float) -> StoredMessage | None:
        """The first message from `sequence` on whose subject matches, without consuming it."""

    async def delete_message(self, stream: str, sequence: int, timeout_s: float) -> bool:
        """Whether it was there."""

    async def purge(self, stream: str, subject: str | None, timeout_s: float) -> int:
        """Remove all messages, or those on `subject`; returns how many."""

    async def close(self) -> None: ...

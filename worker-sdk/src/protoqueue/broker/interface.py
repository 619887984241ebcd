"""What clients and workers need of a broker; implemented by JetStream and by `protoqueue.testing` in memory."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol, TypeAlias

from protoqueue.protocol.message_ids import place_of

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
    """The broker stored a message in `stream`, or already had one of the same message id there (`duplicate`)."""

    sequence: int
    duplicate: bool = False
    stream: str = ""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message stored in a stream."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    stored_at: datetime
    stream: str = ""

    @property
    def place(self) -> str:
        """Where the message is stored, among the streams of its queue."""
        return place_of(self.stream, self.sequence)


@dataclass(slots=True)  # frozen costs a microsecond a message
class Delivery:
    """A message lent to this process until it is acked or its lease runs out.

    `deliveries` counts this one; `pending` is how many more the consumer held when it sent this; `sequence` is that of
    the `stream`; `stored_ns` is when the stream stored it, in nanoseconds since the epoch. `is_continued`: it was
    redelivered to the worker that runs it, and the run goes on.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    reply: str
    sequence: int
    deliveries: int
    pending: int
    stored_ns: int
    is_continued: bool = False
    stream: str = ""

    @property
    def place(self) -> str:
        """Where the message is stored, among the streams of its queue."""
        return place_of(self.stream, self.sequence)


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
    """`pending` messages wait for delivery, `in_flight` are delivered and unacked.

    `delivered` is how many deliveries there were, repeated ones included; `delivered_sequence` is up to where in its
    stream it has delivered.
    """

    name: str
    pending: int
    in_flight: int
    redelivered: int
    paused: bool
    delivered: int = 0
    delivered_sequence: int = 0
    acked_at: datetime | None = None
    """When the ack floor last moved; None if it never did, or that is unknown."""


@dataclass(frozen=True)
class Revision:
    """A key's value and its revision; the value of a deleted key is None and that of a missing one has revision 0."""

    value: bytes | None
    number: int


class DuplicateInBatch(Exception):
    """An atomic batch held a message id that the stream already has: nothing of it was stored."""


class WrongRevision(Exception):
    """Another client changed the key first."""


Turn: TypeAlias = Callable[[], Awaitable[None]]
Receive: TypeAlias = Callable[[Delivery], None]
Ended: TypeAlias = Callable[[PullEnd], None]


class Inbox(Protocol):
    """Pull requests to one consumer. What arrives goes to the callbacks the inbox was opened with."""

    async def request(self, batch: int, wait_s: float | None) -> None:
        """Ask for up to `batch` messages: those available now, or, with `wait_s`, the first to arrive within it."""

    async def withdraw(self) -> None:
        """Withdraw all requests; messages on their way still arrive before this returns."""


class Subscription(Protocol):
    async def unsubscribe(self) -> None: ...


class Broker(Protocol):
    """Methods with `timeout_s` raise Unavailable when no answer comes in time; None waits for ever."""

    @property
    def max_payload(self) -> int:
        """Bytes of one message with its headers."""

    @property
    def connected(self) -> bool: ...

    @property
    def acks_refused(self) -> str | None:
        """Which permission to acknowledge this connection lacks, as a sentence; None if none is known to be missing."""

    def now(self) -> datetime:
        """The current time, by which tasks are delayed, expire and are retried. In memory it can be advanced."""

    def on_time_moved(self, call: Callable[[timedelta], None]) -> None:
        """Have `call` called when the time is advanced, which never happens with a server."""

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever the connection is back; pull requests made before are then void."""

    async def publish(self, message: Message, timeout_s: float | None) -> Published:
        """Store a message; raises QueueFull, PayloadTooLarge and Unavailable.

        Raises WrongRevision where another message than its headers expect is the last on a subject.
        """

    async def publish_atomic(self, messages: Sequence[Message], timeout_s: float | None, turn: Turn) -> None:
        """Store all, at most 1000 and to one stream, or none; raises DuplicateInBatch and what `publish` raises.

        `turn` is awaited while the messages are sent; none is stored before it returns, or if it raises.
        """

    async def publish_many(self, messages: Sequence[tuple[str, bytes]], timeout_s: float) -> None:
        """Send subjects and data, and return once the last of them is stored, and thereby the others, in order.

        For messages that may be stored twice or get lost: after a failure it is unknown how many are stored. Raises
        what `publish` raises of the last.
        """

    async def answer(self, reply: str, token: bytes) -> None:
        """Ack, nak or extend a delivery without waiting for the broker."""

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        """The same, and return once the broker has it."""

    def open_inbox(self, stream: str, consumer: str, receive: Receive, ended: Ended) -> Inbox: ...

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Revision:
        """A key with `*` in it stands for the newest of those that match."""

    async def read_value(self, bucket: str, key: str, timeout_s: float) -> bytes | None:
        """The value as any replica of the bucket has it, perhaps slightly stale; None without a value or a bucket.

        Unlike `read_key`, permissions for it can be granted key by key.
        """

    async def keys(self, bucket: str, under: str, timeout_s: float) -> list[str]:
        """Every key, or those that begin with `under` and a dot; keys whose value was deleted included."""

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        """Write if the key is still at `revision` (0: does not exist) and return the new one; raises WrongRevision."""

    async def watch_key(self, bucket: str, key: str, changed: Callable[[], None]) -> Subscription:
        """Have `changed` called when the key may have changed: a hint to read it, which may get lost or come early."""

    async def call(self, subject: str, data: bytes, timeout_s: float) -> bytes | None:
        """The first answer of those who `listen` on the subject; None if none comes in time."""

    async def call_all(self, subject: str, data: bytes, wait_s: float) -> list[bytes]:
        """What those who `listen` on the subject answer within `wait_s`; raises Unavailable."""

    async def listen(self, subject: str, heard: Callable[[bytes], bytes | None]) -> Subscription:
        """Have `heard` called with each request; what it returns is the answer, None gives no answer."""

    async def overhear(self, subject: str, heard: Callable[[str, bytes], None]) -> Subscription:
        """Have `heard` called with subject and data of each message on matching subjects.

        Messages that were stored before this returns may be missed; later ones are heard unless the connection breaks.
        """

    async def server_time_us(self, timeout_s: float) -> int:
        """The broker's clock, in microseconds since the epoch."""

    async def stream_state(self, stream: str, timeout_s: float) -> StreamState | None: ...

    async def stream_states(self, timeout_s: float) -> dict[str, StreamState]:
        """Of every stream of the account, by name."""

    async def count_messages(self, stream: str, subject: str, timeout_s: float) -> int | None:
        """How many messages a stream has on matching subjects; None if there is no such stream."""

    async def count_by_subject(self, stream: str, subject: str, timeout_s: float) -> dict[str, int] | None:
        """The same by subject, of those on which any lie."""

    async def consumer_states(self, stream: str, timeout_s: float) -> list[ConsumerState]: ...

    async def next_message(self, stream: str, sequence: int, subject: str, timeout_s: float) -> StoredMessage | None:
        """The first message from `sequence` on whose subject matches, without consuming it."""

    async def last_messages(self, stream: str, subjects: Sequence[str], timeout_s: float) -> list[StoredMessage]:
        """The last message on each subject that matches one of these: of those on at most 1000 subjects.

        The stream allows direct reads. With several replicas, messages stored a moment ago may be missing; without such
        a stream, all are.
        """

    async def last_message(self, stream: str, subject: str, timeout_s: float) -> StoredMessage | None:
        """The newest message whose subject matches, without consuming it."""

    async def delete_message(self, stream: str, sequence: int, timeout_s: float) -> bool:
        """Whether the message existed."""

    async def purge(self, stream: str, subject: str | None, timeout_s: float, before: int | None = None) -> int:
        """Remove all messages, or those on `subject`, of lower sequences than `before` alone; returns how many."""

    async def close(self) -> None: ...

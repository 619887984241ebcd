"""Which messages a client holds: `ack(message.id)` needs the queue and the receipt."""

import threading

from protoqueue.errors import ConfigurationError
from protoqueue.http.model import Message

_MOST = 100_000
"""More are forgotten, oldest first: their leases have long run out."""


class Leases:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, list[Message]] = {}

    def add(self, message: Message) -> None:
        """A message that comes again has a new receipt; the earlier one is void."""
        place = (message.queue, message.group)
        with self._lock:
            others = [held for held in self._by_id.pop(message.id, []) if (held.queue, held.group) != place]
            self._by_id[message.id] = [*others, message]
            if len(self._by_id) > _MOST:
                del self._by_id[next(iter(self._by_id))]

    def find(self, message: Message | str) -> Message:
        """The message itself, or the held one of this id; raises ConfigurationError for none, and for several."""
        if isinstance(message, Message):
            return message
        with self._lock:
            held = self._by_id.get(message, [])
        if len(held) > 1:
            raise ConfigurationError(f"messages {message} of several queues are held: pass the message, not its id")
        if not held:
            raise ConfigurationError(f"this client holds no message {message}: it was settled, or never received here")
        return held[0]

    def holds(self, message: Message) -> bool:
        with self._lock:
            return any(held.receipt == message.receipt for held in self._by_id.get(message.id, ()))

    def forget(self, message: Message) -> None:
        with self._lock:
            left = [held for held in self._by_id.pop(message.id, []) if held.receipt != message.receipt]
            if left:
                self._by_id[message.id] = left

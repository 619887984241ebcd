"""Messages and queues as the users of the HTTP client hold them."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, overload

from protoqueue.protocol.payloads import JSON, decoder_for

_Kind = TypeVar("_Kind")
_Type: TypeAlias = type[_Kind]  # of a message `type` is a field


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A stored message. `duplicate`: one of the same `dedup_id` or `unique` was there, and nothing was stored.

    `replaced` is the id of the message in whose place this one was stored.
    """

    id: str
    duplicate: bool = False
    replaced: str = ""


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue as the gateway describes it; `fields` has all of it."""

    name: str
    namespace: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts of a queue; `fields` has all that the gateway tells."""

    waiting: int
    in_flight: int
    scheduled: int
    dead: int
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """A message leased to this client: settle it within `lease_seconds`, or extend the lease.

    `payload` is decoded JSON, or the bytes of a payload that is not JSON; `attempt` counts from 1, to `max_attempts`.
    `cancelled` is set when the lease is lost, and when a stopping consumer gives up waiting for the handler.
    """

    id: str
    receipt: str = field(repr=False)
    queue: str
    payload: Any = field(repr=False)
    group: str = ""
    content_type: str = JSON
    type: str = ""
    attempt: int = 1
    priority: int | None = None
    enqueued_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ordering_key: str = ""
    dead_letter: Mapping[str, Any] | None = None
    lease_seconds: float = 30.0
    max_attempts: int | None = None
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @overload
    def decode(self, kind: "_Type[_Kind]", /) -> _Kind: ...
    @overload
    def decode(self, kind: Any, /) -> Any: ...

    def decode(self, kind: Any, /) -> Any:
        """The payload as `kind`: a pydantic model, a dataclass, anything pydantic validates; raises UndecodableTask."""
        data = self.payload if isinstance(self.payload, bytes) else json.dumps(self.payload).encode()
        return decoder_for(kind)(data, self.content_type)

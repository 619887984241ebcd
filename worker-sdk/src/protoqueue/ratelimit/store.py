"""Where shared state lives: a key-value bucket with compare-and-set, and the server's clock beside it."""

from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """The value of a deleted key is empty."""

    value: bytes
    revision: int


class StateMoved(Exception):
    """Someone else wrote first: read again."""


class Store(Protocol):
    """Every method raises `protoqueue.errors.Unavailable` when the server gives no answer that can be relied on."""

    async def get(self, key: str) -> Entry | None: ...

    async def put_if(self, key: str, value: bytes, revision: int) -> int:
        """Write if `revision` (0: no such key) is still the latest, and return the new one; else raise StateMoved."""

    async def server_time_us(self) -> int: ...

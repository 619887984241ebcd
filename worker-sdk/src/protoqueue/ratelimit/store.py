"""Where shared state lives: a key-value bucket with compare-and-set, and the server's clock beside it."""

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import Header

from protoqueue.errors import Unavailable
from protoqueue.naming import RATE_BUCKET

TIMEOUT_S = 2.0

_STREAM = f"KV_{RATE_BUCKET}"  # how NATS lays out a key-value bucket
_SUBJECTS = f"$KV.{RATE_BUCKET}."
_WRONG_LAST_SEQUENCE = (10071, 10164)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
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


class RateBucket:
    """The bucket `pq-rate` of one NATS connection. The operator creates it: where it is missing, it is unavailable."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._jetstream = connection.jetstream(timeout=TIMEOUT_S)

    async def get(self, key: str) -> Entry | None:
        try:
            message = await self._jetstream.get_msg(_STREAM, subject=f"{_SUBJECTS}{key}")
        except nats.js.errors.NotFoundError:
            return None  # of the key or of the bucket: a missing bucket fails the write that follows
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"rate limit state of {key} cannot be read: {error!r}") from error
        return Entry(message.data or b"", message.seq or 0)

    async def put_if(self, key: str, value: bytes, revision: int) -> int:
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        try:
            ack = await self._jetstream.publish(f"{_SUBJECTS}{key}", value, timeout=TIMEOUT_S, headers=headers)
        except nats.js.errors.NoStreamResponseError as error:
            raise Unavailable(f"there is no bucket {RATE_BUCKET} (yet): the operator creates it") from error
        except nats.js.errors.APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                raise StateMoved from error
            raise Unavailable(f"rate limit state of {key} cannot be written: {error!r}") from error
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"rate limit state of {key} cannot be written: {error!r}") from error
        return ack.seq

    async def server_time_us(self) -> int:
        try:
            answer = await self._connection.request(f"$JS.API.STREAM.INFO.{_STREAM}", timeout=TIMEOUT_S)
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"NATS does not tell its time: {error!r}") from error
        info = json.loads(answer.data)
        if "ts" not in info:
            raise Unavailable(f"there is no bucket {RATE_BUCKET} (yet): the operator creates it: {info.get('error')}")
        return (datetime.fromisoformat(info["ts"]) - _EPOCH) // timedelta(microseconds=1)

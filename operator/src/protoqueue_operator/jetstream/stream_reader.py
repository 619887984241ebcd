"""Reading many messages of a stream in order through a consumer of its own, without consuming them."""

import asyncio
import json
import secrets
from dataclasses import dataclass

from protoqueue.broker.headers import RawHeaders as RawHeaders
from protoqueue.broker.headers import parse_status
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable
from protoqueue_operator.jetstream.client import JetStream

_TIMEOUT_S = 30.0
"""The timeout of one read: a tenant's NATS may be slow."""

_FORGOTTEN_AFTER_S = 60
"""The server removes an unused consumer: the reader may have been killed."""

_LEAST_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)  # frozen costs a microsecond a message
class Stored:
    """A stored message."""

    sequence: int
    subject: str
    data: bytes
    headers: RawHeaders


class StreamReader:
    """Every method raises BrokerUnavailable and BrokerRefused; after that the reader cannot be used any more."""

    def __init__(self, jetstream: JetStream, stream: str, subject: str) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._subject = subject
        self._consumer = ""

    async def open(self, first: int) -> int | None:
        """Start at a sequence; returns how many messages there are from there on, None if there is no stream."""
        config = {
            "name": f"_reader_{secrets.token_hex(8)}",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(1, first),
            "ack_policy": "none",
            "filter_subject": self._subject,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _FORGOTTEN_AFTER_S * 1_000_000_000,
        }
        info = await self._jetstream.create_reader(self._stream, config)
        if info is None:
            return None
        self._consumer = info["name"]
        pending: int = info["num_pending"]
        return pending

    async def read(self, most: int) -> list[Stored]:
        """The next messages, some megabytes at most; none only at the end."""
        connection = self._jetstream.connection
        found: list[Stored] = []
        done = asyncio.Event()
        ended = ""

        def arrived(subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
            nonlocal ended
            if reply.startswith(b"$JS.ACK."):
                parts = reply.split(b".")  # with or without a JetStream domain
                sequence = int(parts[5 if len(parts) == 9 else 7])
                found.append(Stored(sequence, subject.decode(errors="replace"), data, RawHeaders(headers)))
                if len(found) >= most:
                    done.set()
            else:
                ended = " ".join(parse_status(headers))
                done.set()

        request = {"batch": most, "no_wait": True, "max_bytes": max(_LEAST_BYTES, connection.max_payload)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await connection.ask_many([(subject, json.dumps(request).encode())], arrived, done, _TIMEOUT_S)
        if not found and not ended.startswith("404"):
            raise BrokerUnavailable(f"the dead letters in {self._stream} cannot be read: {ended}; retrying")
        return found

    async def close(self) -> None:
        """Delete the consumer; raises nothing, since the server removes it anyway."""
        consumer, self._consumer = self._consumer, ""
        if consumer:
            try:
                await self._jetstream.delete_consumer(self._stream, consumer)
            except (BrokerUnavailable, BrokerRefused):
                return

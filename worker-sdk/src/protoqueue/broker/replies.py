"""What JetStream's answers mean: acknowledgements, refusals, reply subjects. Pure."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from protoqueue.broker.headers import RawHeaders, parse_headers, parse_status
from protoqueue.broker.interface import (
    ConsumerState,
    Delivery,
    DuplicateInBatch,
    Published,
    PullEnd,
    StoredMessage,
    StreamState,
    WrongRevision,
)
from protoqueue.errors import PayloadTooLarge, ProtoQueueError, QueueFull, Unavailable

STREAM_NOT_FOUND, MESSAGE_NOT_FOUND = 10059, 10037
NOTHING_TO_DELETE = (10043, 10057)  # a sequence after the first message's, one before it
_STORE_FAILED, _BATCH_DUPLICATE = 10077, 10201
_BATCH_GIVEN_UP = (10176, 10210)  # a part of it is missing, others are in flight
_PASSING = (10008, 10009, 10023)  # JetStream is not available now, has no leader now, is short of resources now
_TOO_LARGE = (10054, 10097)  # the message, its headers
_WRONG_SEQUENCE = (10071, 10164)
_DIRECT = {
    "Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence",
}  # fmt: skip


class TryAgain(Unavailable):
    """It was not done, or that is unknown: callers that may repeat it should, while they have time."""


def parse_published(data: bytes) -> Published:
    """Read a publish acknowledgement; raises what `refusal` says."""
    answer = from_json(data)
    if "error" in answer:
        raise refusal(answer["error"])
    return Published(answer["seq"], bool(answer.get("duplicate")), answer["stream"])


def refusal(error: Mapping[str, Any]) -> ProtoQueueError | DuplicateInBatch | WrongRevision:
    """Our error for one of JetStream's."""
    code, text = error.get("err_code"), str(error.get("description", "JetStream refused"))
    if code in _TOO_LARGE:
        return PayloadTooLarge(f"{text}: store large payloads elsewhere and enqueue a reference, or raise maxTaskSize")
    if code == _STORE_FAILED and "maximum" in text:
        return QueueFull(f"{text}: wait for workers to catch up, or raise spec.limits of the Queue")
    if code == _BATCH_DUPLICATE:
        return DuplicateInBatch(text)
    if code in _BATCH_GIVEN_UP:
        return TryAgain(f"JetStream abandoned a batch: {text}")
    if code in _PASSING:
        return TryAgain(f"JetStream is temporarily unable: {text} (error {code})")
    if code in _WRONG_SEQUENCE:
        return WrongRevision(text)
    return Unavailable(f"JetStream rejected the request: {text} (error {code})")


def parse_delivery(subject: bytes, reply: bytes, data: bytes, headers: bytes, stream: str) -> Delivery:
    """Read what a stream delivers; the rest about it is in its reply subject, with or without a JetStream domain."""
    parts = reply.split(b".")
    base = 4 if len(parts) == 9 else 6
    return Delivery(
        subject=subject.decode(errors="replace"),  # the subject of a retry may hold any bytes as group
        data=data,
        headers=RawHeaders(headers),
        reply=reply.decode(),
        sequence=int(parts[base + 1]),
        deliveries=int(parts[base]),
        pending=int(parts[base + 4]),
        stored_ns=int(parts[base + 3]),
        stream=stream,
    )


def parse_pull_end(headers: bytes) -> PullEnd | None:
    """Why a pull request ended; None where its status says nothing about the end."""
    status, description = parse_status(headers)
    if status == "503" or "Deleted" in description:
        return PullEnd.GONE
    if status == "404" or (status == "408" and "Pending" not in description):
        return PullEnd.EMPTY
    return PullEnd.REFUSED if status in ("408", "409") else None


def parse_stored(answer: Mapping[str, Any], stream: str = "") -> StoredMessage:
    raw = answer["message"]
    return StoredMessage(
        sequence=raw["seq"],
        subject=raw["subject"],
        data=base64.b64decode(raw.get("data", "")),
        headers=parse_headers(base64.b64decode(raw.get("hdrs", ""))),
        stored_at=datetime.fromisoformat(raw["time"]),
        stream=stream,
    )


def parse_direct(data: bytes, headers: Mapping[str, str]) -> StoredMessage:
    """Read one message of an answer to a direct read."""
    return StoredMessage(
        sequence=int(headers["Nats-Sequence"]),
        subject=headers["Nats-Subject"],
        data=data,
        headers={name: text for name, text in headers.items() if name not in _DIRECT},
        stored_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        stream=headers["Nats-Stream"],
    )


def parse_stream_state(answer: Mapping[str, Any]) -> StreamState:
    state = answer["state"]
    return StreamState(
        messages=state["messages"],
        bytes=state["bytes"],
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        first_at=datetime.fromisoformat(state["first_ts"]) if state["messages"] else None,
    )


def parse_consumer_state(info: Mapping[str, Any]) -> ConsumerState:
    return ConsumerState(
        name=info["name"],
        pending=info["num_pending"],
        in_flight=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        paused=bool(info.get("paused")),
        delivered=info["delivered"]["consumer_seq"],
        delivered_sequence=info["delivered"]["stream_seq"],
        acked_at=datetime.fromisoformat(at) if (at := (info.get("ack_floor") or {}).get("last_active")) else None,
    )

"""Between what users hold and what goes over HTTP. Pure."""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from protoqueue.errors import ConfigurationError, InvalidTask
from protoqueue.http.errors import MalformedAnswer
from protoqueue.http.model import Enqueued, Message, QueueInfo, QueueStats
from protoqueue.protocol.payloads import BYTES, JSON, encode_payload
from protoqueue.protocol.retries import check_retries
from protoqueue.task import Retries, UniqueUntil

_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_DEFAULT_LEASE_S = 30.0

Duration = float | str | timedelta


def queue_path(queue: str) -> str:
    """The path of `name` or `namespace/name`; raises ConfigurationError for what can be neither."""
    parts = queue.split("/") if isinstance(queue, str) else []
    if len(parts) not in (1, 2) or not all(_DNS_NAME.fullmatch(part) for part in parts):
        raise ConfigurationError(f"{queue!r} is not a queue name (name or namespace/name)")
    return f"/v1/queues/{parts[0]}" if len(parts) == 1 else f"/v1/namespaces/{parts[0]}/queues/{parts[1]}"


def seconds(duration: Duration | None) -> float | str | None:
    """A duration as the gateway takes it."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def moment(time: datetime | None) -> str | None:
    """A time as the gateway takes it; raises InvalidTask for one without a time zone."""
    if time is not None and time.tzinfo is None:
        raise InvalidTask(f"{time!r} has no time zone: pass datetime.now(UTC) + …")
    return None if time is None else time.isoformat()


class MessageOptions(TypedDict, total=False):
    """Everything about a message but its payload; `Queues.enqueue` says what it means."""

    priority: int | None
    delay: Duration | None
    at: datetime | None
    expires: Duration | datetime | None
    dedup_id: str | None
    ordering_key: str | None
    fairness_key: str | None
    unique: str | None
    unique_until: UniqueUntil
    replace: str | None
    type: str | None
    metadata: Mapping[str, Any] | None
    content_type: str | None
    retry: Retries | None


def encode_message(payload: Any, **options: Unpack[MessageOptions]) -> dict[str, Any]:
    """The body of one message; raises InvalidTask for a payload that cannot be encoded.

    An id for deduplication is made here unless given, so that a repeated request stores the message once.
    """
    unknown = sorted(options.keys() - MessageOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"a message has no {', '.join(unknown)}; it has {', '.join(MessageOptions.__annotations__)}")
    expires = options.get("expires")
    data, encoding = encode_payload(payload)
    if encoding == JSON:
        body: dict[str, Any] = {"payload": json.loads(data)}
    else:
        body = {"payloadBase64": base64.b64encode(data).decode(), "contentType": encoding}
    optional = {
        "contentType": options.get("content_type"),
        "priority": options.get("priority"),
        "delay": seconds(options.get("delay")),
        "at": moment(options.get("at")),
        "expires": moment(expires) if isinstance(expires, datetime) else seconds(expires),
        "orderingKey": options.get("ordering_key"),
        "fairnessKey": options.get("fairness_key"),
        "unique": options.get("unique"),
        "uniqueUntil": options.get("unique_until"),
        "replace": options.get("replace"),
        "type": options.get("type"),
        "metadata": options.get("metadata"),
        "retry": _retry(options.get("retry")),
    }
    stated = {name: value for name, value in optional.items() if value is not None}
    return {**body, **stated, "dedupId": options.get("dedup_id") or f"c-{secrets.token_hex(16)}"}


def _retry(retries: Retries | None) -> dict[str, Any] | None:
    """Raises InvalidTask for what cannot be."""
    if retries is None:
        return None
    check_retries(retries, InvalidTask)
    stated = {
        "maxAttempts": retries.max_attempts,
        "initialDelay": seconds(retries.initial_delay),
        "multiplier": retries.multiplier,
        "maxDelay": seconds(retries.max_delay),
        "jitter": retries.jitter,
    }
    return {name: value for name, value in stated.items() if value is not None}


def decode_enqueued(value: object, *, made_here: bool) -> Enqueued:
    """What was stored. A duplicate of an id that the client made is the client's own repeated request."""
    item = _object(value, "a stored message")
    is_another = not made_here or item.get("matched") == "unique"
    is_duplicate = item.get("duplicate") is True and is_another
    return Enqueued(_text(item, "id"), is_duplicate, str(item.get("replaced") or ""))


def decode_queue(value: object) -> QueueInfo:
    item = _object(value, "a queue")
    return QueueInfo(_text(item, "name"), str(item.get("namespace") or ""), item)


def decode_stats(value: object) -> QueueStats:
    item = _object(value, "stats")
    waiting, in_flight, scheduled, dead = (_count(item, name) for name in ("waiting", "inFlight", "scheduled", "dead"))
    return QueueStats(waiting, in_flight, scheduled, dead, item)


def decode_message(value: object, queue: str, group: str, answered_at: datetime) -> Message:
    """A message of an answer that the gateway gave at `answered_at`, by its own clock."""
    item = _object(value, "a message")
    encoded = item.get("payloadBase64")
    return Message(
        id=_text(item, "id"),
        receipt=_text(item, "receipt"),
        queue=queue,
        group=item.get("group") or group,
        payload=_bytes(encoded) if isinstance(encoded, str) else item.get("payload"),
        content_type=item.get("contentType") or (BYTES if isinstance(encoded, str) else JSON),
        type=item.get("type") or "",
        attempt=item.get("attempt") or 1,
        max_attempts=item.get("maxAttempts"),
        priority=item.get("priority"),
        enqueued_at=_time(item.get("enqueuedAt")),
        metadata=item.get("metadata") or {},
        ordering_key=item.get("orderingKey") or "",
        dead_letter=item.get("deadLetter"),
        lease_seconds=_lease_seconds(item, answered_at),
    )


def listed(value: object, name: str) -> list[object]:
    """The list of that name in an answer; raises MalformedAnswer."""
    items = _object(value, "an object").get(name)
    if not isinstance(items, list):
        raise MalformedAnswer(f"the answer has no list {name!r}")
    return items


def _lease_seconds(item: Mapping[str, Any], answered_at: datetime) -> float:
    """How long the lease lasts from now on. The clocks of client and gateway need not agree."""
    stated, until = item.get("leaseSeconds"), _time(item.get("leasedUntil"))
    if isinstance(stated, int | float) and stated > 0:
        return float(stated)
    return _DEFAULT_LEASE_S if until is None else max(1.0, (until - answered_at).total_seconds())


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedAnswer(f"the answer is not {what}")
    return value


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedAnswer(f"the answer has no text {name!r}")
    return value


def _count(item: Mapping[str, Any], name: str) -> int:
    value = item.get(name)
    if not isinstance(value, int):
        raise MalformedAnswer(f"the answer has no number {name!r}")
    return value


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        raise MalformedAnswer(f"{value!r} is not a time") from None
    return time if time is not None and time.tzinfo else None


def _bytes(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise MalformedAnswer("payloadBase64 is not base64") from None

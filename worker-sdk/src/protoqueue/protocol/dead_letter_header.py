"""The header `Pq-Dead-Letter`: JSON that says why a task died, when its dead letter is a task of another queue."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from protoqueue.protocol.message_headers import Header
from protoqueue.task import DeadLetterInfo

_MOST_NESTED = 16
_SHORT_ERROR = 200


def read_dead_letter(headers: Mapping[str, str]) -> DeadLetterInfo | None:
    """None if there is no such header, and for another producer's content."""
    text = headers.get(Header.DEAD_LETTER)
    if text is None:
        return None
    try:
        return _read(json.loads(text), _MOST_NESTED)
    except (ValueError, RecursionError):
        return None


def write_dead_letter(info: DeadLetterInfo) -> str:
    """One line of ASCII; read back it is the same."""
    return json.dumps(_fields(info), separators=(",", ":"))


def shortened(info: DeadLetterInfo) -> DeadLetterInfo:
    """Without tracebacks and with shortened errors, if there is no room for them."""
    previous = shortened(info.previous) if info.previous else None
    return replace(info, error=info.error[:_SHORT_ERROR], traceback="", previous=previous)


def parse_moment(text: str) -> datetime | None:
    """A time as headers have it; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fields(info: DeadLetterInfo) -> dict[str, Any]:
    fields = {
        "reason": info.reason,
        "queue": info.queue,
        "group": info.group,
        "error": info.error,
        "errorType": info.error_type,
        "traceback": info.traceback,
        "attempts": info.attempts,
        "failedAt": info.failed_at.isoformat() if info.failed_at else "",
        "worker": info.worker,
        "previous": _fields(info.previous) if info.previous else None,
    }
    return {name: value for name, value in fields.items() if value}


def _read(fields: Any, most: int) -> DeadLetterInfo | None:
    if not isinstance(fields, dict) or not most:
        return None
    queue, group = _text(fields, "queue"), _text(fields, "group")
    if not queue or not group:
        return None
    attempts = fields.get("attempts")
    return DeadLetterInfo(
        reason=_text(fields, "reason"),
        queue=queue,
        group=group,
        error=_text(fields, "error"),
        error_type=_text(fields, "errorType"),
        traceback=_text(fields, "traceback"),
        attempts=attempts if isinstance(attempts, int) and not isinstance(attempts, bool) else 0,
        failed_at=parse_moment(_text(fields, "failedAt")),
        worker=_text(fields, "worker"),
        previous=_read(fields.get("previous"), most - 1),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""

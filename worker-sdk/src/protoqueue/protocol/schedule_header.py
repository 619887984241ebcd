"""When a message that is scheduled is due. Pure."""

from collections.abc import Mapping
from datetime import datetime

from protoqueue.protocol.message_headers import Header


def due_at(headers: Mapping[str, str]) -> datetime | None:
    """None where it is scheduled for no single moment."""
    try:
        return datetime.fromisoformat(headers.get(Header.SCHEDULE, "").removeprefix("@at "))
    except ValueError:
        return None

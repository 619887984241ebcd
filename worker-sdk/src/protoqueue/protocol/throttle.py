"""The throttle of a group, as its workers write it into `pq-done`. Pure."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LONGEST = timedelta(hours=12)
"""Well within the day for which `pq-done` keeps it. A handler that needs a longer wait throttles again."""

_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class ThrottledUntil:
    """`until` is by the server's clock; `why` and `worker` are what a handler said, and where it ran."""

    until: datetime
    why: str = ""
    worker: str = ""

    def encode(self) -> bytes:
        told = {"until": self.until.timestamp(), "why": self.why[:_MOST_CHARACTERS], "worker": self.worker}
        return json.dumps(told).encode()


def read_throttle(value: bytes | None) -> ThrottledUntil | None:
    """None for a missing key, and for another writer's content."""
    try:
        match json.loads(value or b"null"):
            case {"until": int() | float() as until, "why": str(why), "worker": str(worker)} if math.isfinite(until):
                return ThrottledUntil(datetime.fromtimestamp(until, UTC), why, worker)
    except (ValueError, OverflowError, OSError, RecursionError):
        pass
    return None

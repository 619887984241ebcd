"""That a group starts no tasks for a while, as its workers write it into `pq-done` and everybody reads it. Pure."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LONGEST = timedelta(hours=12)
"""Well within the day for which `pq-done` remembers it. A handler that is told to wait for longer says so again."""

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
    """None for a key that is not there, and for what another may have put there."""
    try:
        match json.loads(value or b"null"):
            case {"until": int() | float() as until, "why": str(why), "worker": str(worker)} if math.isfinite(until):
                return ThrottledUntil(datetime.fromtimestamp(until, UTC), why, worker)
    except (ValueError, OverflowError, OSError, RecursionError):
        pass
    return None

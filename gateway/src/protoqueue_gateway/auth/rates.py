"""Limiting the request rate of each key."""

import time


class Rates:
    """A token bucket for each key, here in this replica."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str) -> bool:
        now = time.monotonic()
        left, at = self._left.get(key_id, (float(self._per_second), now))
        left = min(self._per_second, left + (now - at) * self._per_second)
        allowed = left >= 1
        self._left[key_id] = (left - 1 if allowed else left), now
        return allowed

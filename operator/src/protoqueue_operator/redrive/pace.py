"""How many dead letters a rate allows so far. Pure."""

from dataclasses import dataclass

TICK_S = 0.05
"""Letters that become due within this time are moved together."""

_CATCH_UP_S = 1.0
"""A delay of up to this is caught up with; after a longer one it continues at the stated rate."""


@dataclass
class Pace:
    """An even pace; times are in monotonic seconds."""

    rate: float
    """Per second."""
    counted_at: float
    allowance: float = 1.0

    def allowed(self, now: float) -> int:
        """How many may be moved now."""
        most = max(1.0, self.rate * _CATCH_UP_S)
        self.allowance = min(most, self.allowance + (now - self.counted_at) * self.rate)
        self.counted_at = now
        return int(self.allowance + 1e-9)

    def spend(self, count: int) -> None:
        """Record how many were moved."""
        self.allowance -= count

    def wait_s(self) -> float:
        """Seconds until the next may be moved."""
        return max(TICK_S, (1.0 - self.allowance) / self.rate)

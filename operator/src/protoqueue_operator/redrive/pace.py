"""How many dead letters a stated rate allows by now. Pure."""

from dataclasses import dataclass

TICK_S = 0.05
"""Those that become due within so long are moved together."""

_CATCH_UP_S = 1.0
"""What was missed for so long is made up for; after a longer standstill it goes on at the stated rate."""


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
        """So many were moved."""
        self.allowance -= count

    def wait_s(self) -> float:
        """Until the next may be moved."""
        return max(TICK_S, (1.0 - self.allowance) / self.rate)

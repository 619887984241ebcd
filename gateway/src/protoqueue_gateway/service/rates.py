"""Tasks per second, from counts that only grow. Pure."""

from collections import deque

_WINDOW_S = 10.0


class Rate:
    """The mean of the last ten seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, now_s: float, count: int) -> float | None:
        """Add what was counted now; None as long as there is nothing to compare it with."""
        if self._looks and count < self._looks[-1][1]:  # the counter started again
            self._looks.clear()
        self._looks.append((now_s, count))
        while len(self._looks) > 2 and now_s - self._looks[1][0] >= _WINDOW_S:
            self._looks.popleft()
        first_s, first = self._looks[0]
        return (count - first) / (now_s - first_s) if now_s > first_s else None
